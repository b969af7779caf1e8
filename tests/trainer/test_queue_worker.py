"""The worker of a queue: one run a device, in order, whatever is killed."""

import json
import os
import random
import signal
import time

import psutil
import pytest

from tests.gates import VARIABLE, Gates
from tests.trainer import queue_trainer
from tests.trainer.conftest import ROOT
from tests.trainer.queue_trainer import COMMAND, compute_file, read_order
from trainer.config import layer_config
from trainer.runs import (
    RunError,
    create_run,
    find_owner,
    is_owned,
    read_events,
    read_status,
    request,
)
from trainer.runs.queue import (
    add_run,
    ensure_worker,
    list_rows,
    move_run,
    pause_queue,
    read_queue,
    remove_run,
    serve_queue,
    start_queue,
)
from trainer.runs.queue.worker import MOST_TRIES, find_worker_folder
from trainer.runs.starting import find_starter, has_worker, start_process


@pytest.fixture
def root(tmp_path, monkeypatch):
    monkeypatch.setenv(queue_trainer.DEVICES, "cuda:0,cuda:1,cpu")
    monkeypatch.setenv(VARIABLE, str(tmp_path / "gates"))
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")]))
    folder = tmp_path / "workspace"
    yield folder
    for path in folder.glob("**/starting.json"):
        for owner in (find_starter(path.parent), find_owner(path.parent)):
            if owner is not None and psutil.pid_exists(owner.pid):
                os.kill(owner.pid, signal.SIGKILL)


@pytest.fixture
def gates(root, tmp_path):
    return Gates(tmp_path / "gates")


def make_run(root, name, device="auto", steps=4, **train):
    settings = {
        "name": name,
        "base_model": {"path": "nowhere"},
        "dataset": {"path": "nowhere"},
        "train": {"steps": steps, "device": device, **train},
        "output": {"checkpoint_every_steps": 2},
    }
    return create_run(root / "runs", layer_config(settings=settings))


def fill(root, *names, device="auto", **train):
    runs = [make_run(root, name, device, **train) for name in names]
    for run in runs:
        add_run(root, run)
    return runs


def work(root):
    ensure_worker(root, COMMAND, at_once=True)


def wait_for(look, seconds=240):
    deadline = time.monotonic() + seconds
    while not look():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.02)


def wait_until_empty(root):
    """As the app does: a worker is started where there is none and something to do."""

    def look():
        work(root)
        return not read_queue(root).entries and not is_owned(find_worker_folder(root))

    wait_for(look)


def list_begun(root):
    return [line["run"] for line in read_order(root) if line["what"] == "begin"]


def read_log(root):
    return (find_worker_folder(root) / "log.txt").read_text()


def is_training(run):
    return read_status(run.path).state == "running"


def test_runs_of_one_device_follow_each_other(root):
    runs = fill(root, "a", "b", "c", device="cuda:0")
    work(root)
    wait_until_empty(root)
    lines = [(line["what"], line["run"]) for line in read_order(root)]
    assert lines == [(what, run.id) for run in runs for what in ("begin", "end")]
    assert [read_status(run.path).state for run in runs] == ["finished"] * 3


def test_a_second_device_starts_at_once(root, gates):
    gates.close("a-1")
    a, b, c = fill(root, "a", "b", "c")
    work(root)
    wait_for(lambda: read_status(c.path).state == "finished")
    assert is_training(a)
    devices = {line["run"]: line["devices"] for line in read_order(root)}
    assert devices == {a.id: ["cuda:0"], b.id: ["cuda:1"], c.id: ["cuda:1"]}
    wait_for(lambda: not has_worker(c.path))
    rows = [(row.run, row.state, row.device) for row in list_rows(root)]
    assert rows == [(a.id, "running", "cuda:0")]
    gates.open("a-1")
    wait_until_empty(root)


