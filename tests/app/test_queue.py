"""The queue in the app: what is shown of it, what its buttons do, and who keeps its worker."""

import os
import signal
from types import SimpleNamespace

import pytest

from app.core.queues import QueueRow, QueueView, enqueue_new_run, keep_worker, view_queue
from app.core.run_views import RunView, view_run
from app.core.workspace import WorkspaceError
from app.queue.events import QueueEvents
from app.queue.html import make_count, make_queue
from app.train.events import TrainEvents
from app.train.run_actions import continue_run
from app.train.settings import FORM
from tests.app.conftest import make_config, wait_for
from trainer.runs import append_event, create_run, find_owner, is_owned, own_folder
from trainer.runs.queue import add_run, pause_queue, read_queue, remove_run
from trainer.runs.queue.file import find_file
from trainer.runs.queue.worker import find_worker_folder
from trainer.runs.starting import has_worker, start_process


@pytest.fixture
def make(workspace, dataset):
    """Makes a run and puts it into the queue, without a worker."""

    def make_run(name, **train):
        run = create_run(workspace.runs_path, make_config(workspace, dataset, name, **train))
        add_run(workspace.root, run)
        return run

    return make_run


def press(workspace, key, run="", **data):
    return QueueEvents(workspace).command(SimpleNamespace(key=key, run=run, **data))


def list_names(workspace):
    return [row.view.name for row in view_queue(workspace).rows]


def test_rows_hold_run_device_and_state(workspace, make):
    a, _b = make("a", device="cpu"), make("b")
    shown = view_queue(workspace)
    assert [(row.view.name, row.device, row.place) for row in shown.rows] == [
        ("a", "cpu", 1),
        ("b", "auto", 2),
    ]
    assert shown.waiting == 2
    with own_folder(a.path):
        append_event(a.events_path, "started", from_step=0, steps=30)
        shown = view_queue(workspace)
        assert [row.view.state for row in shown.rows] == ["running", "queued"]
        assert shown.waiting == 1
    append_event(a.events_path, "ended", reason="failed", message="")
    assert list_names(workspace) == ["b"]


def test_an_empty_queue_shows_nothing_and_a_paused_one_reports_it(workspace, make):
    assert make_queue(view_queue(workspace)) == ""
    assert make_count(view_queue(workspace)) == ""
    make("a")
    pause_queue(workspace.root)
    shown = view_queue(workspace)
    assert "The queue is paused" in make_queue(shown)
    assert "queue 1 (paused)" in make_count(shown)


def test_names_are_escaped():
    row = QueueRow(RunView("<s>", "<b>a</b>", "queued"), "<i>", 1, 0.0)
    html = make_queue(QueueView((row,), notice="<u>"))
    assert not any(tag in html for tag in ("<s>", "<b>", "<i>", "<u>"))
    assert "&lt;b&gt;a&lt;/b&gt;" in html


def test_buttons_move_remove_pause_and_start(workspace, make, monkeypatch):
    monkeypatch.setattr("app.queue.events.start_worker", lambda _workspace: None)
    a, b, c = make("a"), make("b"), make("c")
    press(workspace, "up", c.id)
    assert list_names(workspace) == ["a", "c", "b"]
    press(workspace, "up", a.id)
    assert list_names(workspace) == ["a", "c", "b"], "the first one stays"
    press(workspace, "down", a.id)
    assert list_names(workspace) == ["c", "a", "b"]
    press(workspace, "down", b.id)
    assert list_names(workspace) == ["c", "a", "b"], "the last one stays"
    assert "Removed" in press(workspace, "remove", a.id)["message"]
    assert list_names(workspace) == ["c", "b"]
    assert a.path.is_dir()
    press(workspace, "pause")
    assert read_queue(workspace.root).paused
    press(workspace, "start")
    assert not read_queue(workspace.root).paused
    assert press(workspace, "unknown") is None


def test_a_time_is_set_shown_and_taken_away(workspace, make):
    run = make("a")
    assert "It starts at 2096" in press(workspace, "at", run.id, at="3976300000")["message"]
    assert read_queue(workspace.root).find(run.id).at == 3976300000
    assert "not before 2096" in make_queue(view_queue(workspace))
    assert "as soon as" in press(workspace, "at", run.id, at="")["message"]
    assert read_queue(workspace.root).find(run.id).at == 0
    press(workspace, "at", run.id, at="100.5")
    assert read_queue(workspace.root).find(run.id).at == 0, "a time in the past is now"


