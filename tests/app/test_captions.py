"""Captions as a whole: suggested by a captioner, changed all at once, and taken back."""

import json

import pytest
from PIL import Image

from app.core.examples import view_tiles
from app.core.jobs import Errand, read_errand
from app.core.workspace import WorkspaceError
from app.dataset import caption_actions as change
from app.dataset import captions_text as words
from app.dataset import suggestions as view
from app.dataset.caption_events import CaptionEvents
from app.dataset.captions_html import make_suggesting, make_tags
from app.dataset.dataset_actions import save_caption
from app.dataset.editions import open_edition, read_edition
from app.dataset.events import DatasetEvents
from app.dataset.painter import PARTS, DatasetPainter
from app.train.run_actions import check_before_start
from app.ui.watch import MARKS
from datasets_tools.edits import change_by_adding
from datasets_tools.errors import DatasetError
from tests.app.conftest import wait_for

HOSTILE = "<img src=x onerror=alert(1)>\"' ${alert(2)}"


@pytest.fixture(autouse=True)
def blip(workspace):
    """A captioner whose model is here, as far as one can see from outside."""
    folder = workspace.root / "captioners" / "blip"
    folder.mkdir(parents=True)
    return folder


@pytest.fixture
def events(workspace):
    return CaptionEvents(workspace)


def read_all(folder):
    return {path.stem: path.read_text() for path in sorted(folder.glob("*.txt"))}


def suggest(workspace, existing="keep"):
    change.start_suggesting(workspace, "cats", "blip", existing)
    wait_for(lambda: view.find_suggesting(workspace, "cats").state != "running")
    return view.view_suggesting(view.find_suggesting(workspace, "cats"))


def paint(workspace, dataset="cats", captioner="blip"):
    """What the tab shows of the captions, by name."""
    _, _, *parts = DatasetPainter(workspace).paint({}, dataset, "", "", "", captioner)
    return dict(zip(PARTS, parts, strict=True))


def bind(folder, number):
    """The edition that the browser carries after an image was chosen."""
    return open_edition(folder, "cats", view_tiles(folder)[number].key)


def test_suggestions_fill_what_is_missing_and_are_taken_back(workspace, dataset):
    before = read_all(dataset)
    done = suggest(workspace)
    assert (done.state, done.kind) == ("done", "good")
    assert done.line == "1 caption suggested, 2 left as before."
    assert read_all(dataset) == before | {"image-2": "a red cat"}
    assert change.take_back(workspace, "cats").startswith("Taken back: Suggested by blip.")
    assert read_all(dataset) == before
    assert view.find_suggesting(workspace, "cats").state == "none"


@pytest.mark.parametrize(
    ("existing", "captions"),
    [("append", ["sitting, a red cat", "lying, a blue cat", "a green cat"]),
     ("replace", ["a red cat", "a blue cat", "a green cat"])],
)  # fmt: skip
def test_suggestions_go_where_they_were_sent(workspace, dataset, existing, captions):
    (dataset / "image-0.txt").write_text("sitting")
    (dataset / "image-1.txt").write_text("lying")
    assert suggest(workspace, existing).line == "3 captions suggested."
    assert list(read_all(dataset).values()) == captions


def test_what_was_not_recognised_is_named(workspace, dataset):
    Image.new("RGB", (64, 64), "red").save(dataset / "plain.png")
    done = suggest(workspace)
    assert done.kind == "warning"
    assert "1 image not recognised" in done.line
    assert done.notes == ("Not recognised: plain.png",)


def test_the_same_question_runs_again(workspace, dataset):
    suggest(workspace)
    (dataset / "image-0.txt").unlink()
    assert suggest(workspace).line == "1 caption suggested, 2 left as before."


def test_a_captioner_that_fails_says_why(workspace, dataset):
    dataset.rename(workspace.datasets_path / "dies")
    change.start_suggesting(workspace, "dies", "blip", "keep")
    wait_for(lambda: view.find_suggesting(workspace, "dies").state == "failed")
    found = view.view_suggesting(view.find_suggesting(workspace, "dies"))
    assert found.kind == "error"
    assert "The captioner is damaged. Download it again." in found.line


def test_what_a_cancelled_captioner_has_written_is_told_and_taken_back(workspace, dataset, gates):
    before = read_all(dataset) | {"image-0": "sitting"}
    (dataset / "image-0.txt").write_text("sitting")
    gates.close("caption-2")
    change.start_suggesting(workspace, "cats", "blip", "replace")
    wait_for(lambda: view.list_suggested(view.find_suggesting(workspace, "cats")))
    change.stop_suggesting(workspace, "cats")
    wait_for(lambda: view.find_suggesting(workspace, "cats").state == "failed")
    found = view.view_suggesting(view.find_suggesting(workspace, "cats"))
    assert found.state == "stopped"
    assert found.line == "Cancelled. 1 caption was suggested by then."
    assert read_all(dataset) == before | {"image-0": "a red cat"}
    assert "1 caption was put back" in change.take_back(workspace, "cats")
    assert read_all(dataset) == before


