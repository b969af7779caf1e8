"""The order of a queue, its file, and what each change of it means for the runs."""

import json
import os
from datetime import datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.trainer.test_queue_worker import make_run
from trainer.config import layer_config
from trainer.runs import RunError, append_event, own_folder, read_events, read_status
from trainer.runs.queue import (
    DeviceBusyError,
    Queue,
    QueueError,
    add_run,
    is_device_free,
    list_rows,
    move_run,
    own_devices,
    own_free_devices,
    pause_queue,
    read_queue,
    remove_run,
    start_queue,
    use_devices,
)
from trainer.runs.queue.devices import choose_devices, find_others, list_candidates
from trainer.runs.queue.file import change_queue, find_file
from trainer.runs.queue.order import Entry, from_table, to_table
from trainer.runs.queue.times import read_time, show_time

NAMES = st.sampled_from(["a", "b", "c", "d", "e"])
OPERATIONS = st.one_of(
    st.tuples(st.just("add"), NAMES),
    st.tuples(st.just("remove"), NAMES),
    st.tuples(st.just("move"), NAMES, st.integers(-1, 7)),
)


def apply_to_list(order, operation):
    """The same on a list of names; returns whether it is possible."""
    what, name, *place = operation
    if (what == "add") is (name in order) or (place and place[0] < 1):
        return False
    if what != "add":
        order.remove(name)
    if what == "add":
        order.append(name)
    elif what == "move":
        order.insert(place[0] - 1, name)
    return True


@given(st.lists(OPERATIONS, max_size=30))
def test_a_queue_changes_as_a_list_does(operations):
    queue, order = Queue(), []
    for operation in operations:
        what, *values = operation
        before = queue
        if apply_to_list(order, operation):
            queue = getattr(queue, what)(*values)
        else:
            with pytest.raises(QueueError):
                getattr(queue, what)(*values)
            assert queue == before
        assert [each.run for each in queue.entries] == order
        assert from_table(json.loads(json.dumps(to_table(queue)))) == (queue, True)


ROWS = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["run", "at", "devices", "tries", "step", "runs", "paused", "notice"]),
            inner,
            max_size=6,
        )
    ),
    max_leaves=20,
)


@given(st.dictionaries(st.sampled_from(["runs", "paused", "notice"]), ROWS))
def test_whatever_a_file_holds_gives_a_queue(table):
    queue, _ = from_table(table)
    assert all(isinstance(each, Entry) and each.run for each in queue.entries)
    assert from_table(json.loads(json.dumps(to_table(queue)))) == (queue, True)


@pytest.fixture
def root(tmp_path):
    return tmp_path / "workspace"


def ids(root):
    return [each.run for each in read_queue(root).entries]


def test_a_queue_that_nobody_used_is_empty_and_writes_nothing(root):
    assert read_queue(root) == Queue()
    assert not root.exists()


def test_a_damaged_file_loses_no_run_and_reports_what_happened(root):
    runs = [make_run(root, name) for name in ("c", "a", "b")]
    for run in runs:
        add_run(root, run)
    make_run(root, "never-added")
    find_file(root).write_text('{"runs": [')
    queue = read_queue(root)
    assert [each.run for each in queue.entries] == [run.id for run in runs]
    assert queue.paused
    (aside,) = find_file(root).parent.glob("queue-damaged-*.json")
    assert aside.read_text() == '{"runs": ['
    assert aside.name in queue.notice
    assert "0 of its runs could be read, and 3 more" in queue.notice
    assert read_queue(root) == queue, "it was written"


def test_what_is_whole_of_a_damaged_file_keeps_its_order(root):
    runs = [make_run(root, name) for name in ("a", "b", "c")]
    for run in runs:
        add_run(root, run)
    move_run(root, runs[2].id, 1)
    table = json.loads(find_file(root).read_text())
    table["runs"][1]["run"] = "../../etc"
    find_file(root).write_text(json.dumps(table))
    assert ids(root) == [runs[2].id, runs[1].id, runs[0].id]
    assert "2 of its runs could be read, and 1 more" in read_queue(root).notice


def test_runs_that_were_removed_or_have_ended_do_not_come_back(root):
    names = ("removed", "ended", "stays", "lost")
    removed, ended, stays, lost = (make_run(root, name) for name in names)
    for run in (removed, ended, stays, lost):
        add_run(root, run)
    remove_run(root, removed.id)
    append_event(ended.events_path, "ended", reason="finished", message="")
    append_event(lost.events_path, "started", from_step=0, steps=4)
    find_file(root).write_bytes(b"\xff\xfe")
    assert ids(root) == [stays.id, lost.id]


