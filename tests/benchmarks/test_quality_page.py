"""docs/quality.md shows what the results file says, and keeps what people wrote around it."""

import json
from pathlib import Path

import pytest

from benchmarks import quality_page
from benchmarks.quality import add_rows

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


def test_a_style_on_rectified_flow_is_learned_as_on_the_noise(report):
    flow, noise = report["variants"]["flow"], report["variants"]["full"]
    assert flow["closed"] >= noise["closed"] - 0.05
    assert flow["top1"] >= noise["top1"] - 0.05
    assert flow["base"]["measured"]["prediction"] == "flow"


def test_rows_are_added_only_where_the_base_model_measures_the_same(report):
    new = report | {"variants": {"flow": {"closed": 0.5}}, "date": "d", "command": "c"}
    added = add_rows(new, report)
    assert list(added["variants"]) == list(report["variants"])
    assert added["variants"]["flow"] == {"closed": 0.5, "date": "d", "command": "c"}
    assert added["date"] == report["date"]
    with pytest.raises(RuntimeError, match="on another base model"):
        add_rows(new | {"base": report["base"] | {"distance": 2.0}}, report)
    with pytest.raises(RuntimeError, match="other settings"):
        add_rows(new | {"settings": report["settings"] | {"seeds": [1]}}, report)


def test_reported_shares_follow_from_the_distances(report):
    for found in report["variants"].values():
        rest = found["distance"] / found.get("base", report["base"])["distance"]
        assert found["closed"] == pytest.approx(1 - rest)
        assert found["distance"] == pytest.approx(
            sum(found["per_seed"]) / len(report["settings"]["seeds"])
        )
