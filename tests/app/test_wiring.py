"""How the pages are wired, whatever they show: answers may come late."""

import pytest

from app.server import build


@pytest.fixture
def page(workspace):
    return build(workspace).config


def test_event_with_several_causes_runs_once_more_for_a_cause_that_comes_meanwhile(page):
    """Gradio's other way is to drop it: what was chosen while the page was built is not shown."""
    for wire in page["dependencies"]:
        causes = {event for _, event in wire["targets"]}
        if wire["backend_fn"] and "load" in causes and len(wire["targets"]) > 1:
            assert wire["trigger_mode"] == "always_last", wire


def test_what_a_grid_tells_is_read_in_the_browser(page):
    """A second press while the first is under way would be dropped, or told as the first."""
    names = {part["id"]: part["props"].get("elem_id") for part in page["components"]}
    told = {
        names.get(part): wire["backend_fn"]
        for wire in page["dependencies"]
        for part, event in wire["targets"]
        if event == "select"
    }
    assert told["dataset-grid"] is False
    assert told["library-cards"] is False
