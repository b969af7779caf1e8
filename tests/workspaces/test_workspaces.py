"""Workspaces of every format open, resume and export; newer ones are refused untouched."""

import json
import re
import shutil
import subprocess
import sys
import threading
import zipfile
from pathlib import Path
from urllib.parse import quote

import pytest
from starlette.applications import Starlette
from starlette.testclient import TestClient

from app.cli import main
from app.combine.workbench import read_workbench
from app.core.base_models import read_answers
from app.core.examples import list_examples, read_trigger
from app.core.lora_files import list_loras
from app.core.run_contents import view_losses, view_samples
from app.core.run_lists import list_run_views
from app.core.workspace import Workspace
from app.dataset.captions import undo_last_change
from app.dataset.images import undo_remove
from app.web.page import build, list_views
from app.web.routes import make_routes
from datasets_tools.captions import read_caption
from tests.trainer.conftest import ROOT
from tests.workspaces.write import PLACE, unpack
from trainer.files.verify import verify_file
from trainer.runs import RunError, read_status, workspace
from trainer.runs.workspace import FORMAT, FORMAT_FILE, open_workspace, read_format

HERE = Path(__file__).resolve().parent
ARCHIVES = sorted(HERE.glob("format-*.zip"))
MOST_BYTES = 300_000


@pytest.fixture(scope="session", params=ARCHIVES, ids=lambda path: path.stem)
def unpacked(request, tmp_path_factory):
    """A workspace of an older version, or of this one; to copy from."""
    return unpack(request.param, tmp_path_factory.mktemp("old") / "workspace")


@pytest.fixture
def old(unpacked):
    """The workspace at the place that its files name, as it was unpacked."""
    before = unpacked.with_name("before")
    if not before.exists():
        shutil.copytree(unpacked, before)
    yield unpacked
    shutil.rmtree(unpacked)
    shutil.copytree(before, unpacked)


@pytest.fixture(scope="session")
def newer(tmp_path_factory):
    """A workspace of the version after this one."""
    root = unpack(ARCHIVES[-1], tmp_path_factory.mktemp("new") / "workspace")
    put_number(root, FORMAT + 1)
    return root


def put_number(root, number):
    (root / FORMAT_FILE).write_text(json.dumps({"format": number, "more": "unknown here"}))


def list_content(root):
    return {path: path.stat().st_mtime_ns for path in root.rglob("*")}


def find_run(root, name):
    (run,) = (view for view in list_run_views(Workspace(root)) if view.name == name)
    return run.id


def test_every_format_has_a_workspace_that_is_small_and_names_no_other_place():
    assert [path.stem for path in ARCHIVES] == [f"format-{n}" for n in range(1, FORMAT + 1)]
    for path in ARCHIVES:
        assert path.stat().st_size < MOST_BYTES
        with zipfile.ZipFile(path) as file:
            texts = {name: file.read(name) for name in file.namelist() if "." in name}
        assert any(PLACE.encode() in text for text in texts.values())
        for name, text in texts.items():
            assert not any(place in text for place in (b"/tmp/", b"/home/", b"/root/")), name


def test_an_older_workspace_opens_in_the_app(old):
    build(Workspace(old))
    made = Workspace(old)
    assert read_format(old) == FORMAT
    assert made.list_datasets() == ["blobs"]
    folder = made.find_dataset("blobs")
    assert [read_caption(each.path) for each in list_examples(folder)] == [
        f"blob {number}, bright, flat" for number in range(4)
    ]
    assert read_trigger(folder) == "zorp"
    assert "04.png" in undo_remove(folder)
    undo_last_change(made, "blobs")
    captions = [read_caption(each.path) for each in list_examples(folder)]
    assert captions == [f"blob {number}, bright, round" for number in range(5)]
    states = {view.name: view.state for view in list_run_views(made)}
    assert states == {"whole": "finished", "half": "stopped", "queued": "queued"}
    run = made.find_run(find_run(old, "whole"))
    assert [point.step for point in view_losses(run)] == [1, 2, 3, 4]
    assert [step for step, _ in view_samples(run).rows] == [0, 2, 4]
    assert list(made.list_base_models()) == ["pico"]
    assert read_answers(made, "pico") == {"prediction": "epsilon"}
    assert any(file.path.name == "brought.safetensors" for file in list_loras(made))
    assert read_workbench(made).recipe.task == "merge"


def list_fragments(demo):
    """Returns the view and the names of each fragment on a page."""
    found = []
    for block in demo.blocks.values():
        for tag in re.findall(r"<[^>]*data-view=[^>]*>", str(getattr(block, "value", ""))):
            (view,) = re.findall(r'data-view="([^"]*)"', tag)
            names = re.findall(r'data-names="([^"]*)"', tag)
            found.append((view, names[0].split() if names else []))
    return found


