"""docs/quality.md shows what the results file says, and keeps what people wrote around it."""

import json
from pathlib import Path

import pytest

from benchmarks import quality_page

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def report():
    return json.loads((ROOT / "benchmarks/results/quality-cpu.json").read_text(encoding="utf-8"))


@pytest.fixture
def page(tmp_path, monkeypatch):
    path = tmp_path / "quality.md"
    path.write_text(f"# Title\n\n{quality_page.START}\nstale\n{quality_page.END}\n\nLast words.\n")
    monkeypatch.setattr(quality_page, "PAGE", path)
    return path


def test_page_shows_the_stored_results(report):
    text = (ROOT / "docs/quality.md").read_text(encoding="utf-8")
    assert quality_page.render_tables(report) in text


def test_only_the_marked_part_is_replaced(report, page):
    quality_page.write_page(report)
    quality_page.write_page(report)
    text = page.read_text(encoding="utf-8")
    assert text.startswith("# Title\n")
    assert text.endswith("\nLast words.\n")
    assert "stale" not in text
    assert text.count("| base model |") == 2


def test_page_without_marks_is_refused_and_left_alone(report, page):
    page.write_text("# Title\n")
    with pytest.raises(RuntimeError, match="marks"):
        quality_page.write_page(report)
    assert page.read_text() == "# Title\n"


def test_more_than_half_of_the_distance_is_closed(report):
    assert report["variants"]["full"]["closed"] >= 0.5


def test_reported_shares_follow_from_the_distances(report):
    for found in report["variants"].values():
        rest = found["distance"] / found.get("base", report["base"])["distance"]
        assert found["closed"] == pytest.approx(1 - rest)
        assert found["distance"] == pytest.approx(
            sum(found["per_seed"]) / len(report["settings"]["seeds"])
        )
