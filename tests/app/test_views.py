"""What pages show follows from files alone."""

import json
import os

import pytest

from app.core import examples as dataset_view
from app.core import lora_files as preview
from app.core import run_contents as train
from app.core import run_views as runs
from app.core.generation import view_generation
from app.library import html as library
from app.train.text import describe_exposure
from app.ui.components import describe_generation
from datasets_tools.files import write_atomically
from tests.app.conftest import add_sample, draw_images, wait_for
from trainer.config import layer_config
from trainer.runs import append_event, own_folder, request
from trainer.runs.starting import start_process


def test_events_are_read_as_they_are_appended_and_anew_when_the_file_was_replaced(run):
    assert runs.view_run(run).state == "queued"
    append_event(run.events_path, "started", steps=3)
    with run.events_path.open("ab") as file:
        file.write(b'{"event": "st')
    assert (runs.view_run(run).state, runs.view_run(run).steps) == ("lost", 3)
    write_atomically(run.events_path, '{"event": "queued", "time": 1, "name": "new"}\n')
    assert (runs.view_run(run).state, runs.view_run(run).name) == ("queued", "new")


def test_owned_run_is_running_with_step_and_time_left(run):
    with own_folder(run.path):
        append_event(run.events_path, "started", steps=200)
        append_event(run.events_path, "step", step=50, steps=200, loss=0.5, seconds_left=75)
        view = runs.view_run(run)
    assert (view.state, view.percent, view.loss, view.name) == ("running", 25, 0.5, "tabby")
    assert runs.describe_run(view) == "Learning · step 50 of 200 · about 1 min left"
    assert runs.title_of(view) == "25 % – tabby – Lorasmith"


def test_run_without_its_process_is_lost_and_can_be_resumed(run):
    append_event(run.events_path, "started", steps=200)
    view = runs.view_run(run)
    assert (view.state, view.can_resume, view.busy) == ("lost", True, False)
    assert "log" in view.message


def test_run_that_starts_again_is_shown_where_it_will_begin(run):
    append_event(run.events_path, "started", from_step=0, steps=40)
    append_event(run.events_path, "step", step=5, steps=40, loss=0.5, seconds_left=90)
    assert runs.view_run(run).message.endswith("begins at step 0: 5 steps are trained again.")
    start_process(run.path, ["/bin/sleep", "600"], run.log_path)
    try:
        wait_for(lambda: runs.view_run(run).state == "starting")
        view = runs.view_run(run)
    finally:
        os.kill(json.loads((run.path / "starting.json").read_text())["pid"], 9)
    assert (view.step, view.percent, view.loss, view.message) == (0, 0, None, "")


def test_run_whose_process_died_before_it_began_is_shown_as_failed(run):
    start_process(run.path, ["/bin/sh", "-c", "echo no memory; exit 1"], run.log_path)
    wait_for(lambda: runs.view_run(run).state == "failed")
    view = runs.view_run(run)
    assert view.state == "failed"
    assert "before it began" in view.message


def test_run_whose_process_is_on_its_way_is_starting(run):
    start_process(run.path, ["/bin/sleep", "600"], run.log_path)
    try:
        assert runs.view_run(run).state == "starting"
    finally:
        os.kill(json.loads((run.path / "starting.json").read_text())["pid"], 9)


def test_what_was_asked_for_is_said_until_it_is_obeyed(run):
    with own_folder(run.path):
        append_event(run.events_path, "started", steps=2)
        request(run.path, "pause")
        assert runs.describe_pending(runs.view_run(run)) == "Pausing after this step."
        append_event(run.events_path, "paused", step=1)
        assert runs.describe_pending(runs.view_run(run)) == ""


def test_losses_are_thinned_and_keep_the_last_point(run):
    append_event(run.events_path, "started", from_step=0, steps=3000)
    lines = [
        json.dumps({"event": "step", "step": step, "steps": 3000, "loss": 1 / step})
        for step in range(1, 2001)
    ]
    with run.events_path.open("a") as file:
        file.write("\n".join(lines) + "\n")
    points = train.view_losses(run)
    assert len(points) == 500
    assert (points[0].step, points[-1].step) == (1, 2000)
    assert points[0].smoothed == pytest.approx(1.0)
    assert points[-1].loss < points[-1].smoothed < points[250].smoothed


