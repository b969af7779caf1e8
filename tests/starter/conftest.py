"""Small emoji packages in the form of Iconify, and the recipe on the path of imports."""

import importlib.util
import json
import os
import sys
from pathlib import Path

import pytest

os.environ.setdefault("HF_HUB_OFFLINE", "1")
ROOT = Path(__file__).resolve().parents[2]
STARTER = ROOT / "examples" / "starter-model"
TOKENIZER = STARTER / "tokenizer" / "tokenizer.json"
sys.path.insert(0, str(STARTER))

NAMES = (
    *("cat-face", "dog-face", "owl", "red-apple", "robot", "bus", "glasses", "bell"),
    *("hammer", "kite", "small-airplane", "bear-face", "pencil"),
)
LICENCES = {"noto": "Apache-2.0", "twemoji": "CC-BY-4.0", "openmoji": "CC-BY-SA-4.0"}
SHAPES = (
    '<circle cx="{x}" cy="16" r="{r}" fill="{ink}"/>',
    '<rect x="{x}" y="6" width="{r}" height="20" fill="{ink}"/>',
    '<path d="M{x} 28L16 4L28 {r}Z" fill="{ink}"/>',
)


def draw_body(name, place):
    """A shape of its own for each name, in a shade of its own for each set."""
    number = NAMES.index(name) if name in NAMES else len(name)
    ink = f"#{(40 + 13 * number) % 256:02x}{(90 * place + 30) % 256:02x}{(200 - 9 * number):02x}"
    shape = SHAPES[number % len(SHAPES)]
    return shape.format(x=6 + number % 9, r=7 + number % 6, ink=ink)


def make_icons(place=0, names=NAMES):
    """The content of an `icons.json`, with what a reader must leave out or resolve."""
    icons = {name: {"body": draw_body(name, place)} for name in names}
    icons["waving-hand-dark-skin-tone"] = {"body": "<g/>"}
    icons["withdrawn"] = {"body": "<g/>", "hidden": True}
    aliases = {
        "tool": {"parent": "hammer"},
        "bus-mirrored": {"parent": "bus", "hFlip": True},
    }
    return {"prefix": "any", "icons": icons, "aliases": aliases, "width": 32, "height": 32}


def write_package(folder, key, licence=None, version=None, icons=None):
    """An unpacked package; all that is not given is as the recipe wants it."""
    from recipe.packages import SETS

    target = folder / key
    target.mkdir(parents=True, exist_ok=True)
    spdx = licence or LICENCES[key]
    contents = {
        "package.json": {"name": SETS[key].npm, "version": version or SETS[key].version},
        "info.json": {"license": {"spdx": spdx, "url": f"https://example.org/{spdx}"}},
        "icons.json": icons or make_icons(list(LICENCES).index(key)),
    }
    for name, content in contents.items():
        (target / name).write_text(json.dumps(content), encoding="utf-8")
    return target


@pytest.fixture
def packages(tmp_path):
    """A folder with all the packages of the smoke preset."""
    for key in LICENCES:
        write_package(tmp_path / "packages", key)
    return tmp_path / "packages"


@pytest.fixture(scope="session")
def shared_packages(tmp_path_factory):
    """The same folder, for what only reads it."""
    folder = tmp_path_factory.mktemp("packages")
    for key in LICENCES:
        write_package(folder, key)
    return folder


@pytest.fixture(scope="session")
def icons(shared_packages):
    """The drawings of all packages, a fifth of the concepts held out."""
    from recipe.icons import arrange_concepts, read_icons
    from recipe.packages import load_package

    found = []
    for key in LICENCES:
        package = load_package(key, shared_packages, shared_packages, training=key != "openmoji")
        found += read_icons(package)
    return arrange_concepts(found, share=0.2, seed=0)


@pytest.fixture(scope="session")
def command_line():
    """The module build.py."""
    spec = importlib.util.spec_from_file_location("build_starter_model", STARTER / "build.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def run_build(command_line, monkeypatch):
    """Runs build.py in this process with some arguments; returns its exit code."""

    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["build.py", *map(str, arguments)])
        return command_line.main()

    return run


def make_build(work, packages, context=None, settings=None):
    """The recipe on some packages, by default in miniature and on the processor."""
    from recipe.pipeline import Build
    from recipe.settings import SMOKE
    from recipe.training import make_device_context

    context = context or make_device_context("cpu", compiled=False)
    return Build(work, packages, TOKENIZER, settings or SMOKE, context)


@pytest.fixture(scope="package")
def build(one_thread, shared_packages, tmp_path_factory):
    """A finished smoke build."""
    work = tmp_path_factory.mktemp("work")
    made = make_build(work, shared_packages)
    made.run("model", work / "model")
    return made


@pytest.fixture(scope="package")
def model(build):
    return build.work / "model"


def read_weights(folder):
    """All tensors of a network's folder."""
    from safetensors import safe_open

    tensors = {}
    for path in folder.glob("*.safetensors"):
        with safe_open(path, framework="pt") as stored:
            names = stored.keys()
            tensors |= {name: stored.get_tensor(name) for name in names}
    return tensors


@pytest.fixture(scope="package", autouse=True)
def one_thread():
    """Small tensors gain nothing from threads, and other programs need the processors."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)