def test_every_part_of_the_page_shows_an_older_workspace(old):
    made = Workspace(old)
    fragments = list_fragments(build(made))
    client = TestClient(Starlette(routes=make_routes(made, list_views())))

    def show(view, names, **values):
        first, *others = [name for name in names if name in values] or [""]
        query = {"first": first, **{name: values[name] for name in others}}
        item = quote(values[first], safe="") if first else "-"
        answer = client.get(f"/view/{view}/{item}", params=query)
        assert answer.status_code == 200, (view, names, values)
        return answer.text

    shown = {}
    for name in ("whole", "half", "queued"):
        run = find_run(old, name)
        values = {"dataset": "blobs", "base_model": "pico", "run": run, "open": run}
        shown[name] = {view: show(view, names, **values) for view, names in fragments}
    whole = shown["whole"]
    assert len(whole) >= 35
    for name in shown:
        assert name in whole["library-cards"]
    assert json.loads(whole["choices"])["lists"]["base_model"]["answers"] == {"pico": "epsilon"}
    assert len(json.loads(whole["preview"])["adapters"]) == 5  # three files and two checkpoints
    assert len(json.loads(whole["workbench"])["files"]) == 3
    assert "not made yet" in whole["workbench-images"]
    assert "blob 3, bright, flat" in whole["dataset-grid"]
    assert "Undo: Replaced “round” by “flat”" in whole["captions-undo"]
    assert "Can be trained: 4 images" in whole["dataset-check"]
    states = {"whole": "finished", "half": "stopped", "queued": "queued"}
    for name, state in states.items():
        assert f'data-state="{state}"' in shown[name]["progress"]
    assert "Step 4: raw 1.1953" in whole["losses"]
    assert whole["samples"].count("<img") == 3
    assert "Download whole.safetensors" in whole["library-opened"]
    assert "lorasmith.config" in whole["library-about"]
    brought = next(file for file in list_loras(made) if file.path.name == "brought.safetensors")
    opened = {view: show(view, names, open=brought.id) for view, names in fragments
              if view.startswith("library-")}  # fmt: skip
    assert "brought.safetensors" in opened["library-opened"]


@pytest.mark.parametrize("name", ["half", "queued"])
def test_a_run_of_an_older_workspace_is_trained_to_its_end_and_exported(old, name, capsys):
    run = find_run(old, name)
    assert main(["train", run, f"--workspace={old}"]) == 0
    assert read_status(old / "runs" / run).state == "finished"
    assert main(["export", run, f"--workspace={old}"]) == 0
    file = Path(capsys.readouterr().out.splitlines()[-1].removeprefix("file: "))
    assert file.is_relative_to(old)
    assert not [each for each in verify_file(file) if each.severity == "error"]


def test_the_file_of_an_older_workspace_can_be_continued_and_merged(old):
    file, to = old / "loras" / "brought.safetensors", old / "loras" / "merged.safetensors"
    assert not [each for each in verify_file(file) if each.severity == "error"]
    assert main(["merge", str(file), f"{file}:0.5", f"--to={to}", "--force"]) == 0
    create = ["train", "--create-only", f"--workspace={old}", f"--continue-from={file}"]
    create += [f"--config={old / 'runs' / find_run(old, 'whole') / 'config.toml'}"]
    assert main(create) == 0
    assert len(list_run_views(Workspace(old))) == 4


# Commands that write into the workspace, or read runs and models from it.
COMMANDS = [
    ["app"],
    ["train", "RUN"],
    ["train", "--create-only", "--config=CONFIG"],
    ["train", "--config=CONFIG"],
    ["ask", "RUN", "stop"],
    ["export", "RUN"],
    ["status"],
    ["status", "RUN"],
    ["estimate", "RUN"],
    ["estimate", "--config=CONFIG"],
    ["demo"],
    ["download", "somebody/some-model"],
    ["models"],
    ["captioners"],
    ["preview-worker", "WORKSPACE/preview"],
    ["grid", "a.safetensors", "--base-model=somebody/some-model", "--prompt=a"],
]


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_a_newer_workspace_is_refused_by_every_command_that_uses_it(command, newer, capsys):
    before = list_content(newer)
    run = next(path for path in (newer / "runs").iterdir() if path.name.endswith("_half"))
    names = {"RUN": run.name, "CONFIG": str(run / "config.toml"), "WORKSPACE": str(newer)}
    arguments = list(command)
    for name, value in names.items():
        arguments = [argument.replace(name, value) for argument in arguments]
    assert main([*arguments, f"--workspace={newer}"]) == 2
    told = capsys.readouterr().err
    assert f"The workspace {newer} was written by a newer version of Lorasmith" in told
    assert f"its format is {FORMAT + 1}, and this version knows {FORMAT}" in told
    assert list_content(newer) == before


def test_a_run_is_refused_by_its_path_too_and_other_files_are_not(newer, tmp_path, capsys):
    run = next((newer / "runs").iterdir())
    assert main(["train", str(run), f"--workspace={tmp_path}"]) == 2
    assert "newer version" in capsys.readouterr().err
    # A file that is named by its path needs no workspace.
    file = newer / "loras" / "brought.safetensors"
    assert main(["inspect", str(file), f"--workspace={newer}"]) == 0


