"""The page on adding a kind of adapter, done as it says in a copy of the project."""

import re
import shutil
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "add-an-adapter.md"
BLOCK = re.compile(r'^```(\w+) title="([^"]+)"\n(.*?)^```$', re.MULTILINE | re.DOTALL)
KIND = "trainer/adapters/hira.py"
ROW = "trainer/adapters/__init__.py"
WORD = "trainer/config/adapter.py"
TESTED = ("test_adapters.py", "test_config.py", "test_kinds_train.py", "test_reading.py")


def read_blocks():
    """Returns the page's blocks as (language, content) by the path in their title."""
    found = BLOCK.findall(PAGE.read_text(encoding="utf-8"))
    return {path: (language, content) for language, path, content in found}


def apply_change(text, change):
    """Returns a text with the hunks of a diff in it, each of which fits one place."""
    for hunk in change.split("@@\n"):
        lines = hunk.splitlines(keepends=True)
        before = "".join(line[1:] for line in lines if line[0] in " -")
        after = "".join(line[1:] for line in lines if line[0] in " +")
        assert text.count(before) == 1, f"{PAGE.name} shows lines that are not there:\n{before}"
        text = text.replace(before, after)
    return text


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    """A copy of the project to which the page's kind is added."""
    folder = tmp_path_factory.mktemp("project")
    leave_out = shutil.ignore_patterns("__pycache__", "*.safetensors")
    for part in ("trainer", "tests", "presets", "examples/starter-model"):
        shutil.copytree(ROOT / part, folder / part, ignore=leave_out)
    (folder / "benchmarks").mkdir()
    for file in ("pyproject.toml", "benchmarks/quality_variants.py"):
        shutil.copy(ROOT / file, folder / file)
    for path, (language, content) in read_blocks().items():
        file = folder / path
        if language == "diff":
            content = apply_change(file.read_text(encoding="utf-8"), content)
        file.write_text(content, encoding="utf-8")
    return folder


def run_tests(project, wanted):
    """Runs tests of the copy by a `-k` expression; returns the names of those that passed."""
    report = project / "report.xml"
    files = [f"tests/trainer/{name}" for name in TESTED]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-k", wanted,
         f"--junit-xml={report}", *files],
        cwd=project, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-5000:] + done.stderr[-2000:]
    cases = ElementTree.parse(report).iter("testcase")
    return [case.get("name") for case in cases if not list(case)]


def test_a_kind_is_one_file_one_row_and_one_word():
    blocks = read_blocks()
    assert {path for path in blocks if path.startswith("trainer/")} == {KIND, ROW, WORD}
    assert not (ROOT / KIND).exists()
    changes = {path: content for path, (language, content) in blocks.items() if language == "diff"}
    added = {path: re.findall(r"^\+(.*)", change, re.MULTILINE) for path, change in changes.items()}
    assert added[ROW] == ["from trainer.adapters.hira import HiRA", '    "hira": HiRA,']
    (word,) = added[WORD]
    assert word.replace(', "hira"', "") == changes[WORD].splitlines()[0][1:]


def test_the_code_of_the_page_passes_the_linter(project):
    for arguments in (["check"], ["format", "--check"]):
        done = subprocess.run(
            [sys.executable, "-m", "ruff", *arguments, "--no-cache", KIND, ROW],
            cwd=project, capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_an_added_kind_keeps_every_promise_trains_exports_and_resumes(project):
    layers = ("linear", "conv1x1", "conv3x3", "strided")
    passed = run_tests(project, "hira and (test_adapters or holds_what_was_trained or goes_on)")
    assert "test_every_kind_trains_and_its_file_holds_what_was_trained[hira]" in passed
    assert "test_every_kind_goes_on_exactly_after_a_stop[hira]" in passed
    for promise in (
        "a_fresh_adapter_changes_nothing",
        "forward_equals_the_layer_with_the_merged_weight",
        "gradients_reach_the_adapter_and_not_the_base",
        "what_a_file_holds_makes_the_same_change_again",
        "decay_pulls_towards_the_base_model_and_spares_what_would_not",
    ):
        assert {f"test_{promise}[hira-{layer}]" for layer in layers} <= set(passed)


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_every_test_of_the_kinds_finds_an_added_one_and_passes(project):
    passed = run_tests(project, "hira or the_estimate_knows_every_kind")
    assert "test_the_estimate_knows_every_kind" in passed
    assert "test_every_preset_is_a_valid_partial_config[starter-hira]" in passed
    assert "test_every_kind_trains_on_sdxl[hira]" in passed
    assert "test_every_kind_is_exported_and_proven[hira-0.1-fp16]" in passed
    assert len(passed) > 60
