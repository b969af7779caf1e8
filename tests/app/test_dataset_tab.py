"""The Dataset tab: its fragments, its buttons, and the texts that its editor reads and saves."""

import os
import threading

import gradio as gr
import pytest
from PIL import Image

from app.core.examples import (
    find_example,
    folder_signature,
    list_examples,
    look_once,
    read_trigger,
    view_tiles,
)
from app.dataset import captions, checking, text
from app.dataset.captions import open_caption, open_trigger, save_caption, save_trigger
from app.dataset.events import DatasetEvents
from app.dataset.html import VIEWS
from datasets_tools.edits import change_words
from tests.app.conftest import draw_images


def press(**data):
    """What a press on a button of a fragment tells the server."""
    event = gr.EventData(None, data)
    for name, value in data.items():
        setattr(event, name, value)
    return event


@pytest.fixture
def keys(dataset):
    return [tile.key for tile in view_tiles(dataset)]


@pytest.fixture
def tab(workspace):
    return Tab(workspace)


class Tab:
    """What a browser's tab is shown: it fetches the fragments whose versions changed."""

    def __init__(self, workspace):
        self.workspace, self.versions = workspace, {}
        self.params = {"dataset": "cats", "base_model": "starter-model", "captioner": "blip"}

    def look(self):
        """Returns the fragments that changed since the last look, by name."""
        versions = {
            name: view.read_version(self.workspace, self.params) for name, view in VIEWS.items()
        }
        changed = [name for name in VIEWS if versions[name] != self.versions.get(name)]
        self.versions = versions
        return {name: VIEWS[name].render(self.workspace, self.params) for name in changed}


def test_everything_is_shown_at_first(tab, dataset, keys):
    shown = tab.look()
    assert set(shown) == set(VIEWS)
    assert all(f'data-key="{key}"' in shown["dataset-grid"] for key in keys)
    assert "a blue cat" in shown["dataset-grid"]
    assert text.CHECK_HEADING in shown["dataset-check"]


def test_only_what_changed_is_shown_again(tab, dataset, keys):
    tab.look()
    assert tab.look() == {}
    (dataset / "image-2.txt").write_text("new, tag")
    changed = tab.look()
    assert {"dataset-grid", "dataset-check", "captions-about", "captions-tags"} <= set(changed)
    tab.params["image"] = keys[1]
    assert set(tab.look()) == {"image-buttons", "image-cut"}


def test_view_changes_with_a_trigger_that_another_program_wrote(tab, dataset):
    tab.look()
    captions.write_trigger(dataset, "tabbycat")
    assert "dataset-grid" in tab.look()  # by which the editor reads the trigger again


def test_a_dataset_that_is_gone_or_empty_shows_no_image(tab, workspace):
    for name in ("", "../x", "gone", workspace.create_dataset("empty")):
        tab.params["dataset"], tab.versions = name, {}
        shown = tab.look()
        assert text.DATASET_EMPTY in shown["dataset-grid"]
        assert shown["dataset-check"] == ""
        assert 'disabled="true"' in shown["image-buttons"]


def test_the_folder_is_scanned_once_for_all_that_is_shown(workspace, dataset, tab, monkeypatch):
    from datasets_tools.examples import scan_folder

    scans = []

    def scan(folder):
        scans.append(folder)
        return scan_folder(folder)

    monkeypatch.setattr("app.core.examples.scan_folder", scan)
    (dataset / "image-0.txt").write_text("looked at for the first time")
    tab.look()
    for key in [tile.key for tile in view_tiles(dataset)]:
        open_caption(workspace, "cats", key)
    assert len(scans) == 1
    (dataset / "image-0.txt").write_text("changed")
    assert list_examples(dataset)[0].caption == "changed"
    assert len(scans) == 2