def test_resumed_run_shows_each_step_once(run):
    append_event(run.events_path, "started", from_step=0, steps=9)
    for step in (1, 2, 3, 4):
        append_event(run.events_path, "step", step=step, steps=9, loss=1.0)
    append_event(run.events_path, "started", from_step=2, steps=9)
    append_event(run.events_path, "step", step=3, steps=9, loss=0.5)
    assert [(p.step, p.loss) for p in train.view_losses(run)] == [(1, 1.0), (2, 1.0), (3, 0.5)]


def test_sample_grid_has_steps_as_rows_and_prompts_as_columns(run):
    for step in (10, 0):
        for index, prompt in enumerate(("a cat", "a dog")):
            if (step, index) != (10, 1):
                add_sample(run, step, index, prompt)
    grid = train.view_samples(run)
    assert grid.prompts == ("a cat", "a dog")
    assert [step for step, _ in grid.rows] == [0, 10]
    assert grid.rows[1][1][1] is None


@pytest.mark.parametrize("file", ["../../config.toml", "/etc/passwd", "samples/x.png", "", None])
def test_sample_event_with_another_file_is_no_sample(run, file):
    append_event(run.events_path, "sample", step=1, index=0, prompt="x", file=file)
    assert train.view_samples(run).rows == ()


def test_prompt_that_was_changed_while_the_run_learned_has_a_column_of_its_own(run):
    add_sample(run, 0, 0, "a cat")
    add_sample(run, 0, 1, "a dog")
    add_sample(run, 10, 0, "a bird")
    add_sample(run, 10, 1, "a dog")
    grid = train.view_samples(run)
    assert grid.prompts == ("a cat", "a bird", "a dog")
    shown = [[cell and cell.prompt for cell in cells] for _, cells in grid.rows]
    assert shown == [["a cat", None, "a dog"], [None, "a bird", "a dog"]]


def test_exposure_says_how_often_each_picture_is_seen():
    config = layer_config(
        settings={
            "train": {"steps": 300, "batch_size": 4, "accumulate": 2},
            "adapter": {"rank": 16, "alpha": 8.0},
        }
    )
    line = describe_exposure(config, 12)
    assert "each image is seen about 200 times" in line
    assert "alpha 8 / rank 16 = 0.5" in line


def test_log_tail_keeps_the_last_state_of_a_progress_bar(run):
    run.log_path.write_bytes(b"first\n10%\r20%\r100%\nlast\n")
    assert runs.read_log_tail(run.log_path, 3) == "100%\nlast"


def test_two_copies_of_an_image_have_keys_of_their_own(dataset):
    (dataset / "copy.png").write_bytes((dataset / "image-0.png").read_bytes())
    tiles = dataset_view.view_tiles(dataset)
    assert len({tile.key for tile in tiles}) == 4
    assert len({tile.thumbnail for tile in tiles}) == 3


def test_adapters_are_listed_newest_run_first_with_their_checkpoints_then_files(workspace, run):
    (run.path / "tabby.safetensors").write_bytes(b"x")
    folder = run.checkpoints_path / "step-000010"
    folder.mkdir(parents=True)
    (folder / "adapter.safetensors").write_bytes(b"x")
    (folder / "meta.json").write_text("{}")
    (workspace.loras_path / "mine.safetensors").write_bytes(b"x")
    ids = [entry.id for entry in preview.list_adapters(workspace)]
    assert ids == [f"{run.id}/tabby.safetensors", f"{run.id}/step-10", "file:mine.safetensors"]


def test_request_without_a_worker_is_shown_as_gone(workspace):
    name = f"{1:020d}-0123abcd"
    (workspace.preview.requests_path / f"{name}.json").write_text("{}")
    generation = view_generation(workspace.preview)
    assert describe_generation(generation)[1] == "error"


def test_opened_run_tells_its_trigger_and_its_settings(run):
    opened = library.view_opened(run)
    assert opened.trigger == "tabbycat"
    assert ("Base model", "starter-model") in opened.facts


def test_run_with_a_broken_config_is_still_shown(run):
    run.config_path.write_text("nonsense")
    assert library.view_opened(run).trigger == ""


def test_card_shows_first_and_last_sample_of_the_first_prompt(workspace, run):
    for step in (0, 10, 20):
        add_sample(run, step, 0)
        add_sample(run, step, 1)
    card = library.view_cards(workspace)[0]
    assert (card.first.step, card.last.step) == (0, 20)


def test_signature_changes_with_a_caption(tmp_path):
    draw_images(tmp_path, 1)
    before = dataset_view.folder_signature(tmp_path)
    (tmp_path / "image-0.txt").write_text("new")
    assert dataset_view.folder_signature(tmp_path) != before
