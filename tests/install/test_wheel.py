"""The wheel holds all that the commands need, under names of its own, and nothing else."""

import json
import os
import subprocess
import sys
import zipfile
from importlib.util import find_spec

import pytest

from tests.install.conftest import ROOT
from tests.install.installing import call

PACKAGES = {"app", "trainer", "datasets_tools", "presets"}
FILES = {"lorasmith_examples", "lorasmith_docs"}
# In the repository, but no part of the program.
CODE_OF_EXAMPLES = {"recipe", "build.py", "draw.py", "figure.py", "scenes.py", "prepare.py"}


@pytest.fixture(scope="module")
def names(wheel):
    with zipfile.ZipFile(wheel) as file:
        return [name for name in file.namelist() if not name.endswith("/")]


@pytest.fixture(scope="module")
def site(wheel, tmp_path_factory):
    """A folder into which the wheel is unpacked, as an installer would."""
    folder = tmp_path_factory.mktemp("site")
    with zipfile.ZipFile(wheel) as file:
        file.extractall(folder)
    return folder


def test_nothing_but_our_packages_and_files_is_at_the_top(names):
    tops = {name.split("/")[0] for name in names}
    assert {top for top in tops if not top.endswith(".dist-info")} == PACKAGES | FILES


def test_every_module_and_every_file_that_code_reads_is_in_it(names):
    kinds = {".py", ".css", ".js", ".toml", ".json", ".gz", ".typed"}
    expected = {
        path.relative_to(ROOT).as_posix()
        for package in PACKAGES
        for path in (ROOT / package).rglob("*")
        if path.suffix in kinds or path.name == "py.typed"
    }
    assert expected - set(names) == set()


def test_model_images_licences_and_docs_come_along(names):
    folders = {
        "lorasmith_examples": ("starter-model", "openmoji-style", "mascot-character"),
        "lorasmith_docs": ("",),
    }
    expected = {
        f"{package}/{path.relative_to(home).as_posix()}"
        for package, inside in folders.items()
        for home in [ROOT / package.removeprefix("lorasmith_")]
        for folder in inside
        for path in (home / folder).rglob("*")
        if path.suffix in {".safetensors", ".json", ".txt", ".md"}
        and not CODE_OF_EXAMPLES & set(path.relative_to(home).parts)
    }
    assert len(expected) > 60
    assert expected - set(names) == set()
    licences = [name for name in names if "/licenses/" in name]
    assert sorted(name.rpartition("/")[2] for name in licences) == ["LICENSE", "NOTICE"]


def test_neither_tests_nor_the_code_of_the_examples_is_in_it(names):
    assert [name for name in names if name.startswith("lorasmith_") and name.endswith(".py")] == []
    assert [name for name in names if CODE_OF_EXAMPLES & set(name.split("/")[1:2])] == []
    assert [name for name in names if "tests" in name.split("/")] == []


def run(site, folder, *command):
    environment = {**os.environ, "PYTHONPATH": str(site), "HOME": str(folder)}
    environment.pop("LORASMITH_WORKSPACE", None)
    done = subprocess.run(
        [sys.executable, *command],
        cwd=folder, env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_places_are_those_of_the_installation(site, tmp_path):
    code = (
        "import json; from app.commands.application import STARTER_MODEL as model;"
        "from datasets_tools.captioners.places import SHIPPED_FOLDER as captioner;"
        "from datasets_tools.shipped import DOCS, EXAMPLES;"
        "from app.cli import build_parser as make;"
        "workspace = make().parse_args(['app']).workspace;"
        "print(json.dumps([str(one) for one in (model, captioner, DOCS, EXAMPLES, workspace)]))"
    )
    *places, workspace = json.loads(run(site, tmp_path, "-c", code))
    assert [place.startswith(str(site)) for place in places] == [True] * 4
    assert workspace == str(tmp_path / "lorasmith")


def test_commands_find_presets_docs_and_captioner_outside_the_repository(site, tmp_path):
    assert "starter-style" in run(site, tmp_path, "-m", "app.cli", "presets")
    listed = run(site, tmp_path, "-m", "app.cli", "docs")
    assert "guide: " in listed
    assert str(site / "lorasmith_docs") in listed
    assert run(site, tmp_path, "-m", "app.cli", "docs", "guide").startswith("# ")
    model = str(site / "lorasmith_examples" / "starter-model")
    described = run(site, tmp_path, "-m", "app.cli", "inspect", model)
    assert "SD 1.x, epsilon" in described


@pytest.mark.skipif(find_spec("pip") is None, reason="this environment was made without pip")
def test_pip_removes_every_file_and_folder(wheel, tmp_path):
    environment = tmp_path / "environment"
    call(sys.executable, "-m", "venv", "--without-pip", environment, folder=tmp_path)
    before = sorted(environment.rglob("*"))
    pip = [sys.executable, "-m", "pip", "--python", environment]
    call(*pip, "install", "--no-deps", "--no-index", wheel, folder=tmp_path)
    assert list(environment.rglob("lorasmith_examples/starter-model"))
    call(*pip, "uninstall", "--yes", "lorasmith", folder=tmp_path)
    assert sorted(environment.rglob("*")) == before


@pytest.mark.slow
def test_demo_runs_outside_the_repository(site, tmp_path):
    settings = ["--set=train.steps=2", "--set=samples.every_steps=0"]
    printed = run(site, tmp_path, "-m", "app.cli", "demo", *settings)
    (file,) = (tmp_path / "lorasmith" / "runs").glob("*/*.safetensors")
    assert str(file) in printed
    assert "lorasmith app --open" in printed