@pytest.mark.parametrize(
    ("captioner", "existing", "says"),
    [("magic", "keep", "from the list"), (None, "keep", "from the list"),
     ("blip", "burn", "captions that are there"), ("blip", None, "captions that are there"),
     ("blip", "keep", "Every image has a caption already")],
)  # fmt: skip
def test_suggesting_is_refused_in_words(workspace, dataset, captioner, existing, says):
    (dataset / "image-2.txt").write_text("a cat")
    with pytest.raises(WorkspaceError, match=says):
        change.start_suggesting(workspace, "cats", captioner, existing)
    assert view.find_suggesting(workspace, "cats").state == "none"


def test_dataset_without_images_and_missing_package_are_refused(workspace, dataset, monkeypatch):
    workspace.create_dataset("empty")
    with pytest.raises(WorkspaceError, match="no images to caption"):
        change.start_suggesting(workspace, "empty", "blip", "keep")
    with pytest.raises(WorkspaceError, match="no dataset"):
        change.start_suggesting(workspace, "../x", "blip", "keep")
    monkeypatch.setattr("datasets_tools.captioners.extras.find_spec", lambda name: None)
    assert "pip install" in view.view_captioner(workspace, "tagger").problem
    with pytest.raises(WorkspaceError, match="needs the package"):
        change.start_suggesting(workspace, "cats", "tagger", "keep")


def test_captioner_that_is_here_comes_first_and_then_the_one_used_last(
    workspace, dataset, blip, monkeypatch, tmp_path
):
    monkeypatch.setattr("datasets_tools.captioners.places.SHIPPED_FOLDER", tmp_path / "none")
    listed = {one.name: one for one in view.list_captioners(workspace)}
    assert "starter" not in listed  # it comes along or not at all
    assert listed["blip"].download == ""
    assert view.choose_captioner(workspace) == "blip"
    blip.rename(blip.with_name("florence2"))
    assert view.choose_captioner(workspace) == "florence2"
    assert "GB" in view.view_captioner(workspace, "blip").download
    change.start_suggesting(workspace, "cats", "blip", "keep")
    assert view.choose_captioner(workspace) == "blip"
    monkeypatch.setattr("datasets_tools.captioners.places.SHIPPED_FOLDER", tmp_path)
    assert view.list_captioners(workspace)[0].name == "starter"
    assert "emoji" in view.view_captioner(workspace, "starter").about
    wait_for(lambda: view.find_suggesting(workspace, "cats").state == "done")


def test_with_another_base_model_the_captioner_that_knows_emoji_is_not_chosen(
    workspace, monkeypatch, tmp_path
):
    monkeypatch.setattr("datasets_tools.captioners.places.SHIPPED_FOLDER", tmp_path)
    assert view.choose_captioner(workspace) == "starter"
    workspace.models_path.mkdir(exist_ok=True)
    (workspace.models_path / "real.safetensors").write_bytes(b"x")
    assert view.choose_captioner(workspace) == "blip"
    assert view.list_captioners(workspace)[0].name == "starter"


def test_progress_is_told_from_download_to_the_last_image(workspace, dataset, blip):
    blip.rmdir()
    errand = change.start_suggesting(workspace, "cats", "blip", "keep")
    question = (read_errand(workspace, errand.id).path / view.QUESTION_FILE).read_text()
    assert json.loads(question) == {"captioner": "blip", "existing": "keep"}
    wait_for(lambda: view.find_suggesting(workspace, "cats").state == "done")

    def look(*happened):
        return view.view_suggesting(Errand(errand.id, "running", None, happened, path=errand.path))

    assert look().line == words.STARTING
    halfway = look({"event": "download", "done": 512, "total": 1024})
    assert halfway.line == "Downloading BLIP: 512 bytes of 1 KB (50 %)"
    assert halfway.percent == 50
    assert look({"event": "load"}).line == "Loading BLIP…"
    at_work = look({"event": "caption", "image": "a.png", "done": 3, "total": 12})
    assert (at_work.line, at_work.percent) == ("3 of 12 images looked at, the last one a.png", 25)
    assert look({"event": "caption", "done": "3", "total": None}).percent == 0


def test_mark_changes_while_captions_are_suggested(workspace, dataset):
    before = MARKS["captions"](workspace)
    suggest(workspace)
    assert MARKS["captions"](workspace) != before


def test_all_captions_are_changed_and_taken_back_twice(workspace, dataset, events):
    states = [read_all(dataset)]
    assert "Replaced “cat” by “dog”: 2 captions were" in events.replace("cat", "dog", "cats")
    shown = paint(workspace)
    assert shown["take_back"]["value"] == "Take back: Replaced “cat” by “dog”"
    assert shown["take_back"]["interactive"] is True
    assert ">a red dog <b>1</b>" in shown["tags"]
    states.append(read_all(dataset))
    assert "Added “photo” first: 3 captions" in events.add_first("photo", "cats")
    assert read_all(dataset)["image-0"] == "photo, a red dog"
    assert "Added “old” at the end" in events.add_last("old", "cats")
    assert "Removed the tag “old”" in events.remove("old", "cats")
    for state in (None, None, states.pop(), states.pop()):
        assert "Taken back" in events.take_back("cats")
        assert state is None or read_all(dataset) == state
    assert paint(workspace)["take_back"]["interactive"] is False
    assert "no change of many captions" in events.take_back("cats")


