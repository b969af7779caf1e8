"""Events and routes of the app with values that no page sends: each is answered or refused."""

import contextlib
import json
import os
import sys
from random import Random
from types import SimpleNamespace
from urllib.parse import quote

import gradio as gr
import pytest
from starlette.applications import Starlette
from starlette.testclient import TestClient

from app.core.workspace import Workspace
from app.web import media
from app.web.page import build
from tests.fuzz.mutate import NUMBERS, TEXTS, change_value, choose_value
from trainer.config import ConfigError, RunConfig, layer_config
from trainer.runs import create_run

# `make fuzz` asks for more.
EVENTS = int(os.environ.get("FUZZ_EVENTS", "30"))
SEED = os.environ.get("FUZZ_SEED", "fast")
DATA = ["key", "run", "file", "settings", "kind", "open"]
PARTS = [
    *TEXTS, "cats", "..%2f..", "%00", "-1", "0", "a.png", "with", "grid-0123456789abcdef",
    "x" * 300,
]  # fmt: skip


@pytest.fixture(scope="module")
def workspace(tmp_path_factory):
    """A workspace with a run, whose commands do nothing."""
    folder = tmp_path_factory.mktemp("requests")
    made = Workspace(folder / "workspace", (), (sys.executable, "-c", "pass"))
    made.prepare()
    made.create_dataset("cats")
    settings = {"name": "a", "dataset": {"path": str(made.datasets_path / "cats")}}
    create_run(made.runs_path, layer_config(settings=settings))
    (made.loras_path / "mine.safetensors").write_bytes(b"x")
    return made


@pytest.fixture(scope="module")
def page(workspace):
    return build(workspace)


def choose_input(random: Random, component: object, known: list[str]) -> object:
    """Returns what a browser could send for a component: its own value, one alike, or anything."""
    value = getattr(component, "value", None)
    kind = random.randrange(4)
    if kind == 0:
        return value
    if kind == 1:
        return random.choice([*known, *TEXTS])
    if kind == 2:
        return random.choice(NUMBERS)
    try:
        return change_value(random, json.loads(json.dumps(value)))
    except (TypeError, ValueError, RecursionError):
        return choose_value(random)


def test_every_event_takes_any_values(page, workspace):
    """What an event cannot do with them is a message on the page or a `gr.Error`."""
    known = [run.name for run in workspace.runs_path.iterdir()] + ["cats", "file:mine.safetensors"]
    calls = 0
    for number, event in page.fns.items():
        for attempt in range(EVENTS if event.fn else 0):
            random = Random(f"{SEED}/{number}/{attempt}")
            values = preprocess(random, event.inputs, known)
            if values is None:
                continue
            data = {
                random.choice(DATA): random.choice([*known, choose_value(random)]) for _ in range(3)
            }
            takes_event = "with_event" in event.fn.__name__
            try:
                event.fn(values, *([SimpleNamespace(_data=data)] if takes_event else []))
            except gr.Error:
                pass
            except Exception as error:
                about = f"event {number} of {event.targets}, attempt {attempt}: {values} {data}"
                raise AssertionError(about[:1500]) from error
            calls += 1
    assert calls >= EVENTS * 20


def preprocess(random: Random, components: list, known: list[str]) -> dict | None:
    """Returns values as Gradio hands them on; None where it refuses one itself."""
    try:
        return {each: each.preprocess(choose_input(random, each, known)) for each in components}
    except Exception:  # noqa: BLE001 - whatever Gradio raises, our code is not called
        return None


def test_every_route_of_images_takes_any_names(workspace):
    client = TestClient(
        Starlette(routes=media.make_routes(workspace)), raise_server_exceptions=True
    )
    random = Random(SEED)
    for route in media.make_routes(workspace):
        for _ in range(2 * EVENTS):
            path = route.path
            for name in route.param_convertors:
                value = quote(random.choice(PARTS), safe="%", errors="surrogatepass")
                path = path.replace(f"{{{name}:int}}", value).replace(f"{{{name}}}", value)
            assert client.get(path).status_code in {200, 307, 404}, path


def test_settings_of_every_kind_are_a_list_of_problems(workspace):
    random, defaults = Random(SEED), RunConfig().model_dump(mode="json")
    for _ in range(8 * EVENTS):
        settings = change_value(random, defaults)
        if isinstance(settings, dict):
            with contextlib.suppress(ConfigError):
                layer_config(settings=settings)
