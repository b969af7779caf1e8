"""What the buttons do to folders."""

import os
import time

import pytest

from app.core.examples import key_of, list_examples, view_tiles
from app.core.run_views import view_run
from app.core.text import PENDING
from app.core.workspace import WorkspaceError
from app.dataset import images as datasets
from app.dataset.captions import open_caption, save_caption
from app.train import run_actions as training
from tests.app.conftest import draw_images, make_config, wait_for
from trainer.runs import own_folder, read_requests


def upload(workspace, name, data):
    path = workspace.uploads_path / "abc" / name
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(data)
    return str(path)


def test_upload_is_imported_and_what_is_no_image_is_named(workspace, dataset, tmp_path):
    good = upload(workspace, "new.png", draw_images(tmp_path / "x", 9)[8].read_bytes())
    bad = upload(workspace, "page.png", b"<script>alert(1)</script>")
    done = datasets.import_uploads(workspace, dataset, [good, bad])
    assert done.added == 1
    assert len(done.refused) == 1
    assert "page.png" in done.refused[0]
    assert len(view_tiles(dataset)) == 4
    assert list(workspace.uploads_path.iterdir()) == []


def test_file_outside_the_uploads_is_neither_read_nor_deleted(workspace, dataset, tmp_path):
    private = draw_images(tmp_path / "private", 1)[0]
    done = datasets.import_uploads(workspace, dataset, [str(private)])
    assert (done.added, len(done.refused)) == (0, 1)
    assert private.is_file()


def test_dataset_does_not_grow_beyond_its_quota(workspace, dataset, tmp_path, monkeypatch):
    monkeypatch.setattr(datasets, "MAX_DATASET_IMAGES", 3)
    new = upload(workspace, "new.png", draw_images(tmp_path / "x", 9)[8].read_bytes())
    done = datasets.import_uploads(workspace, dataset, [new])
    assert "at most 3 images" in done.refused[0]
    assert len(view_tiles(dataset)) == 3


def test_upload_that_is_far_too_large_for_a_picture_is_refused(workspace, dataset, monkeypatch):
    monkeypatch.setattr(datasets, "MAX_IMAGE_BYTES", 10)
    done = datasets.import_uploads(workspace, dataset, [upload(workspace, "a.png", b"x" * 11)])
    assert "an image may have" in done.refused[0]


def open_first(workspace, dataset):
    key = view_tiles(dataset)[0].key
    return key, open_caption(workspace, "cats", key).revision


def test_caption_is_saved_with_the_revision_that_was_read(workspace, dataset):
    key, revision = open_first(workspace, dataset)
    done = save_caption(workspace, "cats", key, revision, "a green cat")
    assert done.outcome == "saved"
    assert (dataset / "image-0.txt").read_text() == "a green cat"
    again = save_caption(workspace, "cats", key, done.revision, "a pink cat")
    assert again.outcome == "saved"


def test_caption_that_changed_meanwhile_is_kept_and_given_back_with_its_revision(
    workspace, dataset
):
    key, revision = open_first(workspace, dataset)
    (dataset / "image-0.txt").write_text("edited elsewhere")
    done = save_caption(workspace, "cats", key, revision, "my text")
    assert (done.outcome, done.text) == ("conflict", "edited elsewhere")
    assert "Not saved" in done.message
    assert (dataset / "image-0.txt").read_text() == "edited elsewhere"
    assert save_caption(workspace, "cats", key, done.revision, "my text").outcome == "saved"


def test_caption_of_a_removed_image_does_not_land_on_its_neighbour(workspace, dataset):
    key, revision = open_first(workspace, dataset)
    datasets.remove_image(dataset, key)
    assert save_caption(workspace, "cats", key, revision, "for the first").outcome == "gone"
    assert (dataset / "image-1.txt").read_text() == "a blue cat"


def test_removed_image_comes_back_with_its_caption(workspace, dataset):
    key = key_of(list_examples(dataset)[1])
    assert datasets.remove_image(dataset, key) == "image-1.png"
    assert len(view_tiles(dataset)) == 2
    assert datasets.undo_remove(dataset) == "image-1.png"
    assert open_caption(workspace, "cats", key).text == "a blue cat"
    with pytest.raises(WorkspaceError, match="no removed image"):
        datasets.undo_remove(dataset)


