"""Captions as a whole: suggested by a captioner, changed all at once, and undone."""

import json

import pytest
from PIL import Image

from app.core.examples import find_suggesting, view_tiles
from app.core.jobs import Job, read_job
from app.core.workspace import WorkspaceError
from app.dataset import captions, text
from app.dataset import suggestions as view
from app.dataset.captions import open_caption, save_caption
from app.dataset.captions_html import make_suggesting, make_tags
from app.dataset.events import DatasetEvents
from app.dataset.html import VIEWS
from app.train.run_actions import check_before_start
from datasets_tools.edits import change_by_adding
from datasets_tools.errors import DatasetError
from tests.app.conftest import wait_for
from tests.app.test_dataset_tab import press

HOSTILE = "<img src=x onerror=alert(1)>\"' ${alert(2)}"


@pytest.fixture(autouse=True)
def blip(workspace):
    """A captioner whose model is here, as far as one can see from outside."""
    folder = workspace.root / "captioners" / "blip"
    folder.mkdir(parents=True)
    return folder


@pytest.fixture
def events(workspace):
    return DatasetEvents(workspace)


def read_all(folder):
    return {path.stem: path.read_text() for path in sorted(folder.glob("*.txt"))}


def suggest(workspace, existing="keep"):
    view.start_suggesting(workspace, "cats", "blip", existing)
    wait_for(lambda: find_suggesting(workspace, "cats").state != "running")
    return view.view_suggesting(find_suggesting(workspace, "cats"))


def render(workspace, name, dataset="cats", captioner="blip"):
    """What a fragment of the tab shows."""
    return VIEWS[name].render(workspace, {"dataset": dataset or "", "captioner": captioner})


def can_press(shown, button):
    """Whether a fragment has a button, and it can be pressed."""
    return f'id="{button}"' in shown and "disabled" not in shown.split(f'id="{button}"')[1][:40]


def read(workspace, folder, number):
    """The key of an image and the revision of its caption, as a browser has them."""
    key = view_tiles(folder)[number].key
    return key, open_caption(workspace, "cats", key).revision


UNDO = press(key="undo", dataset="cats")


def test_suggestions_fill_what_is_missing_and_are_undone(workspace, dataset):
    before = read_all(dataset)
    done = suggest(workspace)
    assert (done.state, done.kind) == ("done", "good")
    assert done.line == "1 caption suggested, 2 left as before."
    assert read_all(dataset) == before | {"image-2": "a red cat"}
    assert captions.undo_last_change(workspace, "cats").startswith("Undone: Suggested by blip.")
    assert read_all(dataset) == before
    assert find_suggesting(workspace, "cats").state == "none"


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
    view.start_suggesting(workspace, "dies", "blip", "keep")
    wait_for(lambda: find_suggesting(workspace, "dies").state == "failed")
    found = view.view_suggesting(find_suggesting(workspace, "dies"))
    assert found.kind == "error"
    assert "The captioner is damaged. Download it again." in found.line


def test_what_a_cancelled_captioner_has_written_is_told_and_undone(workspace, dataset, gates):
    before = read_all(dataset) | {"image-0": "sitting"}
    (dataset / "image-0.txt").write_text("sitting")
    gates.close("caption-2")
    view.start_suggesting(workspace, "cats", "blip", "replace")
    wait_for(lambda: view.list_suggested(find_suggesting(workspace, "cats")))
    view.stop_suggesting(workspace, "cats")
    wait_for(lambda: find_suggesting(workspace, "cats").state == "failed")
    found = view.view_suggesting(find_suggesting(workspace, "cats"))
    assert found.state == "stopped"
    assert found.line == "Cancelled. 1 caption was suggested by then."
    assert read_all(dataset) == before | {"image-0": "a red cat"}
    assert "1 caption was put back" in captions.undo_last_change(workspace, "cats")
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
        view.start_suggesting(workspace, "cats", captioner, existing)
    assert find_suggesting(workspace, "cats").state == "none"


