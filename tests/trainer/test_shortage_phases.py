"""Memory that runs out in any phase of a run, at a random operation: the run ends all the same.

The device is the CPU with a memory of its own, and an allocator that refuses one operation of a
phase for as long as the run has not changed to what takes less.
"""

import dataclasses
import random

import pytest
import torch
from safetensors.torch import load_file
from torch.utils._python_dispatch import TorchDispatchMode

from trainer.commands import train
from trainer.device_kinds import DEVICE_KINDS
from trainer.models.sd import StableDiffusion
from trainer.runs import RunError, read_events, read_status
from trainer.training import artifacts, session, step
from trainer.training.shortage import find_leaner_setup

# Where the operations of a phase happen.
PHASES = {
    "loading the base model": (session, "load_family"),
    "encoding images": (StableDiffusion, "encode_images"),
    "encoding captions": (StableDiffusion, "encode_captions"),
    "measuring the base model": (session, "measure_for_run"),
    "drawing": (StableDiffusion, "generate_all"),
    "a step": (step, "_compute_loss"),
    "updating the weights": (step, "_update"),
    "exporting": (artifacts, "_export_all"),
}
BATCH = (
    "train.batch_size=2",
    "train.steps=2",
    "samples.every_steps=2",
    "train.offload=false",
    "adapter.text_rank=0",
)


class Allocator(TorchDispatchMode):
    """Counts operations, and refuses those that `refuses` says, by their number."""

    def __init__(self, refuses):
        super().__init__()
        self.refuses, self.count, self.refused = refuses, 0, 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.count += 1
        if self.refuses(self.count):
            self.refused += 1
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20 MiB")
        return func(*args, **(kwargs or {}))


@pytest.fixture
def apart(monkeypatch):
    row = dataclasses.replace(DEVICE_KINDS["cpu"], shares_memory=False)
    monkeypatch.setitem(DEVICE_KINDS, "cpu", row)


@pytest.fixture
def allocate(monkeypatch):
    """Has an allocator serve one phase; returns it."""

    def serve(phase, refuses):
        owner, name = PHASES[phase]
        real, made = getattr(owner, name), Allocator(refuses)

        def call(*args, **options):
            with made:
                return real(*args, **options)

        monkeypatch.setattr(owner, name, call)
        return made

    return serve


def messages(run):
    return [e["message"] for e in read_events(run.events_path) if e["event"] == "warning"]


def count_samples(run):
    return len({e["file"] for e in read_events(run.events_path) if e["event"] == "sample"})


def equal(one, other):
    first, second = (load_file(run.path / "pico.safetensors") for run in (one, other))
    return first.keys() == second.keys() and all(torch.equal(first[k], second[k]) for k in first)


def measure_distance(one, other):
    """Returns how far the weights of two files are from each other, as a share of their norm."""
    first, second = (load_file(run.path / "pico.safetensors") for run in (one, other))
    norms = [sum(float(f(k).norm()) ** 2 for k in first) ** 0.5
             for f in (lambda k: first[k] - second[k], first.get)]  # fmt: skip
    return norms[0] / norms[1]


def run_leanly(run, make_run, tmp_path):
    """Trains a run that had the other's last settings from the start, with enough memory."""
    same = [
        f"{section}.{name}={str(getattr(getattr(run.config, section), name)).lower()}"
        for section, name in (
            ("train", "offload"), ("train", "micro_batch"), ("train", "gradient_checkpointing"),
            ("base_model", "offload_fraction"),
        )
    ]  # fmt: skip
    planned = make_run(*BATCH, *same, folder="planned")
    assert train(planned, tmp_path / "other-cache") == "finished"
    return planned


def count_operations(phase, run, cache):
    with pytest.MonkeyPatch.context() as patch:
        owner, name = PHASES[phase]
        real, counter = getattr(owner, name), Allocator(lambda _number: False)
        counts = []

        def call(*args, **options):
            before = counter.count
            with counter:
                result = real(*args, **options)
            counts.append(counter.count - before)
            return result

        patch.setattr(owner, name, call)
        train(run, cache)
    return counts[0]