def test_thumbnails_are_made_once_per_content(workspace, dataset):
    names = [tile.thumbnail for tile in view_tiles(dataset)]

    def make_all():
        paths = [datasets.make_thumbnail(workspace, dataset, name) for name in names]
        return {path: path.stat().st_mtime_ns for path in paths}

    made = make_all()
    assert set(made) == set(workspace.thumbnails_path.iterdir())
    assert len(made) == 3
    assert made == make_all()
    assert datasets.make_thumbnail(workspace, dataset, "0123456789.webp") is None


def test_started_run_finishes_and_a_second_is_refused_meanwhile(workspace, dataset, gates):
    config = make_config(workspace, dataset, steps=40)
    gates.close("step-5")
    run = training.start_run(workspace, config)
    with pytest.raises(WorkspaceError, match="“tabby” is being trained already"):
        training.start_run(workspace, config)
    gates.open("step-5")
    wait_for(lambda: view_run(run).state == "finished")
    assert [path.name for path in run.list_exports()] == ["tabby.safetensors"]
    with pytest.raises(WorkspaceError, match="finished"):
        training.continue_run(workspace, run)


def test_paused_run_goes_on_and_stopped_run_is_resumed(workspace, dataset, gates):
    for step in (5, 9, 12):
        gates.close(f"step-{step}")
    run = training.start_run(workspace, make_config(workspace, dataset, steps=40))
    wait_for(lambda: view_run(run).state == "running")
    training.ask_run(run, "pause")
    gates.open("step-5")
    wait_for(lambda: view_run(run).state == "paused")
    training.continue_run(workspace, run)
    # A run that is asked to stop before it has gone on stops where it was paused.
    wait_for(lambda: view_run(run).step == 8)
    training.ask_run(run, "stop")
    gates.open("step-9")
    wait_for(lambda: view_run(run).state == "stopped")
    assert view_run(run).step == 9
    training.continue_run(workspace, run)
    wait_for(lambda: view_run(run).step > 9)
    training.ask_run(run, "stop")
    gates.open("step-12")
    wait_for(lambda: view_run(run).state == "stopped")


def test_a_run_that_does_not_stop_is_ended_by_a_second_stop(workspace, dataset, gates):
    gates.close("step-5")  # the trainer waits there and obeys nothing
    run = training.start_run(workspace, make_config(workspace, dataset, steps=40))
    wait_for(lambda: view_run(run).step == 4)
    assert training.ask_run(run, "stop") == PENDING["stop"]
    assert training.ask_run(run, "stop") == PENDING["stop"]  # too soon
    stamp = time.time() - training.STOP_SECONDS - 1
    os.utime(run.path / "control" / "stop", (stamp, stamp))
    assert "0: 4 steps are trained again" in training.ask_run(run, "stop")
    view = view_run(run)
    assert (view.state, view.can_resume) == ("stopped", True)
    assert "did not stop by itself" in view.message
    gates.open("step-5")
    assert training.continue_run(workspace, run) == "Starting from the beginning."
    wait_for(lambda: view_run(run).state == "finished")


def test_a_stop_in_the_last_step_leaves_a_run_finished(workspace, dataset, gates):
    gates.close("step-40")
    run = training.start_run(workspace, make_config(workspace, dataset, steps=40))
    wait_for(lambda: view_run(run).step == 39)
    training.ask_run(run, "stop")
    gates.open("step-40")
    wait_for(lambda: not view_run(run).busy)
    assert view_run(run).state == "finished"


def test_killed_run_is_lost_with_its_log(workspace, dataset):
    run = training.start_run(workspace, make_config(workspace, dataset, name="dies"))
    wait_for(lambda: view_run(run).state == "lost")
    assert "out of memory" in run.log_path.read_text()


def test_nobody_is_asked_when_nobody_works(run):
    with pytest.raises(WorkspaceError, match="is not active"):
        training.ask_run(run, "stop")
    assert not (run.path / "control").exists()


@pytest.mark.parametrize(
    ("name", "model", "sentence"),
    [("", "starter-model", "no dataset yet"), ("empty", "starter-model", "no usable image"),
     ("cats", "../x", "no base model"), ("nope", "starter-model", "no dataset “nope”")],
)  # fmt: skip
def test_start_says_what_is_missing(workspace, dataset, name, model, sentence):
    workspace.create_dataset("empty")
    with pytest.raises(WorkspaceError, match=sentence):
        training.check_before_start(workspace, name, model)


def test_training_asks_the_preview_worker_for_its_memory(workspace, dataset):
    folder = workspace.preview
    folder.prepare()
    with own_folder(folder.path):
        run = training.start_run(workspace, make_config(workspace, dataset))
        assert read_requests(folder.path) == {"stop"}
    wait_for(lambda: view_run(run).state == "finished")