def test_one_request_looks_at_a_folder_once(dataset, monkeypatch):
    looks = []
    scandir = os.scandir
    monkeypatch.setattr(
        "app.core.examples.os.scandir", lambda path: (looks.append(path), scandir(path))[1]
    )
    with look_once():
        first = folder_signature(dataset)
        (dataset / "image-2.txt").write_text("new")
        assert folder_signature(dataset) == first
    assert len(looks) == 1
    assert folder_signature(dataset) != first


def test_caption_is_read_with_its_revision_its_image_and_its_size(workspace, dataset, keys):
    opened = open_caption(workspace, "cats", keys[1])
    assert (opened.text, opened.name) == ("a blue cat", "image-1.png")
    assert opened.image == f"media/image/cats/{keys[1]}"
    assert "64 × 64" in opened.facts
    assert save_caption(workspace, "cats", keys[1], opened.revision, "a green cat").text == (
        "a green cat"
    )
    assert (dataset / "image-1.txt").read_text() == "a green cat"


def test_change_of_all_captions_gives_them_new_revisions(workspace, dataset, keys):
    before = open_caption(workspace, "cats", keys[0])
    captions.change_all(workspace, "cats", change_words("red", "pink"))
    after = open_caption(workspace, "cats", keys[0])
    assert after.text == "a pink cat"
    assert after.revision != before.revision


def test_removed_image_comes_back_and_its_name_is_told(workspace, dataset, keys):
    events = DatasetEvents(workspace)
    shown = {"dataset": "cats", "image": keys[1]}
    told = events.change_images(press(key="remove", **shown))["message"]
    assert "image-1.png was removed" in told
    assert [tile.key for tile in view_tiles(dataset)] == [keys[0], keys[2]]
    told = events.change_images(press(key="undo", **shown))["message"]
    assert "image-1.png is back" in told
    assert [tile.key for tile in view_tiles(dataset)] == keys
    assert "note-error" in events.change_images(press(key="undo", **shown))["message"]
    gone = press(key="remove", dataset="cats", image="gone")
    assert "note-error" in events.change_images(gone)["message"]
    elsewhere = press(key="remove", dataset="../x", image=keys[0])
    assert "note-error" in events.change_images(elsewhere)["message"]
    assert events.change_images(press(key="burn", **shown)) == {}


def test_buttons_of_an_image_are_there_for_what_can_be_done(tab, workspace, dataset, keys):
    def allowed():
        shown = VIEWS["image-buttons"].render(workspace, tab.params)
        return [
            one for one in ("remove", "undo") if "disabled" not in shown.split(f'"{one}"')[1][:20]
        ]

    assert allowed() == []
    tab.params["image"] = keys[0]
    assert allowed() == ["remove"]
    DatasetEvents(workspace).change_images(press(key="remove", dataset="cats", image=keys[0]))
    assert allowed() == ["undo"]


def test_text_of_an_image_or_a_dataset_that_is_gone_is_not_saved(workspace, dataset):
    assert save_caption(workspace, "cats", "gone", "", "a long text").outcome == "gone"
    assert save_caption(workspace, "nowhere", "gone", "", "a long text").outcome == "gone"
    assert save_trigger(workspace, "../x", "", "x").outcome == "gone"


def test_text_does_not_stay_behind_where_its_image_is_removed_meanwhile(
    workspace, dataset, keys, monkeypatch
):
    """The image was found, and is moved to the trash before its caption is written."""
    find = captions.find_example

    def find_and_remove(folder, key):
        example = find(folder, key)
        example.path.rename(dataset / "moved")
        return example

    monkeypatch.setattr(captions, "find_example", find_and_remove)
    assert save_caption(workspace, "cats", keys[2], "", "late").outcome == "gone"
    assert not (dataset / "image-2.txt").exists()


def test_trigger_is_kept_once_and_refused_in_words(workspace, dataset):
    opened = open_trigger(workspace, "cats")
    saved = save_trigger(workspace, "cats", opened.revision, " tabby  cat")
    assert (saved.outcome, saved.message, saved.text) == ("saved", text.TRIGGER_SAVED, "tabby cat")
    assert read_trigger(dataset) == "tabby cat"
    assert save_trigger(workspace, "cats", opened.revision, "tabby cat ").outcome == "unchanged"
    refused = save_trigger(workspace, "cats", saved.revision, "x" * 1000)
    assert (refused.outcome, "longer than" in refused.message) == ("refused", True)
    other = save_trigger(workspace, "cats", opened.revision, "mine")
    assert (other.outcome, other.text) == ("conflict", "tabby cat")
    assert read_trigger(dataset) == "tabby cat"


