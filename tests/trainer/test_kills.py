"""SIGKILL at many moments of a run: while loading, caching, learning, sampling, saving."""

import hashlib
import os
import random
import signal
import subprocess
import sys
import time

import pytest

from tests.trainer.conftest import ROOT
from trainer.runs import read_events, read_status

pytestmark = pytest.mark.slow


def start(run):
    environment = {**os.environ, "SOURCE_DATE_EPOCH": "1700000000", "OMP_WAIT_POLICY": "PASSIVE"}
    command = [sys.executable, "-m", "app.cli", "train", str(run.path)]
    return subprocess.Popen(command, cwd=ROOT, env=environment, stderr=subprocess.DEVNULL)


def digest(run):
    return hashlib.sha256((run.path / "pico.safetensors").read_bytes()).hexdigest()


def kill_within(process, run, rng):
    """Kills a process a moment after it has written a few events; returns whether it still lived.

    The moment is counted in events because a machine may be fast or slow. It is a little after the
    event, and so anywhere between this one and the next.
    """
    before, more = len(read_events(run.events_path)), rng.randrange(1, 12)
    while len(read_events(run.events_path)) < before + more and process.poll() is None:
        time.sleep(0.005)
    time.sleep(rng.uniform(0, 0.1))
    lived = process.poll() is None
    process.send_signal(signal.SIGKILL)
    process.wait()
    return lived


@pytest.mark.timeout(1800)
def test_a_run_killed_again_and_again_gives_the_same_file(make_run, cache):
    changes = [
        "train.steps=60",
        "output.checkpoint_every_steps=4",
        "samples.every_steps=10",
        "optimizer.ema_decay=0.9",
    ]
    whole, killed = make_run(*changes), make_run(*changes, folder="other")
    assert start(whole).wait() == 0
    rng, kills = random.Random(0), 0
    for _ in range(12):
        if not kill_within(start(killed), killed, rng):
            break
        kills += 1
        # The kill may fall between a run's last event and the end of its process.
        assert read_status(killed.path).state in {"lost", "queued", "finished"}
    if read_status(killed.path).state != "finished":
        assert start(killed).wait() == 0
    assert kills >= 2
    assert digest(whole) == digest(killed)
