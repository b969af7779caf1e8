"""A process that dies, or a disk that fails, at every system call of what a run writes.

A child does one piece of work under a shim that counts its calls of `open`, `write`, `fsync`,
`rename`, `mkdir`, `unlink` and `rmdir`. For each of them one child more is killed right before it,
one right behind it, and one gets an error from it. What stays is read as the next process would.

Lost power is modelled on the calls that the child logged: of a file what was flushed is there, and
any part of the rest, or zeros; of the changes of a folder those before its last flush, and any of
the later ones in any order.
"""

import json
import os
import random
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.trainer.conftest import ROOT
from trainer.runs import RunFolder
from trainer.runs.checkpoints import find_damage, set_damaged_aside

pytestmark = pytest.mark.slow

SHIM = """
import errno, json, os, signal, sys
place, how, count = sys.argv[1], sys.argv[2], int(sys.argv[3])
calls, log = 0, []

def guard(name, real):
    def call(*args, **kwargs):
        global calls
        watched = armed and not (name == "open" and args[0] == os.devnull)
        if not watched:
            return real(*args, **kwargs)
        calls += 1
        if calls == count and how == "before":
            os.kill(os.getpid(), signal.SIGKILL)
        if calls == count and how == "error":
            raise OSError(errno.EIO, "Input/output error")
        if calls == count and how == "full":
            raise OSError(errno.ENOSPC, "No space left on device")
        if calls == count and how == "short" and name == "write":
            args = (args[0], bytes(args[1])[: len(args[1]) // 2])
        record = describe(name, args)
        answer = real(*args, **kwargs)
        log.append(record)
        if calls == count and how == "after":
            os.kill(os.getpid(), signal.SIGKILL)
        return answer
    return call

def path_of(descriptor):
    return os.readlink(f"/proc/self/fd/{descriptor}")

def describe(name, args):
    if name == "write":
        return [name, path_of(args[0]), bytes(args[1]).hex()]
    if name == "fsync":
        return [name, path_of(args[0])]
    return [name, *(os.fspath(arg) for arg in args if isinstance(arg, (str, os.PathLike)))]

armed = False
for name in ("open", "write", "fsync", "rename", "replace", "mkdir", "unlink", "rmdir"):
    setattr(os, name, guard(name, getattr(os, name)))
"""

CHECKPOINTS = (
    SHIM
    + """
from pathlib import Path
import torch
from trainer.runs import RunFolder, append_event
from trainer.training.checkpoint import remove_old_checkpoints, save_checkpoint
from trainer.training.origin import Origin

class Weights:
    def __init__(self, value):
        self.value = value
    def state(self):
        return {"a": torch.full((64,), self.value)}

class State:
    scaler = None
    def __init__(self, step):
        self.step, self.adapters = step, Weights(float(step))
    def pack(self):
        return {"optimizer.a": torch.full((64,), float(self.step))}, {}

run = RunFolder(Path(place))
first = not run.list_checkpoints()
armed = not first
step = 1 if first else 2
save_checkpoint(run, State(step), Origin({}, {}, {}))
if not first:
    remove_old_checkpoints(run, 1)
append_event(run.events_path, "checkpoint", step=step, folder="x")
armed = False
print(json.dumps([calls, log]))
"""
)

OTHERS = (
    SHIM
    + """
from pathlib import Path
from PIL import Image
from trainer.config import RunConfig
from trainer.runs import RunFolder, save_config, append_event, create_run
from datasets_tools.captions import write_caption

root = Path(place)
(root / "x.png").exists() or Image.new("RGB", (8, 8)).save(root / "x.png")
new = (root / "new").exists()
armed = new
name = "second" if new else "first"
save_config(RunFolder(root), RunConfig(name=name))
write_caption(root / "x.png", name * 500)
create_run(root / "runs", RunConfig(name=name))
armed = False
(root / "new").touch()
print(json.dumps([calls, log]))
"""
)


def work(code, place, how="none", count=0):
    """Runs a child; returns its exit code and what it printed."""
    place.mkdir(exist_ok=True)
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", code, str(place), how, str(count)]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    return done.returncode, done.stdout, done.stderr


def check_checkpoints(place):
    """Whatever happened, a whole checkpoint is there, and nothing half stands for one."""
    run = RunFolder(place)
    set_damaged_aside(run)
    newest = run.list_checkpoints()[-1]
    assert find_damage(newest) == ""
    assert newest.step in {1, 2}
    return newest.step


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    """A run with a checkpoint at step 1, and how many calls one more at step 2 takes."""
    place = tmp_path_factory.mktemp("crashes") / "run"
    code, _, complaint = work(CHECKPOINTS, place)
    assert code == 0, complaint
    copy = shutil.copytree(place, place.with_name("counted"))
    _, answer, complaint = work(CHECKPOINTS, copy)
    calls, log = json.loads(answer)
    assert calls > 15, complaint
    return place, calls, log