def test_a_run_waits_for_all_its_devices_and_is_not_overtaken(root, gates):
    gates.close("first-1")
    first, both, last = (
        *fill(root, "first", device="cuda:0"),
        *fill(root, "both", device="cuda", processes=2),
        *fill(root, "last", device="cuda:1"),
    )
    (apart,) = fill(root, "apart", device="cpu")
    work(root)
    wait_for(lambda: read_status(apart.path).state == "finished" and is_training(first))
    assert sorted(list_begun(root)) == sorted([first.id, apart.id])
    gates.open("first-1")
    wait_until_empty(root)
    assert list_begun(root)[2:] == [both.id, last.id]
    assert read_order(root)[-4]["devices"] == ["cuda:0", "cuda:1"]


def test_a_failed_run_does_not_stop_the_queue(root):
    fails, dies, refused, good = fill(root, "fails", "dies", "refused", "good", device="cpu")
    work(root)
    wait_until_empty(root)
    statuses = [read_status(run.path) for run in (fails, dies, refused, good)]
    assert [one.state for one in statuses] == ["failed", "failed", "failed", "finished"]
    assert list_begun(root) == [fails.id, *[dies.id] * MOST_TRIES, good.id]
    assert f"ended {MOST_TRIES} times in a row at step 0" in statuses[1].message
    assert statuses[2].message.endswith("this run cannot begin.")


def test_a_run_on_a_device_that_is_not_here_fails_and_names_those_that_are(root):
    (run,) = fill(root, "far", device="cuda:7")
    work(root)
    wait_until_empty(root)
    status = read_status(run.path)
    assert status.state == "failed"
    assert "train.device is cuda:7, and this computer has cuda:0, cuda:1, cpu" in status.message


def test_a_run_whose_settings_are_damaged_fails(root):
    damaged, good = fill(root, "damaged", "good", device="cpu")
    damaged.config_path.write_text("steps = [")
    work(root)
    wait_until_empty(root)
    assert read_status(damaged.path).state == "failed"
    assert "config.toml cannot be read" in read_status(damaged.path).message
    assert read_status(good.path).state == "finished"


def test_a_run_whose_folder_is_gone_is_dropped(root):
    gone, good = fill(root, "gone", "good", device="cpu")
    gone.path.rename(root / "elsewhere")
    work(root)
    wait_until_empty(root)
    assert read_status(good.path).state == "finished"
    assert f"{gone.id} is gone" in read_log(root)


def test_a_stopped_run_goes_on_when_it_is_added_again(root):
    (run,) = fill(root, "again", device="cpu")
    append = queue_trainer.append_event
    append(run.events_path, "started", from_step=0, steps=4)
    append(run.events_path, "ended", reason="stopped", message="")
    remove_run(root, run.id)
    add_run(root, run)
    assert read_status(run.path).state == "queued"
    work(root)
    wait_until_empty(root)
    assert read_status(run.path).state == "finished"


def test_a_paused_queue_starts_nothing_and_the_worker_ends(root, gates):
    gates.close("a-1")
    a, b = fill(root, "a", "b", device="cpu")
    work(root)
    wait_for(lambda: is_training(a))
    pause_queue(root)
    gates.open("a-1")
    wait_for(lambda: not is_owned(find_worker_folder(root)))
    assert (read_status(a.path).state, read_status(b.path).state) == ("finished", "queued")
    assert not ensure_worker(root, COMMAND, at_once=True)
    start_queue(root)
    wait_until_empty(root)
    assert read_status(b.path).state == "finished"


def test_a_run_for_later_is_overtaken_and_starts_in_time(root):
    now, later = make_run(root, "now"), make_run(root, "later")
    add_run(root, later, at=time.time() + 3600)
    add_run(root, now)
    work(root)
    wait_for(lambda: read_status(now.path).state == "finished")
    assert read_status(later.path).state == "queued"
    assert is_owned(find_worker_folder(root)), "it waits for the time"
    move_run(root, later.id, at=time.time() - 1)
    wait_until_empty(root)
    assert list_begun(root) == [now.id, later.id]


def test_the_queue_waits_for_a_run_that_was_started_by_hand(root, gates):
    gates.close("hand-1")
    hand = make_run(root, "hand", device="cpu")
    start_process(hand.path, [*COMMAND, "train", str(hand.path), "--on=cpu"], hand.log_path)
    wait_for(lambda: is_training(hand))
    (queued,) = fill(root, "queued", device="cpu")
    (other,) = fill(root, "other", device="cuda")
    work(root)
    wait_for(lambda: read_status(other.path).state == "finished")
    assert not has_worker(queued.path)
    gates.open("hand-1")
    wait_until_empty(root)
    assert read_order(root)[-2]["run"] == queued.id
    assert all(not line["beside"] for line in read_order(root))