@pytest.mark.parametrize("name", ["replace", "add_last", "add_first", "remove"])
def test_change_of_nothing_is_refused_in_words(workspace, dataset, events, name):
    before = read_all(dataset)
    texts = [None, None] if name == "replace" else [" ,"]
    told = getattr(events, name)(*texts, "cats")
    assert "note-error" in told
    assert read_all(dataset) == before
    assert "no dataset" in getattr(events, name)("a", *texts[1:], "../x")


def test_nothing_else_changes_captions_while_they_are_suggested(workspace, dataset, events, gates):
    gates.close("caption-1")
    assert events.suggest("cats", "blip", "keep") == ""
    shown = paint(workspace)
    assert shown["suggest"]["interactive"] is False
    assert shown["cancel"]["visible"] is True
    assert 'role="progressbar"' in shown["progress"]
    for refused in (events.replace("a", "b", "cats"), events.take_back("cats")):
        assert "Captions are being suggested" in refused
    with pytest.raises(WorkspaceError, match="Captions are being suggested"):
        check_before_start(workspace, "cats", "starter-model")
    events.cancel("cats")
    wait_for(lambda: view.find_suggesting(workspace, "cats").state == "failed")
    check_before_start(workspace, "cats", "starter-model")
    assert "2 captions were changed" in events.replace("cat", "dog", "cats")


def test_nothing_is_offered_where_there_are_no_images(workspace):
    for name in ("", None, "nowhere", workspace.create_dataset("empty")):
        shown = paint(workspace, name)
        assert (shown["train"]["visible"], shown["section"]["visible"]) == (False, False)
        assert shown["suggest"]["interactive"] is False
        assert "no images to caption yet" in shown["about"]


def test_button_tells_of_the_download_and_only_captioners_are_listed(workspace, dataset, events):
    shown = paint(workspace, captioner="florence2")
    assert shown["suggest"]["value"].startswith("Download ")
    assert "Hugging Face hub" in shown["about"]
    assert "1 of 3 images has no caption" in shown["about"]
    assert ("BLIP", "blip") in events.open_page()["choices"]
    assert paint(workspace, captioner="magic")["suggest"]["interactive"] is False


def test_text_that_nobody_touched_is_not_saved_over_a_suggestion(workspace, dataset):
    bound = bind(dataset, 2)
    suggest(workspace)
    DatasetEvents(workspace).save_caption(bound.to_json(), "")
    assert read_all(dataset)["image-2"] == "a red cat"


def test_text_that_was_typed_meanwhile_wins_against_a_suggestion_and_outlives_its_undo(
    workspace, dataset
):
    bound = bind(dataset, 2)
    suggest(workspace)
    saved, told = DatasetEvents(workspace).save_caption(bound.to_json(), "my own words")
    assert "Saved: image-2.png" in told
    assert read_edition(saved).caption == "my own words"
    assert "left alone: image-2.png" in change.take_back(workspace, "cats")
    assert read_all(dataset)["image-2"] == "my own words"


def test_saved_caption_is_part_of_the_change_that_comes_after_it(workspace, dataset):
    bound = bind(dataset, 0)
    assert save_caption(dataset, bound.key, bound.revision, "a red fox").outcome == "saved"
    change.change_all(workspace, "cats", change_by_adding("photo"))
    assert read_all(dataset)["image-0"] == "a red fox, photo"


def test_tags_are_escaped_cut_and_counted():
    many = [(f"tag {number}", 1) for number in range(80)]
    found = view.CaptionsView(9, 2, ((HOSTILE, 3), ("x" * 1000, 2), *many))
    made = make_tags(found)
    assert "<img" not in made
    assert "onerror=alert(1)&gt;" in made
    assert "82 different tags in 7 captions" in made
    assert made.count("<li") == 61
    assert "and 22 rarer ones" in made
    assert "x" * 50 not in made


def test_words_of_a_captioner_and_of_a_journal_are_escaped():
    shown = view.SuggestingView("done", HOSTILE, "good", 100, (HOSTILE,) * 9)
    made = make_suggesting(shown, HOSTILE)
    assert "<img" not in made
    assert made.count("<li") == 7
    assert "3 more" in made
    running = view.SuggestingView("running", HOSTILE, percent=40)
    assert "<img" not in make_suggesting(running, "")


def test_unreadable_journal_is_told_and_the_rest_is_shown(workspace, dataset, monkeypatch):
    def fail(folder):
        raise DatasetError("The journal cannot be read.")

    monkeypatch.setattr(view, "find_last_rewriting", fail)
    shown = paint(workspace)
    assert "The journal cannot be read." in shown["tags"]
    assert shown["take_back"]["interactive"] is False