# The slow tests have every phase with several seeds.
FAST = ("encoding images", "a step")
CASES = [
    *((phase, 1) for phase in FAST),
    *(
        pytest.param(phase, seed, marks=pytest.mark.slow)
        for phase in PHASES
        for seed in (1, 2, 3, 4)
        if phase not in FAST or seed > 1
    ),
]


@pytest.mark.parametrize(("phase", "seed"), CASES)
def test_a_refused_operation_costs_nothing(
    phase, seed, make_run, tmp_path, apart, allocate, monkeypatch
):
    if phase == "measuring the base model":
        monkeypatch.setattr(session, "needs_measurement", lambda *_: True)
    count = count_operations(phase, make_run(*BATCH, folder="counted"), tmp_path / "counted-cache")
    assert count > 0
    number = random.Random(f"{phase}/{seed}").randint(1, count)
    allocator = allocate(phase, lambda each: each == number)
    run = make_run(*BATCH)
    assert train(run, tmp_path / "fresh-cache") == "finished"
    assert allocator.refused == 1
    (message,) = [each for each in messages(run) if "ran out of memory" in each]
    assert "again" in message
    planned = run_leanly(run, make_run, tmp_path)
    assert count_samples(run) == count_samples(planned) > 1
    if phase == "encoding images":  # the images that came before were not encoded on strips
        assert measure_distance(run, planned) < 1e-4
    else:
        assert equal(run, planned)


@pytest.mark.parametrize(
    "phase",
    [
        "drawing",
        "exporting",
        *(
            pytest.param(phase, marks=pytest.mark.slow)
            for phase in PHASES
            if phase not in ("a step", "drawing", "exporting")
        ),
    ],
)
def test_where_nothing_leaner_helps_it_is_said_and_nothing_is_half_written(
    phase, make_run, cache, monkeypatch
):
    """The CPU as it is: its memory is the main memory, so that moving things away frees nothing."""
    if phase == "measuring the base model":
        monkeypatch.setattr(session, "needs_measurement", lambda *_: True)
    run = make_run(*BATCH)
    owner, name = PHASES[phase]

    def refuse(*_args, **_options):
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20 MiB")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(owner, name, refuse)
        if phase == "drawing":
            assert train(run, cache) == "finished"
        else:
            with pytest.raises(RunError, match=f"ran out of memory while {phase}"):
                train(run, cache)
    if phase == "drawing":
        missing = [m for m in messages(run) if "the run goes on without it" in m]
        assert not count_samples(run)
        whole = make_run(*BATCH, folder="whole")
        assert train(whole, cache) == "finished"
        assert len(missing) == count_samples(whole) > 1
        return
    assert read_status(run.path).state == "failed"
    assert (
        phase in [e for e in read_events(run.events_path) if e["event"] == "ended"][-1]["message"]
    )
    assert not list(run.path.glob("*.safetensors"))
    assert train(run, cache) == "finished"  # it can be resumed
    plain = make_run(*BATCH, folder="plain")
    assert train(plain, cache) == "finished"
    assert equal(run, plain)


def test_what_takes_less_comes_in_order(make_run, apart):
    """First models that wait, then blocks, with the checkpointing that these need; then nothing."""
    config = make_run("train.offload=false").config
    assert find_leaner_setup(config, "cuda") == {"train.offload": True}
    config = make_run("train.offload=true").config
    assert find_leaner_setup(config, "cuda") == {
        "base_model.offload_fraction": 1.0,
        "train.gradient_checkpointing": True,
        "train.checkpointing_fraction": 1.0,
    }
    assert find_leaner_setup(make_run("base_model.offload_fraction=1").config, "cuda") is None
    assert find_leaner_setup(make_run("base_model.quantize=nf4").config, "cuda") is None
    assert find_leaner_setup(config, "mps") is None
