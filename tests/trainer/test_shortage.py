"""A device that runs out of memory: the step is computed again with less, and the run goes on.

The device is a stand-in that refuses a batch above a number of images, in the forward or in the
backward pass, as an allocator with a limit would.
"""

import dataclasses

import pytest
import torch
from safetensors.torch import load_file

from tests.trainer.conftest import write_images
from trainer.commands import train
from trainer.config import ConfigError, layer_config
from trainer.data import Batch
from trainer.device import is_out_of_memory
from trainer.device_kinds import DEVICE_KINDS
from trainer.memory import probe_memory
from trainer.models.sd import StableDiffusion
from trainer.runs import RunError, read_events
from trainer.training import step
from trainer.training.loop import read_batches
from trainer.training.session import open_session
from trainer.training.step import take_step

REAL = StableDiffusion.predict


class Limit:
    """Refuses predictions for more images than `images`, from call number `first` on."""

    def __init__(self, images, *, first=0, phase="forward", checkpointing=True):
        self.images, self.first, self.phase = images, first, phase
        self.needs_checkpointing = not checkpointing
        self.calls = self.refused = 0

    def predict(self, family, latents, timesteps, conditioning):
        self.calls += 1
        late = torch.is_grad_enabled() and self.calls > self.first
        fits = len(latents) <= self.images
        if self.needs_checkpointing and family.unet.is_gradient_checkpointing:
            fits = True
        predicted = REAL(family, latents, timesteps, conditioning)
        if late and not fits:
            if self.phase == "forward":
                self.refuse()
            predicted.register_hook(lambda _grad: self.refuse())
        return predicted

    def refuse(self):
        self.refused += 1
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20 MiB")


@pytest.fixture
def limit(monkeypatch):
    def apply(*args, **options):
        made = Limit(*args, **options)

        def predict(family, latents, timesteps, conditioning):
            return made.predict(family, latents, timesteps, conditioning)

        monkeypatch.setattr(StableDiffusion, "predict", predict)
        return made

    return apply


def messages(run):
    return [e["message"] for e in read_events(run.events_path) if e["event"] == "warning"]


def weights(run):
    return load_file(run.path / "pico.safetensors")


BATCH = ("train.batch_size=4", "train.steps=4", "adapter.dropout=0.2")


def equal(one, other):
    first, second = weights(one), weights(other)
    return first.keys() == second.keys() and all(torch.equal(first[k], second[k]) for k in first)


@pytest.mark.parametrize("phase", [pytest.param("forward", marks=pytest.mark.slow), "backward"])
def test_a_run_that_runs_out_ends_as_one_with_smaller_parts_from_the_start(
    phase, make_run, cache, limit
):
    two = (*BATCH, "train.steps=2")
    planned = make_run(*two, "train.micro_batch=1", folder="planned")
    assert train(planned, cache) == "finished"
    run = make_run(*two)
    device = limit(1, phase=phase)
    assert train(run, cache) == "finished"
    assert device.refused == 2  # 4, then 2
    assert equal(run, planned)
    told = [m for m in messages(run) if "ran out of memory at step 1" in m]
    assert [m.rpartition(": ")[2] for m in told] == [
        "train.micro_batch = 2 from here on.",
        "train.micro_batch = 1 from here on.",
    ]
    assert run.config.train.micro_batch == 1  # for its resume


def test_a_shortage_in_the_middle_costs_no_step(make_run, cache, limit):
    plain, run = make_run(*BATCH, folder="plain"), make_run(*BATCH)
    assert train(plain, cache) == "finished"
    limit(3, first=2)
    assert train(run, cache) == "finished"
    assert [m for m in messages(run) if "at step 3" in m]
    steps = [e["step"] for e in read_events(run.events_path) if e["event"] == "step"]
    assert max(steps) == 4
    assert run.config.train.micro_batch == 2
    whole, parts = weights(plain), weights(run)
    for name in whole:
        assert (whole[name].float() - parts[name].float()).abs().max() < 5e-3


def test_one_image_at_a_time_takes_checkpointing_and_then_gives_up(make_run, cache, limit):
    one = (*BATCH, "train.steps=1")
    run = make_run(*one)
    limit(0, checkpointing=False)
    assert train(run, cache) == "finished"
    assert run.config.train.gradient_checkpointing
    assert "train.gradient_checkpointing = true" in messages(run)[-1]
    hopeless = make_run(*one, folder="hopeless")
    limit(0)
    with pytest.raises(RunError, match="one image at a time and gradient checkpointing"):
        train(hopeless, cache)
    ended = [e for e in read_events(hopeless.events_path) if e["event"] == "ended"]
    assert "lorasmith estimate" in ended[-1]["message"]