def test_images_go_into_the_chosen_dataset_or_into_a_new_one(workspace):
    events = DatasetEvents(workspace)
    first = events.take_in([], None)
    assert (first["uploads"], first["dataset"]["value"]) == (None, "my-dataset")
    assert events.take_in([], None)["dataset"]["value"] == "my-dataset"
    # Another one may have been chosen meanwhile, and stays chosen.
    assert "dataset" not in events.take_in([], "my-dataset")
    assert "no dataset" in events.take_in([], "../x")["message"]


def test_made_dataset_is_chosen_and_a_bad_name_is_refused(workspace):
    events = DatasetEvents(workspace)
    made = events.create("my cat")
    assert (made["dataset"]["value"], made["name"]) == ("my-cat", "")
    assert "dataset" not in events.create("../x")
    assert "note-error" in events.create(None)["message"]


def test_thumbnails_are_addressed_by_dataset_and_content(tab, workspace, dataset):
    draw_images(workspace.datasets_path / "dogs & more", 1)
    tab.params["dataset"] = "dogs & more"
    assert 'src="media/thumbnail/dogs%20%26%20more/' in tab.look()["dataset-grid"]


def test_folders_of_a_dataset_are_shown_and_get_other_repeats(workspace, dataset, tab):
    draw_images(dataset / "10_tabby", 2, size=48)
    (dataset / "10_tabby" / "image-0.txt").write_text("a tabby")
    key = next(tile.key for tile in view_tiles(dataset) if tile.name == "10_tabby/image-0.png")
    shown = tab.look()["dataset-folders"]
    assert "10_tabby: 2 images × 10, 87% of what is shown" in shown  # 20 of 23
    assert 'data-key="9:10_tabby"' in shown
    events = DatasetEvents(workspace)
    assert events.change_folders(press(dataset="cats", key="11:10_tabby"))["message"] == ""
    assert [path.name for path in dataset.iterdir() if path.is_dir()] == ["11_tabby"]
    assert "11_tabby: 2 images × 11" in tab.look()["dataset-folders"]
    opened = open_caption(workspace, "cats", key)  # an open editor still has its image
    assert (opened.text, opened.name) == ("a tabby", "11_tabby/image-0.png")
    assert save_caption(workspace, "cats", key, opened.revision, "a cat").outcome == "saved"
    assert (dataset / "11_tabby" / "image-0.txt").read_text() == "a cat"
    for wrong in ("0:11_tabby", "x:11_tabby", "5:../cats", ""):
        assert "note-error" in events.change_folders(press(dataset="cats", key=wrong))["message"]
    press_remove = press(key="remove", dataset="cats", image=key)
    assert "11_tabby/image-0.png was removed" in events.change_images(press_remove)["message"]
    events.change_images(press(key="undo", dataset="cats"))
    assert find_example(dataset, key).caption == "a cat"


def test_broken_link_is_said_and_does_not_hide_later_images(dataset, tab):
    for path in dataset.iterdir():
        path.unlink()
    (dataset / "gone.png").symlink_to(dataset / "nowhere.png")
    (dataset / "notes.md").write_text("x")
    draw_images(dataset, 1)
    assert len(list_examples(dataset)) == 1
    draw_images(dataset, 2)
    assert len(list_examples(dataset)) == 2
    said = tab.look()["dataset-check"]
    assert "1 broken link (gone.png)" in said
    assert "1 other file (notes.md)" in said