def test_the_app_refuses_a_newer_workspace_before_it_makes_a_folder(tmp_path):
    root = tmp_path / "workspace"
    root.mkdir()
    put_number(root, FORMAT + 1)
    with pytest.raises(RunError, match="newer version"):
        Workspace(root).prepare()
    assert [path.name for path in root.iterdir()] == [FORMAT_FILE]


def test_a_workspace_from_before_there_was_a_number_gets_it(tmp_path):
    root = unpack(ARCHIVES[0], tmp_path / "workspace")
    (root / FORMAT_FILE).unlink()
    assert read_format(root) == 0
    assert main(["status", f"--workspace={root}"]) == 0
    assert read_format(root) == FORMAT
    assert len(list_run_views(Workspace(root))) == 3


def test_a_new_workspace_gets_this_versions_number_and_reading_makes_none(tmp_path):
    root = tmp_path / "workspace"
    assert main(["status", f"--workspace={root}"]) == 0
    assert main(["models", f"--workspace={root}"]) == 0
    assert not root.exists()
    open_workspace(root)
    assert not root.exists()
    Workspace(root).prepare()
    assert read_format(root) == FORMAT
    empty = tmp_path / "empty"
    empty.mkdir()
    assert main(["status", f"--workspace={empty}"]) == 0
    assert list(empty.iterdir()) == []


@pytest.mark.parametrize("content", ["", "{", "[]", '{"format": "1"}', '{"format": 0}', "{}"])
def test_a_damaged_number_is_refused_with_what_to_do(content, tmp_path):
    (tmp_path / FORMAT_FILE).write_text(content)
    with pytest.raises(RunError, match=r"is damaged.*\{\"format\": 1\}"):
        open_workspace(tmp_path, create=True)
    assert (tmp_path / FORMAT_FILE).read_text() == content


def test_a_workspace_that_cannot_be_written_is_refused_in_a_sentence(tmp_path):
    (tmp_path / "file").write_text("x")
    with pytest.raises(RunError, match="cannot be written: "):
        open_workspace(tmp_path / "file" / "workspace", create=True)


# --- a change of the format ----------------------------------------------------------------------

# Two changes after this version's: LoRA files move to another folder, then configs get a line.
CHANGES = """
import os, sys
from pathlib import Path
from trainer.runs import workspace

def move(root):
    (root / "adapters").mkdir(exist_ok=True)
    for number, file in enumerate(sorted((root / "loras").glob("*.safetensors"))):
        if number == stop_at:
            os._exit(9)  # as a kill does: nothing is tidied up
        file.rename(root / "adapters" / file.name)

def extend(root):
    for run in sorted((root / "runs").iterdir()):
        text = (run / "config.toml").read_text()
        if not text.endswith("# extended\\n"):
            (run / "config.toml").write_text(text + "# extended\\n")
        if stop_at == 100:
            os._exit(9)

stop_at = int(sys.argv[2])
first = workspace.FORMAT
workspace.MIGRATIONS = {**workspace.MIGRATIONS, first: move, first + 1: extend}
workspace.FORMAT = first + 2
workspace.open_workspace(Path(sys.argv[1]))
"""


def migrate(root, stop_at=-1):
    command = [sys.executable, "-c", CHANGES, str(root), str(stop_at)]
    return subprocess.run(command, cwd=ROOT, check=False).returncode


@pytest.mark.parametrize(("stop_at", "reached"), [(0, 0), (1, 0), (100, 1)])
def test_a_change_that_was_killed_is_done_again_from_where_it_stood(stop_at, reached, tmp_path):
    root = unpack(ARCHIVES[-1], tmp_path / "workspace")
    shutil.copy(root / "loras" / "brought.safetensors", root / "loras" / "second.safetensors")
    assert migrate(root, stop_at) == 9
    assert read_format(root) == FORMAT + reached
    assert migrate(root) == 0
    assert read_format(root) == FORMAT + 2
    files = sorted(path.name for path in (root / "adapters").iterdir())
    assert files == ["brought.safetensors", "second.safetensors"]
    assert not list((root / "loras").glob("*.safetensors"))
    for run in (root / "runs").iterdir():
        assert (run / "config.toml").read_text().count("# extended") == 1


def test_two_processes_that_open_a_workspace_change_it_once(tmp_path, monkeypatch):
    (tmp_path / "runs").mkdir()
    calls = []

    def change(root):
        calls.append(root)
        threading.Event().wait(0.2)

    monkeypatch.setattr(workspace, "MIGRATIONS", {0: change})
    threads = [threading.Thread(target=open_workspace, args=(tmp_path,)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert calls == [tmp_path]
    assert read_format(tmp_path) == FORMAT
