"""What the Dataset tab is sent, and what its caption box is offered, whatever has happened."""

import json

import gradio as gr
import pytest

from app.core.examples import read_trigger, view_tiles
from app.dataset import caption_actions as change
from app.dataset import text as words
from app.dataset.dataset_actions import write_trigger
from app.dataset.editions import Edition, open_edition
from app.dataset.events import DatasetEvents
from app.dataset.painter import PARTS, DatasetPainter
from datasets_tools.edits import change_words


@pytest.fixture
def tab(workspace):
    return Tab(workspace)


class Tab:
    """A browser's tab that takes every offer."""

    def __init__(self, workspace):
        self.painter, self.seen = DatasetPainter(workspace), {}
        self.dataset, self.wanted, self.bound = "cats", "", ""

    def paint(self):
        """Returns the parts that were sent, by name, and adopts what is offered."""
        choice = (self.dataset, self.wanted, self.bound, "starter-model", "blip")
        self.seen, offered, *parts = self.painter.paint(self.seen, *choice)
        self.offer = json.loads(offered)
        if self.offer["edition"]:
            self.bound = json.dumps(self.offer["edition"])
        sent = dict(zip(PARTS, parts, strict=True))
        return {name: part for name, part in sent.items() if part != gr.skip()}

    def carry(self, edition):
        self.bound = edition.to_json()

    @property
    def caption(self):
        return json.loads(self.bound)["caption"]


@pytest.fixture
def keys(dataset):
    return [tile.key for tile in view_tiles(dataset)]


def test_first_image_is_shown_and_then_the_one_that_was_asked_for(tab, dataset, keys):
    write_trigger(dataset, "tabbycat")
    shown = tab.paint()
    assert set(shown) == set(PARTS)
    assert (tab.caption, tab.offer["trigger"]) == ("a red cat", "tabbycat")
    assert "image-0.png" in tab.offer["picture"]
    tab.wanted = f"{keys[1]}#1"
    assert f'data-key="{keys[1]}" aria-pressed="true"' in tab.paint()["grid"]
    assert tab.caption == "a blue cat"
    assert tab.offer["wanted"] == tab.wanted  # by which the browser knows that it may unlock


def test_only_what_changed_is_sent_again(tab, dataset):
    tab.paint()
    assert tab.paint() == {}
    assert tab.offer["edition"] is None
    (dataset / "image-2.txt").write_text("new, tag")
    assert set(tab.paint()) == {"grid", "check", "about", "tags"}


def test_wish_is_granted_once(tab, dataset, keys):
    tab.paint()
    tab.wanted = f"{keys[2]}#1"
    tab.paint()
    (dataset / "image-2.png").rename(dataset / "image-2.away")
    tab.paint()
    assert tab.caption == "a red cat"
    (dataset / "image-2.away").rename(dataset / "image-2.png")
    tab.paint()
    assert tab.caption == "a red cat"  # somebody may be typing by now


def test_other_dataset_is_opened_and_an_empty_one_has_a_trigger_and_no_image(tab, workspace, keys):
    tab.paint()
    tab.dataset = workspace.create_dataset("empty")
    assert tab.paint()["remove"]["interactive"] is False
    offered = tab.offer["edition"]
    assert (offered["dataset"], offered["key"], offered["caption"]) == ("empty", "", "")
    assert tab.paint() == {}
    assert tab.offer["edition"] is None
    tab.dataset = None
    tab.paint()
    assert tab.offer["edition"]["dataset"] == ""
    assert words.NO_IMAGE_SELECTED in tab.offer["picture"]
    tab.dataset, tab.wanted = "cats", f"{keys[1]}#9"
    tab.paint()
    assert tab.caption == "a blue cat"


def test_caption_that_something_else_has_changed_is_offered(tab, workspace, dataset):
    tab.paint()
    change.change_all(workspace, "cats", change_words("red", "pink"))
    tab.paint()
    assert tab.caption == "a pink cat"
    tab.paint()
    assert tab.offer["edition"] is None


def test_text_that_could_not_be_saved_stays_until_an_image_is_chosen(tab, workspace, dataset, keys):
    tab.paint()
    (dataset / "image-0.txt").write_text("edited elsewhere")
    saved, told = DatasetEvents(workspace).save_caption(tab.bound, "my text")
    assert "Not saved" in told
    assert "my text" in told
    tab.bound = saved
    tab.paint()
    assert tab.offer["edition"] is None
    tab.wanted = f"{keys[0]}#1"
    tab.paint()
    assert tab.caption == "edited elsewhere"


