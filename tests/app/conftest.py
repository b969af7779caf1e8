"""Small workspaces, and the app as a real server with a stand-in for the trainer."""

import contextlib
import os
import signal
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

import pytest
from PIL import Image

from app.core.workspace import Workspace
from tests.app.serve_app import start_server
from tests.gates import VARIABLE, Gates
from tests.ports import hold_port
from trainer.config import layer_config
from trainer.runs import append_event, create_run, find_owner, is_alive
from trainer.runs.starting import find_starter

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
# With what was there before the tests: the folder of the file rules, where they are tested.
FOLDERS = os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
FAKE_TRAINER = (sys.executable, str(HERE / "fake_trainer.py"))


@pytest.fixture(autouse=True)
def no_leftover_environment(monkeypatch, tmp_path):
    monkeypatch.setenv("PYTHONPATH", FOLDERS)
    monkeypatch.setenv(VARIABLE, str(tmp_path / "gates"))


@pytest.fixture
def gates(tmp_path):
    """The gates at which the fake commands of this test wait."""
    return Gates(tmp_path / "gates")


@pytest.fixture
def workspace(tmp_path):
    model = tmp_path / "elsewhere" / "starter-model"
    model.mkdir(parents=True)
    (model / "model_index.json").write_text("{}")
    made = Workspace(tmp_path / "workspace", (model,), FAKE_TRAINER)
    made.prepare()
    yield made
    end_workers(made.root)


@pytest.fixture
def dataset(workspace):
    """A dataset of three images, the first two with captions."""
    folder = workspace.datasets_path / workspace.create_dataset("cats")
    draw_images(folder, 3)
    (folder / "image-0.txt").write_text("a red cat")
    (folder / "image-1.txt").write_text("a blue cat")
    return folder


@pytest.fixture
def run(workspace, dataset):
    """A queued run on the dataset."""
    return create_run(workspace.runs_path, make_config(workspace, dataset))


def make_config(workspace, folder, name="tabby", **train):
    model = next(iter(workspace.list_base_models().values()))
    return layer_config(
        settings={
            "name": name,
            "base_model": {"path": str(model)},
            "dataset": {"path": str(folder), "trigger": "tabbycat"},
            "train": {"steps": 30, **train},
            "samples": {"every_steps": 10},
        }
    )


def draw_images(folder, count, size=64):
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for number in range(count):
        path = folder / f"image-{number}.png"
        image = Image.effect_mandelbrot((size, size), (-2, -1.5, 1, 1.5), 20 + number)
        image.convert("RGB").save(path)
        paths.append(path)
    return paths


def add_sample(run, step, index, prompt="a cat"):
    folder = run.samples_path / f"step-{step:06d}"
    folder.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (8, 8)).save(folder / f"{index:02d}.png")
    file = f"samples/{folder.name}/{index:02d}.png"
    append_event(run.events_path, "sample", step=step, index=index, prompt=prompt, file=file)


def wait_for(look, seconds=240):
    deadline = time.monotonic() + seconds
    while not look():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.05)


def end_workers(root):
    """Ends what was started in a workspace: a worker outlives its server or waits at a gate."""
    for path in root.glob("**/starting.json"):
        for owner in (find_starter(path.parent), find_owner(path.parent)):
            if owner is not None and is_alive(owner):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(owner.pid, signal.SIGKILL)


@contextlib.contextmanager
def serving(root, *models, **options):
    """Runs the app on a free port; yields its address, and ends it with all that it started.

    Its commands wait at the gates in the folder beside the workspace. The options are `launch`'s.
    """
    with hold_port() as port, serving_at(port, root, *models, **options) as url:
        yield url


@contextlib.contextmanager
def serving_at(port, root, *models, **options):
    """Runs the app on a port that stays held: a second server is the same place to a browser."""
    environment = {**os.environ, "PYTHONPATH": FOLDERS, VARIABLE: str(root.parent / "gates")}
    process = start_server(root, port, models, environment, options)
    url = f"http://127.0.0.1:{port}"

    def answers():
        assert process.is_alive(), "the server ended"
        try:
            return urllib.request.urlopen(url, timeout=5).status == 200
        except urllib.error.HTTPError as error:
            return error.status == 401  # it asks for the password
        except (urllib.error.URLError, ConnectionError):
            return False

    try:
        wait_for(answers)
        yield url
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        process.join(60)
        end_workers(root)