@pytest.mark.slow
def test_then_the_blocks_wait_in_main_memory(make_run, cache, monkeypatch):
    """The device has a memory of its own, which is too small while any block stays in it."""
    words = ("train.micro_batch=1", "train.gradient_checkpointing=true")
    planned = make_run(*BATCH, *words, "base_model.offload_fraction=1.0", folder="planned")
    assert train(planned, cache) == "finished"
    refused = []

    def predict(family, latents, timesteps, conditioning):
        predicted = REAL(family, latents, timesteps, conditioning)
        if torch.is_grad_enabled() and not family.blocks.offloaded:
            refused.append(family)
            raise torch.OutOfMemoryError("CUDA out of memory")
        return predicted

    monkeypatch.setattr(StableDiffusion, "predict", predict)
    apart = dataclasses.replace(DEVICE_KINDS["cpu"], shares_memory=False)
    monkeypatch.setitem(DEVICE_KINDS, "cpu", apart)
    run = make_run(*BATCH)
    assert train(run, cache) == "finished"
    assert len(refused) == 4  # 4 images, 2, 1, 1 with checkpointing
    assert "base_model.offload_fraction = 1.0" in messages(run)[-1]
    assert run.config.base_model.offload_fraction == 1.0
    assert equal(run, planned)


def test_other_errors_end_the_run_as_before(make_run, cache, monkeypatch):
    def break_down(*_, **_options):
        raise RuntimeError("cuDNN error")

    monkeypatch.setattr(StableDiffusion, "predict", break_down)
    with pytest.raises(RuntimeError, match="cuDNN"):
        train(make_run(*BATCH), cache)


PARTS = [
    *(pytest.param(*case, marks=pytest.mark.slow) for case in ((1, True), (3, False))),
    (3, True),
]


@pytest.mark.parametrize(("size", "prior"), PARTS)
def test_parts_have_the_gradient_and_the_loss_of_the_whole(size, prior, make_run, cache, tmp_path):
    """Batches of 4 in parts of 3 and 1: each part counts by its share, the penalty once."""
    words = ["train.batch_size=4", "train.accumulate=2", "adapter.kind=adalora"]
    words += ["optimizer.max_grad_norm=0"]
    if prior:
        folder = write_images(tmp_path / "class", [(32, 32)] * 5, seed=9)
        words += ["objective.prior=images", f'dataset.prior_path="{folder}"']
    results = []
    for micro in (0, size):
        run = make_run(*words, f"train.micro_batch={micro}", folder=f"micro-{micro}")
        session = open_session(run, cache)
        gradients = []
        parameters = list(session.adapters.named_parameters().values())
        session.optimizer.step = lambda p=parameters, g=gradients: g.extend(
            None if each.grad is None else each.grad.clone() for each in p
        )
        loss = take_step(session, read_batches(session))
        results.append((loss, gradients))
    (whole, expected), (parts, found) = results
    assert parts.item() == pytest.approx(whole.item(), rel=1e-5)
    assert sum(each is not None and float(each.norm()) > 0 for each in expected) > 10
    for one, other in zip(expected, found, strict=True):
        if one is not None:
            torch.testing.assert_close(other, one, rtol=1e-3, atol=1e-7)


def test_a_batch_is_split_in_order():
    batch = Batch((5, 6, 7), (True, False, True), ("a", "b", "c"), (1, 2, 3))
    assert batch.split(2) == [
        Batch((5, 6), (True, False), ("a", "b"), (1, 2)),
        Batch((7,), (True,), ("c",), (3,)),
    ]


def test_samples_that_do_not_fit_do_not_end_the_run(make_run, cache, monkeypatch):
    def refuse(*_):
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(StableDiffusion, "generate_all", refuse)
    run = make_run("samples.every_steps=2", "train.steps=2")
    assert train(run, cache) == "finished"
    assert any("the run goes on without it" in m for m in messages(run))
    assert not [e for e in read_events(run.events_path) if e["event"] == "sample"]


def test_a_probe_does_not_hide_that_the_step_does_not_fit(settings, limit):
    limit(1)
    with pytest.raises(torch.OutOfMemoryError):
        probe_memory(layer_config(settings=settings, assignments=["train.batch_size=2"]))


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (torch.OutOfMemoryError("CUDA out of memory"), True),
        (RuntimeError("MPS backend out of memory (MPS allocated: 5 GB)"), True),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory"), True),
        (RuntimeError("mat1 and mat2 shapes cannot be multiplied"), False),
        (MemoryError(), False),
    ],
)  # fmt: skip
def test_what_counts_as_out_of_memory(error, expected):
    assert is_out_of_memory(error) is expected


def test_a_part_larger_than_the_batch_is_the_whole(make_run, cache):
    session = open_session(make_run("train.batch_size=2", "train.micro_batch=8"), cache)
    (part,) = step._split(next(read_batches(session)), 8, (0, 2))
    assert part[2:] == (1.0, 1.0)
    with pytest.raises(ConfigError):
        layer_config(assignments=["train.micro_batch=-1"])
