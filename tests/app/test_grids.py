"""Grids on the Preview tab: the command, how far it is, and its images by address."""

import dataclasses
import json
import sys
from types import SimpleNamespace

import pytest
from starlette.applications import Starlette
from starlette.testclient import TestClient

from app.commands.grids import make_grid_of
from app.core.generation import GenerationRequest
from app.core.grid_jobs import AxisValues, locate_grid, send_grid, view_grid
from app.core.jobs import read_job
from app.preview.events import PreviewEvents
from app.preview.html import STOP_GRID, VIEWS
from app.web import media
from tests.app.conftest import end_workers, wait_for

# Says what it was started with, as the event at its end.
SAY = 'import json, sys; print(json.dumps({"event": "done", "said": sys.argv[1:]}))'
WAIT = """
import json, time
print(json.dumps({"event": "cell", "done": 1, "total": 4}), flush=True)
time.sleep(900)
"""
KEYS = [f"{number:016x}" for number in range(4)]


@pytest.fixture
def commanded(workspace, run):
    """A workspace with an exported file and another one, whose commands are Python programs."""

    def make(code=SAY):
        return dataclasses.replace(workspace, trainer_command=(sys.executable, "-c", code))

    (run.path / "tabby.safetensors").write_bytes(b"x")
    (workspace.loras_path / "mine.safetensors").write_bytes(b"y")
    yield make
    end_workers(workspace.root)


def values_of(*adapters, base_model="", **changes):
    numbers = {"prompt": "a cat", "seed": 3, "inference_steps": 4, "guidance": 5} | changes
    return GenerationRequest(adapters, base_model, **numbers)


def ask(workspace, values, rows, columns):
    """Returns the arguments that the command was started with, by their options."""
    job = send_grid(workspace, values, rows, columns)
    wait_for(lambda: read_job(workspace, job.id).state != "running")
    return read_job(workspace, job.id).answer["said"]


def parse(arguments):
    """Reads arguments as the command line does."""
    from app.cli import build_parser

    return build_parser().parse_args(arguments)


def test_the_command_asks_for_what_the_page_shows(commanded, run):
    workspace = commanded()
    tabby, mine = f"{run.id}/tabby.safetensors", "file:mine.safetensors"
    values = values_of((tabby, 0.5), (mine, -1.0), negative_prompt="--x", aspect="3:2")
    said = ask(
        workspace, values, AxisValues("prompt", " a cat \n\na dog"), AxisValues("weight", "0\n1")
    )
    grid = make_grid_of(parse(said))
    assert (grid.rows.name, grid.rows.values) == ("prompt", ("a cat", "a dog"))
    assert (grid.columns.name, grid.columns.values) == ("weight", (0.0, 1.0))
    shared = grid.request
    assert [(one.path, one.weight) for one in shared.adapters] == [
        (str((run.path / "tabby.safetensors").resolve()), 0.5),
        (str((workspace.loras_path / "mine.safetensors").resolve()), -1.0),
    ]
    assert (shared.seed, shared.guidance, shared.inference_steps) == (3, 5.0, 4)
    assert (shared.negative_prompt, shared.aspect) == ("--x", "3:2")
    assert shared.base_model == run.config.base_model


def test_no_value_is_taken_for_an_option(commanded, run, tmp_path):
    values = values_of((None, 1.0), prompt="--to=/somewhere", negative_prompt="-h")
    lines = f"--to={tmp_path / 'elsewhere.png'}\n-1"
    said = ask(
        commanded(), values, AxisValues("prompt", lines), AxisValues("sampler", "--json\nDDIM")
    )
    args = parse(said)
    assert args.prompt == [f"--to={tmp_path / 'elsewhere.png'}", "-1"]
    assert args.sampler == ["--json", "DDIM"]
    assert args.to.parent.name == "grids"