def test_a_change_that_fails_leaves_the_file(root):
    run = make_run(root, "a")
    add_run(root, run)
    before = find_file(root).read_text()

    def change():
        with change_queue(root) as draft:
            draft.queue = Queue()
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        change()
    assert find_file(root).read_text() == before


def test_what_cannot_be_added_is_refused(root, tmp_path):
    run = make_run(root, "a")
    with own_folder(run.path), pytest.raises(QueueError, match="being trained already"):
        add_run(root, run)
    add_run(root, run)
    with pytest.raises(QueueError, match="in the queue already, at place 1"):
        add_run(root, run)
    with pytest.raises(QueueError, match="whose runs the queue starts"):
        add_run(root, make_run(tmp_path / "another", "b"))
    done = make_run(root, "done", steps=4)
    (done.checkpoints_path / "step-000004").mkdir(parents=True)
    (done.checkpoints_path / "step-000004" / "meta.json").write_text("{}")
    append_event(done.events_path, "ended", reason="finished", message="")
    with pytest.raises(QueueError, match="is finished"):
        add_run(root, done)
    assert ids(root) == [run.id]


def test_a_run_that_is_being_trained_stays_in_the_queue(root):
    run = make_run(root, "a")
    add_run(root, run)
    with own_folder(run.path), pytest.raises(QueueError, match="lorasmith ask"):
        remove_run(root, run.id)
    assert ids(root) == [run.id]


def test_a_removed_run_is_as_it_was(root):
    fresh, stopped = make_run(root, "fresh"), make_run(root, "stopped")
    append_event(stopped.events_path, "started", from_step=0, steps=4)
    append_event(stopped.events_path, "ended", reason="stopped", message="")
    for run in (fresh, stopped):
        add_run(root, run)
        assert read_status(run.path).state == "queued"
        remove_run(root, run.id)
    assert (read_status(fresh.path).state, read_status(stopped.path).state) == ("queued", "stopped")
    with pytest.raises(QueueError, match="is not in the queue"):
        remove_run(root, fresh.id)


def test_a_run_moves_in_place_and_time(root):
    runs = [make_run(root, name) for name in ("a", "b", "c")]
    for run in runs:
        add_run(root, run)
    move_run(root, runs[2].id, 1, at=5e9)
    assert ids(root) == [runs[2].id, runs[0].id, runs[1].id]
    assert read_queue(root).find(runs[2].id).at == 5e9
    move_run(root, runs[2].id, 99)
    assert ids(root)[-1] == runs[2].id
    assert read_queue(root).find(runs[2].id).at == 5e9, "the time stays"
    move_run(root, runs[2].id, at=0.0)
    assert read_queue(root).find(runs[2].id) == Entry(runs[2].id)


def test_pause_and_start_are_written(root):
    assert pause_queue(root).paused
    assert read_queue(root).paused
    assert not start_queue(root).paused
    assert not read_queue(root).paused


def test_rows_show_what_waits_and_leave_out_what_has_ended(root):
    waits, lost, ended = (make_run(root, name, "cpu") for name in ("waits", "lost", "ended"))
    for run in (waits, lost, ended):
        add_run(root, run)
    append_event(lost.events_path, "started", from_step=0, steps=4)
    append_event(ended.events_path, "ended", reason="failed", message="")
    assert [(row.name, row.place, row.device, row.state) for row in list_rows(root)] == [
        ("waits", 1, "cpu", "waiting"),
        ("lost", 2, "cpu", "again"),
    ]


def config(device="auto", processes=0):
    train = {"device": device, "processes": processes}
    settings = {"base_model": {"path": "m"}, "dataset": {"path": "d"}, "train": train}
    return layer_config(settings=settings)


GPUS = ("cuda:0", "cuda:1", "cuda:2", "cpu")


@pytest.mark.parametrize(
    ("device", "devices", "candidates"),
    [
        ("auto", GPUS, ["cuda:0", "cuda:1", "cuda:2"]),
        ("auto", ("mps", "cpu"), ["mps"]),
        ("auto", ("cpu",), ["cpu"]),
        ("cuda", GPUS, ["cuda:0", "cuda:1", "cuda:2"]),
        ("cuda:1", GPUS, ["cuda:1", "cuda:2"]),
        ("cuda:3", GPUS, []),
        ("cuda", ("cpu",), []),
        ("cpu", GPUS, ["cpu"]),
        ("mps", GPUS, []),
    ],
)
def test_candidates_follow_the_setting(device, devices, candidates):
    assert list_candidates(device, devices) == candidates


