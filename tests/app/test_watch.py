"""The marks that tell a page when to look."""

import pytest

from app.models import actions as change
from app.ui.watch import MARKS
from tests.app.conftest import add_sample, draw_images, wait_for
from trainer.runs import append_event, create_run, own_folder


@pytest.fixture
def marks(workspace, run):
    def look():
        return {name: mark(workspace) for name, mark in MARKS.items()}

    return look


def changed(before, after):
    return {name for name in MARKS if before[name] != after[name]}


def test_nothing_changes_while_nothing_happens(marks):
    assert changed(marks(), marks()) == set()


def test_a_step_repaints_the_run_and_its_pictures_only(marks, run):
    with own_folder(run.path):
        append_event(run.events_path, "started", from_step=0, steps=30)
        before = marks()
        append_event(run.events_path, "step", step=5, steps=30, loss=0.1)
        assert changed(before, marks()) == {"runs", "pictures"}


def test_an_owner_that_dies_changes_the_run(marks, run):
    with own_folder(run.path):
        append_event(run.events_path, "started", from_step=0, steps=30)
        before = marks()
    assert {"runs", "exports"} <= changed(before, marks())


def test_samples_and_files_change_the_library(marks, run):
    before = marks()
    add_sample(run, 10, 0)
    between = marks()
    assert "exports" in changed(before, between)
    (run.path / "tabby.safetensors").write_bytes(b"")
    assert changed(between, marks()) == {"exports"}


def test_a_caption_from_another_program_changes_the_dataset(marks, dataset):
    before = marks()
    (dataset / "image-2.txt").write_text("a green cat")
    between = marks()
    assert changed(before, between) == {"datasets"}
    draw_images(dataset / "more", 1)
    assert changed(between, marks()) <= {"datasets"}


def test_an_answer_changes_only_what_shows_it(marks, workspace, gates):
    gates.close("download")
    change.look_at_base_model(workspace, "starter-model")
    before = marks()
    change.start_download(workspace, "owner/model")
    between = marks()
    assert changed(before, between) - {"models"} == {"downloads"}
    gates.open("download")
    wait_for(lambda: change.find_download(workspace).state == "done")
    # What arrived is a base model, which the list of datasets and base models shows.
    assert changed(between, marks()) - {"models"} == {"downloads", "datasets"}


def test_a_new_run_changes_the_list(marks, workspace, run):
    before = marks()
    create_run(workspace.runs_path, run.config)
    assert {"runs", "exports", "pictures"} <= changed(before, marks())
