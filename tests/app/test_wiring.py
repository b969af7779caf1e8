"""How the pages are wired, whatever they show: answers may come late."""

from collections import Counter
from pathlib import Path

import pytest

import app.ui.context
from app.ui.context import Choice
from app.web.page import build


@pytest.fixture
def page(workspace):
    return build(workspace).config


def list_waiting(page):
    """The events that run once more for a cause that comes while they are under way."""
    return [
        wire
        for wire in page["dependencies"]
        if wire["backend_fn"] and wire["trigger_mode"] == "always_last"
    ]


def test_no_cause_has_two_events_that_wait(page):
    """They would raise each other for ever: Gradio raises the cause again, for both."""
    counts = Counter(
        (part, event) for wire in list_waiting(page) for part, event in wire["targets"]
    )
    assert counts
    assert [cause for cause, count in counts.items() if count > 1] == []


def test_no_change_is_lost_while_the_event_before_it_is_under_way(page):
    """Gradio's default is to drop it: what was chosen while the page was built is not shown."""
    for wire in page["dependencies"]:
        causes = {event for _, event in wire["targets"]}
        if wire["backend_fn"] and causes & {"change", "tick"}:
            assert wire["trigger_mode"] != "once", wire


def test_what_is_chosen_in_a_grid_is_known_in_the_browser(page):
    """A second press while the first is under way would be dropped, or told as the first."""
    names = {part["id"]: part["props"].get("elem_id") for part in page["components"]}
    selects = {
        names.get(part)
        for wire in page["dependencies"]
        for part, event in wire["targets"]
        if event == "select" and wire["backend_fn"]
    }
    assert selects & {"dataset-grid", "library-cards"} == set()
    assert selects  # buttons in fragments


def test_choice_is_a_dropdown_that_takes_what_is_not_listed_any_more():
    choice = Choice(["cats"])
    assert choice.get_block_name() == "dropdown"
    assert [choice.preprocess(sent) for sent in ("cats", "gone", None, ["cats"], 7)] == [
        "cats", "gone", None, None, None,
    ]  # fmt: skip
    assert list(Path(app.ui.context.__file__).parent.glob("*.pyi")) == []


def test_gradio_has_the_pauses_that_the_server_sets(workspace):
    queue = vars(build(workspace)._queue)
    assert {"sleep_when_free", "progress_update_sleep_when_free"} <= set(queue)
