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
from trainer.runs import read_status

pytestmark = pytest.mark.slow


def start(run):
    environment = {**os.environ, "SOURCE_DATE_EPOCH": "1700000000", "OMP_WAIT_POLICY": "PASSIVE"}
    command = [sys.executable, "-m", "app.cli", "train", str(run.path)]
    return subprocess.Popen(command, cwd=ROOT, env=environment, stderr=subprocess.DEVNULL)


def digest(run):
    return hashlib.sha256((run.path / "pico.safetensors").read_bytes()).hexdigest()


@pytest.mark.timeout(900)
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
    for _ in range(30):
        process = start(killed)
        time.sleep(rng.uniform(4.0, 9.0))
        if process.poll() is not None:
            break
        process.send_signal(signal.SIGKILL)
        process.wait()
        kills += 1
        assert read_status(killed.path).state in {"lost", "queued"}
    if read_status(killed.path).state != "finished":
        assert start(killed).wait() == 0
    assert kills >= 2
    assert digest(whole) == digest(killed)
