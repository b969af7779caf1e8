"""Rows of the quality benchmark are measured once, and again when anything behind them changes."""

import pytest

from benchmarks import stored_rows
from benchmarks.stored_rows import StoredRows

ROW = {"distance": 0.25, "per_seed": [0.2, 0.3]}
SETTINGS = {"seeds": [1, 2], "guidance": 4.0}


@pytest.fixture
def checkout(tmp_path, monkeypatch):
    root = tmp_path / "checkout"
    (root / "trainer").mkdir(parents=True)
    (root / "trainer" / "loop.py").write_text("step = 1\n")
    (root / "benchmarks" / "results").mkdir(parents=True)
    monkeypatch.setattr(stored_rows, "ROOT", root)
    return root


@pytest.fixture
def folder(tmp_path, checkout):
    StoredRows(tmp_path / "kept", SETTINGS).write("full", ROW)
    return tmp_path / "kept"


def test_the_same_benchmark_finds_its_row(folder):
    rows = StoredRows(folder, SETTINGS)
    assert rows.read("full") == ROW
    assert rows.read("dora") is None


def test_other_settings_find_nothing(folder):
    assert StoredRows(folder, SETTINGS | {"seeds": [1, 3]}).read("full") is None


def test_changed_code_finds_nothing(folder, checkout):
    (checkout / "trainer" / "loop.py").write_text("step = 2\n")
    assert StoredRows(folder, SETTINGS).read("full") is None


def test_results_do_not_count_as_a_change(folder, checkout):
    (checkout / "benchmarks" / "results" / "quality-cpu.json").write_text("{}\n")
    assert StoredRows(folder, SETTINGS).read("full") == ROW


def test_without_a_folder_nothing_is_kept(checkout):
    rows = StoredRows(None, SETTINGS)
    rows.write("full", ROW)
    assert rows.read("full") is None
    assert not list(checkout.rglob("full.json"))
