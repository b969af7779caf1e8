"""Ten real runs on two devices, while app, worker and trainers are killed at random moments."""

import hashlib
import os
import random
import re
import signal
import subprocess
import time

import psutil
import pytest

from tests.e2e.browse import ROOT, stop_workers
from tests.e2e.two_devices import COMMAND
from tests.ports import hold_port
from trainer.config import layer_config
from trainer.runs import create_run, find_owner, is_alive, read_events, read_status
from trainer.runs.queue import add_run, read_queue
from trainer.runs.queue.worker import find_worker_folder

pytestmark = [pytest.mark.slow, pytest.mark.timeout(3600)]
NAMES = ["one", "two"] * 5
KILLS = 9


def make_run(root, name):
    settings = {
        "name": name,
        "base_model": {"path": str(ROOT / "examples" / "starter-model")},
        "dataset": {"path": str(ROOT / "examples" / "openmoji-style" / "images")},
        "train": {
            "steps": 8, "batch_size": 1, "processes": 1, "log_every_steps": 1, "seed": len(NAMES),
        },
        "samples": {"every_steps": 0},
        "output": {"checkpoint_every_steps": 2},
    }  # fmt: skip
    return create_run(root / "runs", layer_config("starter-style", settings=settings))


def make_environment():
    folders = os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
    fixed = {"PYTHONPATH": folders, "SOURCE_DATE_EPOCH": "1700000000", "OMP_NUM_THREADS": "1"}
    return {**os.environ, **fixed, "OMP_WAIT_POLICY": "PASSIVE"}


def start(*words):
    return subprocess.Popen([*COMMAND, *words], cwd=ROOT, env=make_environment())


def digest(run, name):
    return hashlib.sha256((run.path / f"{name}.safetensors").read_bytes()).hexdigest()


def count_events(runs):
    return sum(len(read_events(run.events_path)) for run in runs)


def kill(pid):
    psutil.Process(pid).send_signal(signal.SIGKILL)


def wait_for(look, seconds=1800):
    deadline = time.monotonic() + seconds
    while not look():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.05)


@pytest.fixture
def root(tmp_path):
    folder = tmp_path / "workspace"
    yield folder
    owner = find_owner(find_worker_folder(folder))
    if is_alive(owner):
        kill(owner.pid)
    stop_workers(folder)


def test_runs_end_once_in_order_and_as_alone_whatever_is_killed(root, tmp_path):
    rng, killed = random.Random(5), {"app": 0, "worker": 0, "trainer": 0}
    alone = {}
    for name in set(NAMES):
        run = make_run(tmp_path / "alone", name)
        assert start("train", str(run.path)).wait() == 0
        alone[name] = digest(run, name)
    assert len(set(alone.values())) == 2
    runs = [make_run(root, name) for name in NAMES]
    for run in runs:
        add_run(root, run)
    with hold_port() as port:
        serve = ["serve", str(root), str(port)]
        app = start(*serve)
        try:
            for _ in range(KILLS):
                before, more = count_events(runs), rng.randrange(3, 30)
                wait_for(
                    lambda more=more, before=before: (
                        count_events(runs) >= before + more or not read_queue(root).entries
                    )
                )
                time.sleep(rng.uniform(0, 0.3))
                victim = rng.choice(["app", "worker", "trainer", "trainer"])
                owners = [find_owner(find_worker_folder(root))] if victim == "worker" else []
                if victim == "trainer":
                    owners = [find_owner(run.path) for run in runs]
                pids = [app.pid] if victim == "app" else [o.pid for o in owners if is_alive(o)]
                if pids:
                    kill(rng.choice(pids))
                    killed[victim] += 1
                if victim == "app":
                    app.wait()
                    app = start(*serve)
            wait_for(lambda: not read_queue(root).entries)
        finally:
            app.kill()
            app.wait()
    print(f"killed: {killed}")
    assert min(killed.values()) >= 1
    for run, name in zip(runs, NAMES, strict=True):
        assert read_status(run.path).state == "finished"
        events = read_events(run.events_path)
        assert [each["event"] for each in events].count("ended") == 1
        assert digest(run, name) == alone[name]
    log = (find_worker_folder(root) / "log.txt").read_text()
    assert list(dict.fromkeys(re.findall(r"(\S+) starts on", log))) == [run.id for run in runs]