def test_what_is_left_empty_is_what_there_is(commanded, run, monkeypatch):
    workspace = commanded()
    both = values_of((None, 1.0), ("file:mine.safetensors", 1.0), sampler="Heun")
    args = parse(ask(workspace, both, AxisValues("adapter", "x"), AxisValues("seed", "")))
    assert [path.rpartition("/")[2] for path in args.adapter] == [
        "tabby.safetensors",
        "mine.safetensors",
    ]
    assert (args.seed, args.sampler, args.weight) == ([3], ["Heun"], [1.0])
    args = parse(ask(workspace, both, AxisValues("step", ""), AxisValues("weight", "1")))
    assert (args.step, args.file) == (["all"], f"{run.path.resolve()}:1")


@pytest.mark.parametrize(
    ("adapter", "rows", "columns", "says"),
    [
        (None, "seed", "seed", "two different settings"),
        (None, "seed", "colour", "two different settings"),
        ("gone", "seed", "weight", "no adapter"),
        ("file:mine.safetensors", "step", "weight", "another setting than step"),
    ],
)
def test_what_cannot_be_asked_is_a_sentence_on_the_page(
    commanded, workspace, adapter, rows, columns, says
):
    models = next(iter(workspace.list_base_models()))
    answer = PreviewEvents(commanded()).generate_grid(
        {"1": adapter} if adapter else {"1": None}, {"1": 1.0}, models, prompt="a", seed=1, steps=4,
        guidance=5, negative="", sampler="", aspect="", count=1, rows=rows, rows_lines="",
        columns=columns, columns_lines="",
    )  # fmt: skip
    assert says in answer["message"]
    assert view_grid(workspace) is None


def write_cells(workspace, job_id, count):
    files = locate_grid(workspace, job_id)
    files.cells.mkdir(parents=True)
    cells = [{"key": key} for key in KEYS]
    rows, columns = {"labels": ["<b>", "y"]}, {"labels": ["seed 1", "seed 2"]}
    files.record.write_text(json.dumps({"rows": rows, "columns": columns, "cells": cells}))
    for key in KEYS[:count]:
        files.locate(key).write_bytes(b"\x89PNG")
    return files


def test_images_appear_as_they_come_and_stay_when_it_is_stopped(commanded, run):
    workspace = commanded(WAIT)
    job = send_grid(workspace, values_of((None, 1.0)), AxisValues("prompt", "a\nb"),
                    AxisValues("seed", "1\n2"))  # fmt: skip
    render = VIEWS["preview-grid"].render
    wait_for(lambda: view_grid(workspace).total == 4)
    assert "1 of 4 images" in render(workspace, {})
    files = write_cells(workspace, job.id, 3)
    shown = render(workspace, {})
    assert shown.count("<img") == 3
    assert "&lt;b&gt;" in shown
    assert f"media/grid/{job.id}/{KEYS[0]}" in shown
    PreviewEvents(workspace).cancel(SimpleNamespace(key=STOP_GRID))
    wait_for(lambda: view_grid(workspace).job.state == "failed")
    shown = render(workspace, {})
    assert "generating it again goes on" in shown
    assert shown.count("<img") == 3
    files.record.write_text("{")
    assert "<img" not in render(workspace, {})


def test_addresses_lead_to_grids_alone(commanded, run, workspace):
    job = send_grid(commanded(), values_of((None, 1.0)), AxisValues("seed", ""),
                    AxisValues("weight", ""))  # fmt: skip
    files = write_cells(workspace, job.id, 1)
    files.image.write_bytes(b"\x89PNG")
    client = TestClient(Starlette(routes=media.make_routes(workspace)))
    assert client.get(f"/media/grid/{job.id}/{KEYS[0]}").content == b"\x89PNG"
    for kind in ("png", "json"):
        answer = client.get(f"/media/grid-file/{job.id}/{kind}")
        assert answer.status_code == 200
        assert "attachment" in answer.headers["content-disposition"]
    for gone in (
        f"grid/{job.id}/{KEYS[3]}",
        f"grid/{job.id}/..%2f{KEYS[0]}",
        f"grid-file/{job.id}/cells",
        f"grid/model-{job.id[5:]}/{KEYS[0]}",
        "grid-file/..%2fjobs/png",
    ):
        assert client.get(f"/media/{gone}").status_code == 404