@pytest.fixture
def with_copy(dataset):
    """The dataset with three pictures that differ, and a copy of the first."""
    for number in (1, 2):
        blocks = Image.effect_noise((8, 8), 250).rotate(90 * number)
        blocks.resize((64, 64), Image.Resampling.NEAREST).convert("RGB").save(
            dataset / f"image-{number}.png"
        )
    (dataset / "copy.png").write_bytes((dataset / "image-0.png").read_bytes())
    return dataset


def find_finding(shown, code):
    """Returns the HTML of one finding of the check."""
    return next(part for part in shown.split("<li ") if f'data-code="{code}"' in part)


def test_check_shows_findings_with_their_images_and_the_grid_its_badges(tab, with_copy):
    copy = next(tile.key for tile in view_tiles(with_copy) if tile.name == "image-0.png")
    shown = tab.look()
    finding = find_finding(shown["dataset-check"], "duplicate_image")
    assert f'data-images="{copy}"' in finding  # by place, the first of two equal ones is copy.png
    assert "Move 1 image to the trash" in finding
    tiles = shown["dataset-grid"].split("</button>")
    badges = {tile for tile in tiles if "<i>Duplicate</i>" in tile}
    assert [f'data-key="{copy}"' in tile for tile in badges] == [True]


def test_missing_trigger_is_no_finding_because_the_trainer_adds_it(tab, dataset):
    captions.write_trigger(dataset, "tabbycat")
    assert "tabbycat" not in tab.look()["dataset-check"]


def test_fix_moves_the_copy_to_the_trash_and_its_undo_brings_it_back(tab, workspace, with_copy):
    events = DatasetEvents(workspace)
    chosen = {"dataset": "cats", "base_model": "starter-model"}
    told = events.fix(press(key="fix", code="duplicate_image", **chosen))["message"]
    assert "Moved 1 image to the trash" in told
    assert not (with_copy / "image-0.png").exists()
    assert "Undo: Moved 1 image" in tab.look()["dataset-check"]
    assert "that was fixed" in events.fix(press(key="fix", code="duplicate_image", **chosen))[
        "message"
    ].lower()  # fmt: skip
    assert "Undone" in events.fix(press(key="undo-fix", **chosen))["message"]
    assert (with_copy / "image-0.png").exists()
    assert text.NO_FIX in events.fix(press(key="undo-fix", **chosen))["message"]


def test_cut_of_the_chosen_image_is_drawn_and_said(tab, dataset):
    Image.new("RGB", (640, 160), "navy").save(dataset / "wide.png")
    tab.params["image"] = next(one.key for one in view_tiles(dataset) if one.name == "wide.png")
    shown = tab.look()["image-cut"]
    box = [float(number) for number in shown.split('data-cut="')[1].split('"')[0].split()]
    assert (box[1], box[3]) == (0, 100)
    assert box[0] + box[2] == pytest.approx(100, abs=0.5)  # as much on the left as on the right
    share = (box[2] - box[0]) / 100
    assert f"{round(100 * (1 - share))} % is cut off" in shown


def test_many_new_images_are_looked_at_in_the_background(tab, dataset, monkeypatch, tmp_path):
    gate = threading.Event()
    look = checking.measure_folder

    def wait(*given):
        assert gate.wait(60)
        look(*given)

    monkeypatch.setattr(checking, "FEW", 0)
    monkeypatch.setattr(checking, "measure_folder", wait)
    (dataset / "new.png").write_bytes((dataset / "image-0.png").read_bytes())
    shown = tab.look()
    assert "Looking at the images: 0 of 4" in shown["dataset-grid"]
    assert {html for name, html in shown.items() if name != "dataset-grid"} == {""}
    assert tab.look() == {}
    gate.set()
    for thread in threading.enumerate():
        if thread.name == "dataset-check":
            thread.join(60)
    shown = tab.look()
    assert shown["dataset-grid"].count("data-key=") == 4
    assert text.CHECK_HEADING in shown["dataset-check"]
    assert len(list(tab.workspace.thumbnails_path.glob("*.webp"))) == 3
    assert len(list(tab.workspace.checks_path.glob("*.npz"))) == 1