def test_dataset_without_images_and_missing_package_are_refused(workspace, dataset, monkeypatch):
    workspace.create_dataset("empty")
    with pytest.raises(WorkspaceError, match="no images to caption"):
        view.start_suggesting(workspace, "empty", "blip", "keep")
    with pytest.raises(WorkspaceError, match="no dataset"):
        view.start_suggesting(workspace, "../x", "blip", "keep")
    monkeypatch.setattr("datasets_tools.captioners.extras.find_spec", lambda name: None)
    assert "pip install" in view.view_captioner(workspace, "tagger").problem
    with pytest.raises(WorkspaceError, match="needs the package"):
        view.start_suggesting(workspace, "cats", "tagger", "keep")


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
    view.start_suggesting(workspace, "cats", "blip", "keep")
    assert view.choose_captioner(workspace) == "blip"
    monkeypatch.setattr("datasets_tools.captioners.places.SHIPPED_FOLDER", tmp_path)
    assert view.list_captioners(workspace)[0].name == "starter"
    assert "emoji" in view.view_captioner(workspace, "starter").about
    wait_for(lambda: find_suggesting(workspace, "cats").state == "done")


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
    job = view.start_suggesting(workspace, "cats", "blip", "keep")
    question = (read_job(workspace, job.id).path / view.REQUEST_FILE).read_text()
    assert json.loads(question) == {"captioner": "blip", "existing": "keep"}
    wait_for(lambda: find_suggesting(workspace, "cats").state == "done")

    def look(*happened):
        return view.view_suggesting(Job(job.id, "running", None, happened, path=job.path))

    assert look().line == text.STARTING
    halfway = look({"event": "download", "done": 512, "total": 1024})
    assert halfway.line == "Downloading BLIP: 512 bytes of 1 KB (50 %)"
    assert halfway.percent == 50
    assert look({"event": "load"}).line == "Loading BLIP…"
    at_work = look({"event": "caption", "image": "a.png", "done": 3, "total": 12})
    assert (at_work.line, at_work.percent) == ("3 of 12 images looked at, the last one a.png", 25)
    assert look({"event": "caption", "done": "3", "total": None}).percent == 0


def test_versions_change_while_captions_are_suggested(workspace, dataset):
    def look():
        params = {"dataset": "cats", "captioner": "blip"}
        return {name: VIEWS[name].read_version(workspace, params) for name in VIEWS}

    before = look()
    assert look() == before
    suggest(workspace)
    after = look()
    assert [name for name in VIEWS if after[name] == before[name]] == ["dataset-folders"]
    captions.undo_last_change(workspace, "cats")
    assert look() == before


def test_all_captions_are_changed_and_undone_twice(workspace, dataset, events):
    def change(name, *texts):
        return getattr(events, name)("cats", *texts)["message"]

    states = [read_all(dataset)]
    assert "Replaced “cat” by “dog”: 2 captions were" in change("replace", "cat", "dog")
    shown = render(workspace, "captions-undo")
    assert "Undo: Replaced “cat” by “dog”" in shown
    assert can_press(shown, "captions-undo")
    assert ">a red dog <b>1</b>" in render(workspace, "captions-tags")
    states.append(read_all(dataset))
    assert "Added “photo” first: 3 captions" in change("add_first", "photo")
    assert read_all(dataset)["image-0"] == "photo, a red dog"
    assert "Added “old” at the end" in change("add_last", "old")
    assert "Removed the tag “old”" in change("remove_tag", "old")
    for state in (None, None, states.pop(), states.pop()):
        assert "Undone" in events.undo(UNDO)["message"]
        assert state is None or read_all(dataset) == state
    assert not can_press(render(workspace, "captions-undo"), "captions-undo")
    assert "no change of many captions" in events.undo(UNDO)["message"]


@pytest.mark.parametrize("name", ["replace", "add_last", "add_first", "remove_tag"])
def test_change_of_nothing_is_refused_in_words(workspace, dataset, events, name):
    before = read_all(dataset)
    texts = [None, None] if name == "replace" else [" ,"]
    assert "note-error" in getattr(events, name)("cats", *texts)["message"]
    assert read_all(dataset) == before
    assert "no dataset" in getattr(events, name)("../x", "a", *texts[1:])["message"]