@pytest.mark.parametrize("at", ["soon", "nan", "inf", "-5", "1e30"])
def test_what_is_no_time_is_refused(workspace, make, at):
    run = make("a")
    assert "The time could not be read" in press(workspace, "at", run.id, at=at)["message"]


@pytest.mark.parametrize("run", ["gone", "../..", None, 5, ""])
def test_a_run_that_is_not_in_the_queue_is_refused(workspace, run):
    for key in ("up", "remove", "at"):
        assert "is not in the queue" in press(workspace, key, run)["message"]


def test_a_damaged_queue_is_repaired_and_the_page_reports_it(workspace, make):
    make("a")
    find_file(workspace.root).write_text("[")
    shown = view_queue(workspace)
    assert list_names(workspace) == ["a"]
    assert "was damaged" in make_queue(shown)


def read_form(workspace, dataset):
    return FORM.to_values(make_config(workspace, dataset, "from-the-form"))


def test_a_run_that_is_added_runs_to_its_end(workspace, dataset):
    place = enqueue_new_run(workspace, make_config(workspace, dataset, "tabby"))
    assert place == 1
    wait_for(lambda: not read_queue(workspace.root).entries)
    wait_for(lambda: not is_owned(find_worker_folder(workspace.root)))
    (run,) = [workspace.find_run(path.name) for path in workspace.runs_path.glob("*_tabby")]
    assert view_run(run).state == "finished"


def test_the_app_keeps_a_worker_while_the_queue_has_something_to_do(workspace, make, gates):
    gates.close("step-20")
    ended = keep_worker(workspace)
    try:
        run = make("a")
        folder = find_worker_folder(workspace.root)
        wait_for(lambda: view_run(run).step == 19)
        os.kill(find_owner(folder).pid, signal.SIGKILL)
        gates.open("step-20")
        wait_for(lambda: view_run(run).state == "finished")
        wait_for(lambda: not read_queue(workspace.root).entries)
    finally:
        ended.set()
    assert read_queue(workspace.root).entries == ()


def test_a_run_that_cannot_be_created_is_one_sentence(workspace, dataset):
    config = make_config(workspace, dataset, "x")
    workspace.runs_path.rmdir()
    workspace.runs_path.write_text("")
    with pytest.raises(WorkspaceError, match="could not be created"):
        enqueue_new_run(workspace, config)


def test_a_run_that_was_stopped_and_added_again_is_not_taken_for_a_dead_one(workspace, make):
    """Its process of before is long gone, and has nothing to do with the wait."""
    run = make("a")
    start_process(run.path, [*workspace.trainer_command, "train", str(run.path)], run.log_path)
    wait_for(lambda: view_run(run).state == "finished" and not has_worker(run.path))
    append_event(run.events_path, "ended", reason="stopped", message="")
    remove_run(workspace.root, run.id)
    # As if that had been a while ago.
    os.utime(run.path / "starting.json", (1e9, 1e9))
    add_run(workspace.root, run)
    assert view_run(run).state == "queued"
    assert list_names(workspace) == ["a"]


def test_start_names_the_queue_where_a_run_is_under_way(workspace, dataset, run, gates):
    values = read_form(workspace, dataset)
    with own_folder(run.path):
        append_event(run.events_path, "started", from_step=0, steps=30)
        model = next(iter(workspace.list_base_models()))
        answer = TrainEvents(workspace).start("cats", model, values)
        assert "Add to queue" in answer["refusal"]
        pause_queue(workspace.root)
        answer = TrainEvents(workspace).add_to_queue("cats", model, values)
        assert "is in the queue, at place 1" in answer["message"]
    assert list_names(workspace) == ["from-the-form"]


def test_a_run_that_is_resumed_while_another_is_trained_waits_in_the_queue(workspace, run, dataset):
    stopped = create_run(workspace.runs_path, make_config(workspace, dataset, "stopped"))
    append_event(stopped.events_path, "ended", reason="stopped", message="")
    pause_queue(workspace.root)
    with own_folder(run.path):
        append_event(run.events_path, "started", from_step=0, steps=30)
        assert "in the queue, at place 1" in continue_run(workspace, stopped)
        with pytest.raises(WorkspaceError, match="in the queue already"):
            continue_run(workspace, stopped)
    assert list_names(workspace) == ["stopped"]


def test_wrong_settings_are_not_added(workspace, dataset):
    values = read_form(workspace, dataset) | {"adapter.rank": -1}
    model = next(iter(workspace.list_base_models()))
    answer = TrainEvents(workspace).add_to_queue("cats", model, values)
    assert "adapter.rank" in answer["problems"]
    assert read_queue(workspace.root).entries == ()