def test_a_worker_that_is_killed_leaves_its_runs_at_work(root, gates):
    gates.close("a-3")
    a, b = fill(root, "a", "b", device="cpu")
    work(root)
    wait_for(lambda: is_training(a))
    os.kill(find_owner(find_worker_folder(root)).pid, signal.SIGKILL)
    wait_for(lambda: not is_owned(find_worker_folder(root)))
    assert is_training(a)
    wait_for(lambda: ensure_worker(root, COMMAND, at_once=True))
    gates.open("a-3")
    wait_until_empty(root)
    assert list_begun(root) == [a.id, b.id]
    assert [each["event"] for each in read_events(a.events_path)].count("ended") == 1


def test_there_is_one_worker(root, gates):
    gates.close("a-1")
    (run,) = fill(root, "a")
    assert ensure_worker(root, COMMAND)
    assert not ensure_worker(root, COMMAND)
    wait_for(lambda: is_training(run))
    with pytest.raises(RunError, match="already being worked on"):
        serve_queue(root, COMMAND)
    gates.open("a-1")
    wait_until_empty(root)


def test_without_any_device_the_queue_pauses_and_reports_it(root, monkeypatch):
    monkeypatch.setenv(queue_trainer.DEVICES, "toaster")
    (run,) = fill(root, "a")
    work(root)
    wait_for(lambda: read_queue(root).paused)
    wait_for(lambda: not is_owned(find_worker_folder(root)))
    assert "PyTorch does not report any device" in read_queue(root).notice
    assert read_status(run.path).state == "queued"
    assert start_queue(root).notice == ""


def test_a_stop_that_nobody_obeyed_does_not_end_a_run_at_its_start(root):
    (run,) = fill(root, "a", device="cpu")
    request(run.path, "stop")
    work(root)
    wait_until_empty(root)
    assert not (run.path / "control" / "stop").exists()


SEEDS = (1, pytest.param(2, marks=pytest.mark.slow))


def plan_kills(names, steps, rng):
    """Returns who is killed at which step of which run."""
    places = rng.sample([(name, step) for name in names for step in range(1, steps + 1)], 9)
    victims = [["trainer"], ["worker"], ["worker", "trainer"]]
    return [[name, step, victims[number % 3]] for number, (name, step) in enumerate(places)]


@pytest.mark.parametrize("seed", SEEDS)
def test_ten_runs_end_once_in_order_and_alike_whatever_is_killed(root, seed):
    """Nothing here takes a while by itself: processes are killed at steps, not at moments."""
    rng, steps = random.Random(seed), 6
    names = [f"run{number}" for number in range(10)]
    devices = [rng.choice(["cuda:0", "cuda:1"]) for _ in names]
    runs = [
        make_run(root, name, device, steps) for name, device in zip(names, devices, strict=True)
    ]
    for run in runs:
        add_run(root, run)
    plan = plan_kills(names, steps, rng)
    (root / queue_trainer.PLAN_FILE).write_text(json.dumps(plan))
    work(root)
    wait_until_empty(root)

    assert len(list(root.glob("killed-*"))) == len(plan)
    for run, name in zip(runs, names, strict=True):
        events = [each["event"] for each in read_events(run.events_path)]
        assert events.count("ended") == 1
        assert read_status(run.path).state == "finished"
        assert (run.path / f"{name}.safetensors").read_bytes() == compute_file(name, steps)
    lines = read_order(root)
    assert [line for line in lines if line["beside"]] == []
    for device in set(devices):
        begun = [line["run"] for line in lines if line["devices"] == [device]]
        expected = [run.id for run, each in zip(runs, devices, strict=True) if each == device]
        assert list(dict.fromkeys(begun)) == expected
        # Each begins again only until it has ended: no run comes back after a later one.
        assert sorted(begun, key=expected.index) == begun
