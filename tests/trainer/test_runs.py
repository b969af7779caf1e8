"""Runs as folders: created whole, read while written, owned by one process."""

import errno
import json
import os
import subprocess
import sys
import time

import pytest

from datasets_tools.files import write_atomically
from trainer.config import RunConfig
from trainer.runs import (
    EventReader,
    RunError,
    append_event,
    create_run,
    derive_status,
    find_owner,
    is_alive,
    list_runs,
    open_run,
    own_folder,
    read_events,
    read_requests,
    read_status,
    request,
)


def event(kind, **data):
    return {"event": kind, "time": time.time(), **data}


def test_two_runs_of_one_name_in_one_minute_get_two_folders(tmp_path):
    first, second = (create_run(tmp_path, RunConfig(name="x")) for _ in range(2))
    assert first.path != second.path
    assert {run.id for run in list_runs(tmp_path)} == {first.id, second.id}
    assert read_status(first.path).state == "queued"
    assert open_run(first.path).config == RunConfig(name="x")


def test_a_full_disk_leaves_no_half_run(tmp_path, monkeypatch):
    def fail(*_args, **_kwargs):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("trainer.runs.folder.append_event", fail)
    with pytest.raises(RunError, match="the disk is full"):
        create_run(tmp_path, RunConfig())
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_is_no_run_is_refused(tmp_path):
    with pytest.raises(RunError, match=r"has no config\.toml"):
        open_run(tmp_path)


def test_reader_leaves_half_a_line_until_it_is_whole(tmp_path):
    path = tmp_path / "events.jsonl"
    reader = EventReader(path)
    assert reader.read_new() == []
    append_event(path, "queued")
    with path.open("ab") as file:
        file.write(b'{"event": "st')
    assert [e["event"] for e in reader.read_new()] == ["queued"]
    with path.open("ab") as file:
        file.write(b'ep", "step": 1}\n')
    assert [e["event"] for e in reader.read_new()] == ["step"]


def test_an_event_after_a_torn_line_is_not_swallowed(tmp_path):
    path = tmp_path / "events.jsonl"
    path.write_bytes(b'{"event": "queued", "time": 1}\n{"event": "st')
    append_event(path, "warning", message="ä")
    assert [e["event"] for e in read_events(path)] == ["queued", "warning"]


@pytest.mark.parametrize(
    ("kinds", "alive", "state"),
    [
        ([], False, "new"),
        (["queued"], False, "queued"),
        (["queued"], True, "running"),
        (["queued", "started"], True, "running"),
        (["queued", "started"], False, "lost"),
        (["queued", "started", "paused"], True, "paused"),
        (["queued", "started", "paused"], False, "lost"),
        (["queued", "started", "paused", "resumed"], True, "running"),
    ],
)
def test_state_follows_from_the_last_event_and_the_owner(kinds, alive, state):
    assert derive_status([event(kind) for kind in kinds], alive=alive).state == state


@pytest.mark.parametrize("reason", ["finished", "stopped", "failed"])
def test_an_ended_run_is_what_its_last_event_says(reason):
    events = [event("started"), event("ended", reason=reason, message="why")]
    status = derive_status(events, alive=False)
    assert (status.state, status.message) == (reason, "why")


def steps(last, first=1):
    return [event("step", step=step, steps=40, seconds_left=90) for step in range(first, last + 1)]


def test_a_run_that_was_killed_before_its_first_checkpoint_stands_at_0_when_it_starts_again():
    killed = [event("started", from_step=0, steps=40), *steps(5)]
    lost = derive_status(killed, alive=False)
    assert (lost.state, lost.step, lost.saved, lost.seconds_left) == ("lost", 5, 0, None)
    assert "begins at step 0: 5 steps are trained again." in lost.message
    again = derive_status([*killed, event("started", from_step=0, steps=40)], alive=True)
    assert (again.state, again.step, again.steps) == ("running", 0, 40)
    assert (again.seconds_left, again.loss, again.message) == (None, None, "")


@pytest.mark.parametrize(
    ("reached", "sentence"),
    [
        (10, "continues from its checkpoint at step 8: 2 steps are trained again."),
        (9, "continues from its checkpoint at step 8: 1 step is trained again."),
        (8, "continues from its checkpoint at step 8."),
    ],
)
def test_a_lost_run_says_where_it_continues_and_how_many_steps_are_lost(reached, sentence):
    events = [event("started", from_step=0), *steps(8), event("checkpoint", step=8)]
    lost = derive_status([*events, *steps(reached, first=9)], alive=False)
    assert lost.message.endswith(f"Starting it again {sentence}")


def test_what_a_run_says_about_its_checkpoint_follows_its_folder(tmp_path):
    run = create_run(tmp_path, RunConfig(name="cats"))
    append_event(run.events_path, "started", from_step=0, steps=40)
    append_event(run.events_path, "checkpoint", step=4)  # which somebody has removed since
    append_event(run.events_path, "step", step=6, steps=40)
    assert "begins at step 0: 6 steps" in read_status(run.path).message
    folder = run.checkpoints_path / "step-000005"
    folder.mkdir(parents=True)
    (folder / "meta.json").write_text("{}")
    assert "checkpoint at step 5: 1 step is" in read_status(run.path).message


def test_a_run_that_diverged_stands_at_the_step_that_it_goes_back_to():
    events = [event("started", from_step=0), *steps(9), event("diverged", step=9, from_step=4)]
    status = derive_status(events, alive=True)
    assert (status.step, status.seconds_left) == (4, None)


def test_a_file_of_an_earlier_checkpoint_does_not_move_a_finished_run():
    events = [event("started"), *steps(8), event("ended", reason="finished", step=8)]
    assert derive_status([*events, event("exported", step=4)], alive=False).step == 8


def test_write_atomically_keeps_the_old_file_when_the_disk_is_full(tmp_path, monkeypatch):
    path = tmp_path / "file"
    write_atomically(path, "old")

    def fail(_handle):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(OSError, match="No space"):
        write_atomically(path, "new")
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_folder_has_one_owner(tmp_path):
    code = (
        "import sys, time\nfrom pathlib import Path\nfrom trainer.runs import own_folder\n"
        "with own_folder(Path(sys.argv[1])):\n    print('mine', flush=True); time.sleep(60)"
    )
    other = subprocess.Popen([sys.executable, "-c", code, str(tmp_path)], stdout=subprocess.PIPE)
    try:
        assert other.stdout.readline().strip() == b"mine"
        assert is_alive(find_owner(tmp_path))
        with pytest.raises(RunError, match=str(other.pid)), own_folder(tmp_path):
            pass
    finally:
        other.kill()
        other.wait()
    with own_folder(tmp_path) as owner:
        assert find_owner(tmp_path) == owner
    assert find_owner(tmp_path) is None


def test_a_later_process_with_the_same_number_is_not_the_owner(tmp_path):
    with own_folder(tmp_path):
        data = json.loads((tmp_path / "process.json").read_text())
        data |= {"started": data["started"] - 1000, "ticks": data["ticks"] and data["ticks"] - 1}
        (tmp_path / "process.json").write_text(json.dumps(data))
        assert not is_alive(find_owner(tmp_path))


def test_requests_are_files(tmp_path):
    request(tmp_path, "pause")
    request(tmp_path, "stop")
    (tmp_path / "control" / "something-else").touch()
    assert read_requests(tmp_path) == {"pause", "stop"}
