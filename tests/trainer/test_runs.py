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
