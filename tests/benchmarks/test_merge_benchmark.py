"""The benchmark of merging runs, and docs/merging.md shows what its results file says."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks import merge, merge_page

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def stored():
    return json.loads(merge.RESULTS.read_text(encoding="utf-8"))


@pytest.mark.slow
def test_a_few_layers_are_measured_and_other_rows_of_the_same_work_stay(tmp_path, monkeypatch):
    path = tmp_path / "results.json"
    small = ["--layers", "3", "--rank", "4", "--results", str(path)]
    done = subprocess.run(
        [sys.executable, merge.__file__, *small, "--only", "ties", "inspect"],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    results = json.loads(path.read_text(encoding="utf-8"))
    # One row again: what is measured does not matter here, but what the file then holds.
    monkeypatch.setattr(merge, "measure", lambda rows, *_: results | {"rows": {rows[0]: {}}})
    monkeypatch.setattr(sys, "argv", ["merge.py", *small, "--only", "inspect"])
    merge.main()
    kept = json.loads(path.read_text(encoding="utf-8"))["rows"]
    assert kept == {"ties": results["rows"]["ties"], "inspect": {}}
    assert results["work"]["layers"] == 3
    assert list(results["rows"]) == ["ties", "inspect"]
    assert 0 < results["rows"]["ties"]["cut"] < 1
    assert results["rows"]["ties"]["file_bytes"] > 0
    for found in (results["imports"], *results["rows"].values()):
        assert 0 < found["processor_seconds"] < found["seconds"] * 64
        assert 50e6 < found["peak_bytes"] < 4e9
    assert results["imports"]["peak_bytes"] < results["rows"]["ties"]["peak_bytes"]


def test_rows_of_other_work_are_not_kept(tmp_path, stored):
    path = tmp_path / "results.json"
    path.write_text(json.dumps(stored), encoding="utf-8")
    fresh = stored | {"rows": {"ties": stored["rows"]["svd"]}}
    assert set(merge.keep_rows(path, fresh)["rows"]) == set(stored["rows"])
    assert merge.keep_rows(path, fresh)["rows"]["ties"] == stored["rows"]["svd"]
    other = fresh | {"work": fresh["work"] | {"rank": 8}}
    assert merge.keep_rows(path, other) == other


def test_the_page_shows_the_stored_results(stored):
    assert merge_page.render_table(stored) in merge_page.PAGE.read_text(encoding="utf-8")


def test_every_method_has_a_row_and_stays_below_two_gigabytes(stored):
    assert set(stored["rows"]) == set(merge.ROWS)
    assert stored["work"] | {"file_bytes": 0} == {
        "files": 2, "layers": 1052, "rank": 32, "file_bytes": 0,
    }  # fmt: skip
    assert max(row["peak_bytes"] for row in stored["rows"].values()) < 2e9


def test_only_the_marked_part_of_the_page_is_replaced(stored, tmp_path, monkeypatch):
    path = tmp_path / "merging.md"
    path.write_text(f"# Title\n\n{merge_page.START}\nstale\n{merge_page.END}\n\nLast words.\n")
    monkeypatch.setattr(merge_page, "PAGE", path)
    merge_page.write_page(stored)
    merge_page.write_page(stored)
    text = path.read_text(encoding="utf-8")
    assert (text[:8], text[-13:]) == ("# Title\n", "\nLast words.\n")
    assert text.count("| `ties` |") == 1
    assert "stale" not in text
    path.write_text("# Title\n")
    with pytest.raises(RuntimeError, match="marks"):
        merge_page.write_page(stored)