@pytest.mark.timeout(1800)
@pytest.mark.parametrize("how", ["before", "after", "error", "full", "short"])
def test_a_checkpoint_survives_a_fault_at_every_call(prepared, tmp_path, how):
    place, calls, _ = prepared
    steps = set()
    for count in range(1, calls + 1):
        copy = shutil.copytree(place, tmp_path / str(count))
        code, _, complaint = work(CHECKPOINTS, copy, how, count)
        assert how not in {"before", "after"} or code == -9, (count, complaint)
        steps.add(check_checkpoints(copy))
        if count % 5 == 0:  # the next process does it again, over whatever was left
            again, _, complaint = work(CHECKPOINTS, copy)
            assert again == 0, complaint
            assert check_checkpoints(copy) == 2
    assert 2 in steps


@pytest.mark.timeout(1800)
@pytest.mark.parametrize("how", ["before", "after", "error", "full", "short"])
def test_config_caption_and_run_survive_a_fault_at_every_call(tmp_path, how):
    place = tmp_path / "first"
    code, _, complaint = work(OTHERS, place)
    assert code == 0, complaint
    _, answer, _ = work(OTHERS, shutil.copytree(place, tmp_path / "counted"))
    for count in range(1, json.loads(answer)[0] + 1):
        copy = shutil.copytree(place, tmp_path / f"try-{count}")
        work(OTHERS, copy, how, count)
        assert RunFolder(copy).config.name in {"first", "second"}
        assert (copy / "x.txt").read_text().strip() in {"first" * 500, "second" * 500}
        from trainer.runs import list_runs

        assert {run.config.name for run in list_runs(copy / "runs")} <= {"first", "second"}


class Disk:
    """A folder as a disk has it: what was flushed, and what may have reached it or not."""

    def __init__(self, place):
        self.place = place
        self.names = {}  # path -> number of the file; a folder has None
        self.durable, self.volatile = {}, {}  # number -> bytes
        self.now = {}  # the names as processes see them
        self.pending = []  # (folder, change) that was not flushed
        for path in [place, *place.rglob("*")]:
            self.names[str(path)] = None if path.is_dir() else self._add(path.read_bytes())
        self.now = dict(self.names)

    def _add(self, content):
        number = len(self.durable)
        self.durable[number] = self.volatile[number] = content
        return number

    def take(self, name, path, *rest):
        """Does a call that a child logged."""
        if name == "open" and path not in self.now:
            self._change(path, ("link", path, self._add(b"")))
        elif name == "write":
            self.volatile[self.now[path]] += bytes.fromhex(rest[0])
        elif name == "fsync" and self.now[path] is None:
            flushed = [change for folder, change in self.pending if folder == path]
            self.pending = [each for each in self.pending if each[0] != path]
            for change in flushed:
                apply(self.names, change)
        elif name == "fsync":
            self.durable[self.now[path]] = self.volatile[self.now[path]]
        elif name in {"rename", "replace"}:
            self._change(rest[0], ("move", path, rest[0]))
        elif name == "mkdir":
            self._change(path, ("link", path, None))
        elif name in {"unlink", "rmdir"}:
            self._change(path, ("drop", path))

    def _change(self, path, change):
        apply(self.now, change)
        self.pending.append((str(Path(path).parent), change))

    def write_what_is_left(self, target, rng):
        """Writes what may be there after the power went."""
        names = dict(self.names)
        for _, change in rng.sample(self.pending, len(self.pending)):
            if rng.random() < 0.5:
                apply(names, change)
        for path, number in sorted(names.items()):
            to = target / os.path.relpath(path, self.place)
            if number is None:
                to.mkdir(exist_ok=True)
            elif to.parent.is_dir():
                to.write_bytes(self._lose(number, rng))

    def _lose(self, number, rng):
        durable, volatile = self.durable[number], self.volatile[number]
        if durable == volatile:
            return durable
        tail = volatile[len(durable) :]
        return durable + rng.choice([b"", tail[: len(tail) // 2], bytes(len(tail)), tail])


def apply(names, change):
    kind, path, *rest = change
    if kind == "link":
        names[path] = rest[0]
    elif kind == "drop":
        names.pop(path, None)
    elif path in names:
        inner = [each for each in names if each == path or each.startswith(path + os.sep)]
        moved = {rest[0] + each[len(path) :]: names.pop(each) for each in inner}
        names.update(moved)


def test_lost_power_at_every_call_leaves_a_whole_checkpoint(prepared, tmp_path):
    _, calls, log = prepared
    before = prepared[0]
    recorded, rng, steps = before.with_name("counted"), random.Random(0), []
    for cut in range(calls + 1):
        for attempt in range(4):
            disk = Disk(before)
            disk.place = recorded
            disk.names = {
                k.replace(str(before), str(recorded), 1): n for k, n in disk.names.items()
            }
            disk.now = dict(disk.names)
            for call in log[:cut]:
                if call[1].startswith(str(recorded)):
                    disk.take(*call)
            left = tmp_path / f"{cut}-{attempt}"
            left.mkdir()
            disk.write_what_is_left(left, rng)
            steps.append(check_checkpoints(left))
    assert set(steps) == {1, 2}
    assert steps[-1] == 2