def test_removed_image_makes_way_for_its_neighbour_and_comes_back(tab, workspace, dataset, keys):
    events = DatasetEvents(workspace)
    tab.carry(open_edition(dataset, "cats", keys[1]))
    told, asked = events.remove("cats", tab.bound, "before")
    assert "image-1.png" in told
    assert json.loads(asked)["was"] == ["before"]
    (tab.wanted,) = json.loads(asked)["found"]
    assert tab.paint()["undo"]["interactive"] is True
    assert json.loads(tab.bound)["key"] == keys[2]
    told, asked = events.undo("cats", tab.wanted)
    assert "image-1.png" in told
    (tab.wanted,) = json.loads(asked)["found"]
    tab.paint()
    assert json.loads(tab.bound)["key"] == keys[1]
    assert "note-error" in events.undo("cats", "")[0]
    assert "note-error" in events.remove("cats", Edition("cats", "gone").to_json(), "")[0]
    assert "note-error" in events.remove("../x", tab.bound, "")[0]


def test_text_that_had_to_leave_the_box_is_saved_for_its_image(workspace, dataset, keys):
    events = DatasetEvents(workspace)
    bound = open_edition(dataset, "cats", keys[1]).to_json()
    left = json.dumps({"bound": bound, "caption": "typed for the second"})
    saved, told = events.save_left(left)
    assert "Saved: image-1.png" in told
    assert (dataset / "image-1.txt").read_text() == "typed for the second"
    assert json.loads(saved)["caption"] == "typed for the second"
    # Leaving the box had saved it as well: that is no conflict, and the note stays as it is.
    assert events.save_left(left)[1] == gr.skip()
    assert events.save_left("") == [gr.skip(), gr.skip()]
    for lost in (Edition("gone", "k"), Edition("cats", "gone")):
        told = events.save_left(json.dumps({"bound": lost.to_json(), "caption": "a long text"}))
        assert told[0] == gr.skip()
        assert "Your text was: a long text" in told[1]
    assert "no dataset" in events.save_caption(Edition("gone", "k").to_json(), "x")[1]


def test_the_same_text_saved_twice_is_known_apart(tab, workspace, dataset):
    """A saved edition that equals the one before would be no news to the browser."""
    events = DatasetEvents(workspace)
    tab.paint()
    first = events.save_caption(tab.bound, "black")[0]
    tab.bound = first
    change.change_all(workspace, "cats", change_words("black", "brown"))
    tab.paint()
    assert tab.caption == "brown"
    second = events.save_caption(tab.bound, "black")[0]
    assert json.loads(second)["caption"] == json.loads(first)["caption"] == "black"
    assert second != first


def test_press_is_not_forgotten_when_painting_fails(tab, dataset, keys, monkeypatch):
    tab.paint()
    tab.wanted = f"{keys[1]}#1"
    with monkeypatch.context() as patch:
        patch.setattr("app.dataset.painter.make_tags", lambda found: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            tab.paint()
    tab.paint()
    assert tab.caption == "a blue cat"


def test_trigger_is_kept_once_and_refused_in_words(workspace, dataset):
    """It is the dataset's whose trigger stood in the box, whichever is chosen by now."""
    events = DatasetEvents(workspace)
    bound = Edition("cats").to_json()
    assert "note-good" in events.keep_trigger(" tabby  cat", bound)
    assert read_trigger(dataset) == "tabby cat"
    assert events.keep_trigger("tabby cat ", bound) == gr.skip()
    assert "note-error" in events.keep_trigger("x" * 1000, bound)
    assert "no dataset" in events.keep_trigger("x", Edition("../x").to_json())
    assert events.keep_trigger("x", "") == gr.skip()


def test_images_go_into_the_chosen_dataset_or_into_a_new_one(workspace):
    events = DatasetEvents(workspace)
    told, upload, dataset = events.take_in([], None)
    assert (upload, dataset["value"]) == (None, "my-dataset")
    assert events.take_in([], None)[2]["value"] == "my-dataset"
    # Another one may have been chosen meanwhile, and stays chosen.
    assert events.take_in([], "my-dataset")[2] == gr.skip()
    assert "no dataset" in events.take_in([], "../x")[0]
    assert "note" in told
