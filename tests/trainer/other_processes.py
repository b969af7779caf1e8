"""What the other processes of a run do in tests: their share, and something besides."""

import os
import signal
import time

import torch

from trainer.runs import RunError
from trainer.training import share
from trainer.training import step as step_module


def around_steps(do):
    """Has `do(session)` be called after each of this process's steps."""
    real = share.take_step

    def take_and_do(session, batches):
        loss = real(session, batches)
        do(session)
        return loss

    share.take_step = take_and_do


def record(link, *arguments):
    """Writes the weights' fingerprint after each step."""
    around_steps(write_fingerprint)
    share.compute_shares(link, *arguments)


def write_fingerprint(session):
    name = f"fingerprints-{session.group.index}.txt"
    with (session.run.path / name).open("a") as file:
        file.write(f"{session.fingerprint()}\n")


def die(link, *arguments):
    """Is killed after the third step of the run, once."""

    def kill(session):
        path = session.run.path / "killed"
        if session.state.step == 3 and session.group.index == 1 and not path.exists():
            path.touch()
            os.kill(os.getpid(), signal.SIGKILL)

    around_steps(kill)
    share.compute_shares(link, *arguments)


def hang(link, *arguments):
    """Computes nothing more after the first step."""
    around_steps(lambda _session: time.sleep(3600))
    share.compute_shares(link, *arguments)


def run_out(link, *arguments):
    """Has no memory for two images at once from the second step on."""
    real = step_module.compute_losses

    def refuse(session, batch):
        if session.state.step >= 1 and len(batch.indices) > 1:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20 MiB")
        return real(session, batch)

    step_module.compute_losses = refuse
    share.compute_shares(link, *arguments)


def start_elsewhere(link, *arguments):
    """Starts from other weights."""
    real = share.open_session

    def open_changed(*args, **options):
        session = real(*args, **options)
        with torch.no_grad():
            next(iter(session.adapters.named_parameters().values())).view(-1)[0] += 1e-7
        return session

    share.open_session = open_changed
    share.compute_shares(link, *arguments)


def fail(link, *arguments):
    """Cannot open the run."""
    link.receive()
    raise RunError("The sky is blue.")