def test_nothing_else_changes_captions_while_they_are_suggested(workspace, dataset, events, gates):
    gates.close("caption-1")
    start, cancel = (press(key=key, dataset="cats") for key in ("suggest", "cancel"))
    assert events.suggest(start, "blip", "keep") == {"message": ""}
    buttons = render(workspace, "captions-buttons")
    assert not can_press(buttons, "captions-suggest")
    assert can_press(buttons, "captions-cancel")
    assert 'role="progressbar"' in render(workspace, "captions-progress")
    for refused in (events.replace("cats", "a", "b"), events.undo(UNDO)):
        assert "Captions are being suggested" in refused["message"]
    with pytest.raises(WorkspaceError, match="Captions are being suggested"):
        check_before_start(workspace, "cats", "starter-model")
    assert events.suggest(cancel, None, None) == {}
    wait_for(lambda: find_suggesting(workspace, "cats").state == "failed")
    assert "captions-cancel" not in render(workspace, "captions-buttons")
    check_before_start(workspace, "cats", "starter-model")
    assert "2 captions were changed" in events.replace("cats", "cat", "dog")["message"]


def test_press_on_what_is_no_button_does_nothing(dataset, events):
    assert events.suggest(press(key="burn", dataset="cats"), "blip", "keep") == {}
    assert "no dataset" in events.suggest(press(key="suggest"), "blip", "keep")["message"]


def test_nothing_is_offered_where_there_are_no_images(workspace):
    for name in ("", None, "nowhere", workspace.create_dataset("empty")):
        buttons = render(workspace, "captions-buttons", name)
        assert not can_press(buttons, "captions-suggest")
        assert "no images to caption yet" in render(workspace, "captions-about", name)
        assert render(workspace, "captions-progress", name) == ""


def test_button_tells_of_the_download_and_only_captioners_are_listed(workspace, dataset):
    assert ">Download " in render(workspace, "captions-buttons", captioner="florence2")
    about = render(workspace, "captions-about", captioner="florence2")
    assert "Hugging Face hub" in about
    assert "1 of 3 images has no caption" in about
    assert ("BLIP", "blip") in [(one.title, one.name) for one in view.list_captioners(workspace)]
    unknown = render(workspace, "captions-buttons", captioner="magic")
    assert not can_press(unknown, "captions-suggest")


def test_page_is_told_which_captioner_to_begin_with_until_one_is_chosen(workspace, dataset):
    first = view.choose_captioner(workspace)
    assert f'data-captioner="{first}"' in render(workspace, "captions-about", captioner="")
    assert "data-captioner" not in render(workspace, "captions-about", captioner="blip")


def test_text_that_was_typed_meanwhile_wins_against_a_suggestion_and_outlives_its_undo(
    workspace, dataset
):
    key, revision = read(workspace, dataset, 2)
    suggest(workspace)
    saved = save_caption(workspace, "cats", key, revision, "my own words")
    assert "Saved: image-2.png" in saved.message
    assert "left alone: image-2.png" in captions.undo_last_change(workspace, "cats")
    assert read_all(dataset)["image-2"] == "my own words"


def test_saved_caption_is_part_of_the_change_that_comes_after_it(workspace, dataset):
    key, revision = read(workspace, dataset, 0)
    assert save_caption(workspace, "cats", key, revision, "a red fox").outcome == "saved"
    captions.change_all(workspace, "cats", change_by_adding("photo"))
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


def test_words_of_a_captioner_and_of_an_undo_log_are_escaped():
    shown = view.SuggestingView("done", HOSTILE, "good", 100, (HOSTILE,) * 9)
    made = make_suggesting(shown, HOSTILE)
    assert "<img" not in made
    assert made.count("<li") == 7
    assert "3 more" in made
    running = view.SuggestingView("running", HOSTILE, percent=40)
    assert "<img" not in make_suggesting(running, "")


def test_unreadable_undo_log_is_told_and_the_rest_is_shown(workspace, dataset, monkeypatch):
    def fail(folder):
        raise DatasetError("The undo log cannot be read.")

    monkeypatch.setattr(view, "find_last_rewriting", fail)
    assert "The undo log cannot be read." in render(workspace, "captions-tags")
    assert not can_press(render(workspace, "captions-undo"), "captions-undo")


def test_prompt_syntax_is_cleaned_and_undone(workspace, dataset):
    (dataset / "image-0.txt").write_text("(red:1.2) cat, __colour__")
    events = DatasetEvents(workspace)
    assert "1 caption was changed" in events.clean("cats")["message"]
    assert (dataset / "image-0.txt").read_text() == "red cat"
    captions.undo_last_change(workspace, "cats")
    assert (dataset / "image-0.txt").read_text() == "(red:1.2) cat, __colour__"
