"""A run in several processes: the same losses and weights as in one, and an end for all of them."""

import pytest
import torch
from safetensors.torch import load_file

from trainer.commands import train
from trainer.runs import read_events

STEPS = 50


LOSSES = {}
@pytest.fixture(autouse=True)
def rec(monkeypatch):
    from trainer.training import loop
    real = loop._report_step
    def report(session, loss, *rest):
        LOSSES.setdefault(session.run.path, []).append(loss)
        real(session, loss, *rest)
    monkeypatch.setattr(loop, "_report_step", report)

def losses(run):
    return LOSSES[run.path]


@pytest.mark.parametrize("count", [2, 3])
def test_several(make_run, cache, count):
    words = [f"train.steps={STEPS}", "train.batch_size=5", "output.checkpoint_every_steps=0"]
    one = make_run(*words, "train.processes=1", folder="one")
    assert train(one, cache) == "finished"
    several = make_run(*words, f"train.processes={count}", folder="several")
    assert train(several, cache) == "finished"
    a, b = losses(one), losses(several)
    print(max(abs(x - y) for x, y in zip(a, b)), a[-1])
    A, B = (load_file(r.path / "pico.safetensors") for r in (one, several))
    print(max(float((A[k].float() - B[k].float()).abs().max()) for k in A))
    assert 0