@pytest.mark.parametrize(
    ("device", "processes", "busy", "chosen", "waits_for"),
    [
        ("auto", 0, set(), ["cuda:0"], []),
        ("auto", 0, {"cuda:0"}, ["cuda:1"], []),
        ("auto", 0, {"cuda:0", "cuda:1", "cuda:2"}, [], ["cuda:0", "cuda:1", "cuda:2"]),
        ("cuda:1", 0, {"cuda:1"}, [], ["cuda:1"]),
        ("cuda", 2, {"cuda:1"}, ["cuda:0", "cuda:2"], []),
        ("cuda:1", 2, {"cuda:0"}, ["cuda:1", "cuda:2"], []),
        ("cuda", 9, set(), ["cuda:0", "cuda:1", "cuda:2"], []),
        ("cpu", 4, {"cuda:0"}, ["cpu"], []),
        ("mps", 0, set(), [], []),
    ],
)
def test_a_run_takes_free_devices_and_waits_for_those_it_needs(
    device, processes, busy, chosen, waits_for
):
    assert choose_devices(config(device, processes), GPUS, busy) == (chosen, waits_for)


@pytest.mark.parametrize(
    ("visible", "devices", "device", "result"),
    [
        (None, ["cuda:1"], "auto", "1"),
        (None, ["cuda:0", "cuda:2"], "cuda", "0,2"),
        ("4,6", ["cuda:1"], "auto", "6"),
        ("GPU-abc,GPU-def", ["cuda:0"], "cuda", "GPU-abc"),
        (None, ["cuda:1"], "cuda:1", None),
        (None, ["cpu"], "auto", None),
        ("4,6", ["cpu"], "cpu", "4,6"),
    ],
)
def test_a_trainer_sees_the_devices_that_were_chosen(monkeypatch, visible, devices, device, result):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES")
    if visible is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    use_devices(devices, config(device))
    assert os.environ.get("CUDA_VISIBLE_DEVICES") == result


@pytest.mark.parametrize(
    ("devices", "device"),
    [(["toaster"], "auto"), (["cuda:0", "cpu"], "auto"), ([""], "auto"), (["cuda:1"], "cpu")],
)
def test_devices_that_do_not_fit_are_refused(monkeypatch, devices, device):
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    with pytest.raises(RunError, match="--on"):
        use_devices(devices, config(device))
    assert "CUDA_VISIBLE_DEVICES" not in os.environ


def test_a_device_is_held_by_one_process(root):
    with own_devices(root, ["cuda:0"]):
        assert not is_device_free(root, "cuda:0")
        assert is_device_free(root, "cuda:1")
        with pytest.raises(DeviceBusyError, match=f"cuda:0 is in use by process {os.getpid()}"):
            own_devices(root, ["cuda:1", "cuda:0"]).__enter__()
        assert is_device_free(root, "cuda:1"), "what was taken before is free again"
        with own_free_devices(root, ["cuda:0", "cuda:1"]) as messages:
            assert len(messages) == 1
            assert not is_device_free(root, "cuda:1")
    assert is_device_free(root, "cuda:0")


def test_a_run_without_a_lock_is_counted_on_the_device_that_it_reported(root):
    run = make_run(root, "hand")
    with own_folder(run.path):
        assert find_others(root, GPUS, []) == set(GPUS), "it is not known yet where it will train"
        append_event(run.events_path, "data", device="cuda:1")
        assert find_others(root, GPUS, []) == {"cuda:1"}
        assert find_others(root, GPUS, [run.id]) == set()
        with own_devices(root, ["cuda:1"]):
            assert find_others(root, GPUS, []) == set()
    assert find_others(root, GPUS, []) == set()


NOW = datetime(2026, 3, 1, 21, 30, tzinfo=timezone(timedelta(hours=2)))


@pytest.mark.parametrize(
    ("text", "hours"),
    [("22:30", 1), ("21:30", 24), ("6:00", 8.5), ("+2h", 2), ("+30min", 0.5), ("+1d", 24),
     ("2026-03-02 21:30", 24), ("2026-03-01t20:00:00z", 0.5), ("2026-03-01 20:00+00:00", 0.5)],
)  # fmt: skip
def test_times_are_understood(text, hours):
    assert read_time(text, NOW) == pytest.approx(NOW.timestamp() + 3600 * hours)


@pytest.mark.parametrize("text", ["tomorrow", "25:00", "1:2", "+h", "2026-13-01", "99"])
def test_what_is_no_time_is_refused(text):
    with pytest.raises(QueueError, match="is no time"):
        read_time(text, NOW)


def test_a_time_in_the_past_is_refused():
    with pytest.raises(QueueError, match="in the past"):
        read_time("2026-02-01 10:00", NOW)
    assert read_time("now", NOW) == read_time("", NOW) == 0.0
    assert show_time(0) == ""


def test_the_event_of_a_run_records_that_it_is_in_the_queue(root):
    run = make_run(root, "a")
    add_run(root, run)
    assert read_events(run.events_path)[-1]["in_queue"] is True
    assert read_status(run.path).state == "queued"
