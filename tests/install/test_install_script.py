"""The install scripts for people who have Python and nothing else."""

import ast
import importlib.util
import os
import shutil
import subprocess
import sys

import pytest

from tests.install.conftest import ROOT
from tests.install.installing import call, read_index

SCRIPT = ROOT / "install.py"


@pytest.fixture
def installer():
    spec = importlib.util.spec_from_file_location("install_script", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_old_python_can_read_it_and_reports_that_it_is_too_old(installer, monkeypatch, capsys):
    ast.parse(SCRIPT.read_text(encoding="utf-8"), feature_version=(3, 6))
    monkeypatch.setattr(installer, "NEEDED", (99, 0))
    monkeypatch.setattr(sys, "argv", ["install.py"])
    assert installer.main() == 1
    assert "needs Python 3.11 or newer" in capsys.readouterr().out


class Calls:
    """Stands for running commands: notes them, and fails for those that hold a word."""

    def __init__(self, fails=()):
        self.made, self.fails = [], fails

    def __call__(self, command, quiet=False):
        self.made.append(command)
        return not any(word in command for word in self.fails)


@pytest.mark.parametrize(
    ("options", "fails", "uses"),
    [([], (), ["uv"]), (["--pip"], (), ["pip"]), ([], ("--torch-backend",), ["uv", "pip"]),
     ([], ("uv",), ["pip"])],
    ids=["uv", "pip-wanted", "uv-cannot-install", "no-uv"],
)  # fmt: skip
def test_uv_installs_and_pip_where_it_cannot(installer, monkeypatch, options, fails, uses):
    calls = Calls(fails)
    monkeypatch.setattr(installer, "run", calls)
    monkeypatch.setattr(installer, "report", lambda python: 0)
    monkeypatch.setattr(installer.shutil, "which", lambda name: None)
    monkeypatch.setattr(sys, "argv", ["install.py", "--venv", "/nowhere", *options])
    assert installer.main() == 0
    installs = [one for one in calls.made if "--editable" in one]
    assert ["uv" if "--torch-backend" in one else "pip" for one in installs] == uses
    assert all(str(ROOT / "constraints.txt") in one for one in installs)


def test_failure_of_both_is_an_exit_code_and_a_sentence(installer, monkeypatch, capsys):
    monkeypatch.setattr(installer, "run", Calls(("--editable",)))
    monkeypatch.setattr(sys, "argv", ["install.py", "--venv", "/nowhere"])
    assert installer.main() == 1
    assert "It could not be installed" in capsys.readouterr().out


def test_card_without_cuda_in_torch_is_reported(installer, monkeypatch, capsys):
    found = {"stdout": "2.13.0+cpu False\n", "returncode": 0}
    done = type("Done", (), found)
    monkeypatch.setattr(installer.subprocess, "run", lambda *args, **options: done)
    for card in (None, "/usr/bin/nvidia-smi"):
        monkeypatch.setattr(installer.shutil, "which", lambda name, card=card: card)
        assert installer.report("python") == 0
        assert ("has no CUDA" in capsys.readouterr().out) == bool(card)


@pytest.mark.skipif(os.name == "nt", reason="a POSIX shell script")
def test_shell_script_reports_that_no_python_is_new_enough(tmp_path):
    for name in ("sh", "dirname"):
        (tmp_path / name).symlink_to(shutil.which(name))
    old = tmp_path / "python3"
    old.write_text("#!/bin/sh\nexit 1\n")
    old.chmod(0o755)
    done = subprocess.run(
        ["sh", ROOT / "install.sh"],
        env={"PATH": str(tmp_path)}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 1
    assert "needs Python 3.11 or newer" in done.stdout


@pytest.mark.parametrize("name", ["install.bat", "run.bat"])
def test_batch_files_have_the_line_ends_that_windows_needs(name):
    content = (ROOT / name).read_bytes()
    assert content.startswith(b"@echo off\r\n")
    assert content.count(b"\n") == content.count(b"\r\n")


@pytest.mark.slow
@pytest.mark.skipif(os.name == "nt", reason="a POSIX shell script")
@pytest.mark.timeout(2400)
def test_shell_script_installs_into_an_environment_that_works(tmp_path):
    environment = tmp_path / "environment"
    index = read_index(tmp_path)
    script = ["sh", ROOT / "install.sh", "--pip", "--venv", environment]
    printed = call(*script, folder=tmp_path, PYTHON=sys.executable, **index)
    assert "Lorasmith is installed, with torch" in printed
    command = environment / "bin" / "lorasmith"
    assert call(command, "presets", folder=tmp_path).startswith("starter")
