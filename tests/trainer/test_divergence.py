"""A run that diverges goes back to its last good checkpoint, at half the learning rates."""

import shutil

import pytest
import torch
from safetensors.torch import load_file

from trainer.commands import train
from trainer.config import layer_config
from trainer.runs import RunError, RunFolder, read_events, read_status, save_config
from trainer.training import step as step_module
from trainer.training.divergence import DivergenceError, LossHistory, prepare_recovery

SPOILED = 5  # the step at which the gradients are no number


def events_of(run, kind):
    return [event for event in read_events(run.events_path) if event["event"] == kind]


@pytest.fixture
def spoil(monkeypatch):
    """Has the losses of a step be no number while the learning rate is above a limit."""

    def spoil_above(limit, from_step=SPOILED):
        compute = step_module.compute_losses

        def compute_spoiled(session, batch):
            losses = compute(session, batch)
            high = session.config.optimizer.unet_learning_rate > limit
            return losses * float("nan") if high and session.state.step + 1 >= from_step else losses

        monkeypatch.setattr(step_module, "compute_losses", compute_spoiled)

    return spoil_above


@pytest.fixture
def make(make_run):
    """A run of 8 steps that saves at 3 and 6."""

    def create(*assignments, folder="run"):
        words = (
            "train.steps=8", "train.log_every_steps=1", "output.checkpoint_every_steps=3",
            "optimizer.unet_learning_rate=0.004", "optimizer.schedule=constant",
        )  # fmt: skip
        return make_run(*words, *assignments, folder=folder)

    return create


@pytest.mark.slow
def test_a_run_ends_as_one_that_is_resumed_with_half_the_rates(make, cache, spoil, tmp_path):
    by_hand = make("train.steps=3", folder="by-hand")
    assert train(by_hand, cache) == "finished"
    lower = {part: rate / 2 for part, rate in by_hand.config.optimizer.learning_rates.items()}
    words = [f"optimizer.{part}_learning_rate={rate}" for part, rate in lower.items()]
    settings = by_hand.config.model_dump()
    save_config(by_hand, layer_config(settings=settings, assignments=[*words, "train.steps=8"]))
    assert train(by_hand, cache) == "finished"

    spoil(0.003)
    run = make()
    assert train(run, cache) == "finished"
    assert run.config.optimizer.learning_rates == lower
    assert load_file(run.path / "pico.safetensors").keys()
    last, expected = run.list_checkpoints()[-1], by_hand.list_checkpoints()[-1]
    assert (last.step, expected.step) == (8, 8)
    ours = load_file(last.path / "adapter.safetensors")
    theirs = load_file(expected.path / "adapter.safetensors")
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)
    assert [(e["step"], e["from_step"]) for e in events_of(run, "diverged")] == [(SPOILED, 3)]
    warnings = [event["message"] for event in events_of(run, "warning")]
    assert any("goes back to step 3 and on with half the learning rates" in w for w in warnings)
    assert [event["from_step"] for event in events_of(run, "started")] == [0, 3]


def test_a_run_without_a_good_checkpoint_starts_again(make, cache, spoil):
    spoil(0.003, from_step=2)
    run = make()
    assert train(run, cache) == "finished"
    assert [(e["step"], e["from_step"]) for e in events_of(run, "diverged")] == [(2, 0)]


def test_it_goes_back_as_often_as_the_settings_allow_and_then_fails(make, cache, spoil):
    spoil(0.0)
    run = make("train.recoveries=2")
    with pytest.raises(RunError, match="The loss became nan at step 5: the training diverged"):
        train(run, cache)
    assert len(events_of(run, "diverged")) == 2
    assert run.config.optimizer.unet_learning_rate == 0.001
    assert read_status(run.path).state == "failed"
    none = make("train.recoveries=0", folder="none")
    with pytest.raises(DivergenceError):
        train(none, cache)
    assert none.config.optimizer.unet_learning_rate == 0.004


def test_a_checkpoint_that_is_not_finite_or_later_than_the_last_good_loss_is_not_used(make, cache):
    run = make("train.steps=6")
    train(run, cache)
    folder = run.checkpoints_path
    for step in (9, 12):
        shutil.copytree(folder / "step-000006", folder / f"step-{step:06d}")
    weights = folder / "step-000009" / "adapter.safetensors"
    weights.write_bytes(weights.read_bytes()[:-4] + b"\xff\xff\xff\x7f")  # NaN
    prepare_recovery(
        RunFolder(run.path), DivergenceError("The loss rose: far", step=13, good_step=11)
    )
    assert [each.step for each in run.list_checkpoints()] == [3, 6]


def test_rates_of_prodigy_stay_what_its_config_accepts(make):
    words = [f"optimizer.{p}_learning_rate=0.15" for p in ("unet", "conv", "text", "word")]
    run = make("optimizer.kind=prodigy", *words)
    prepare_recovery(run, DivergenceError("The loss rose: far", step=1, good_step=0))
    assert set(run.config.optimizer.learning_rates.values()) == {0.1}


def look(losses, step=0):
    """Where something is noticed, and the last good step; None for nowhere."""
    history = LossHistory(step)
    for index, loss in enumerate(losses, start=step + 1):
        try:
            history.check(index, loss)
        except DivergenceError as error:
            return error.step, error.good_step
    return None


@pytest.mark.parametrize("number", [float("nan"), float("inf"), -float("inf")])
def test_a_loss_that_is_no_number_is_noticed_at_once(number):
    assert look([0.1, number], step=40) == (42, 41)


def test_five_losses_in_a_row_above_ten_times_the_median_are_noticed():
    usual = [0.1, 0.2] * 10
    assert look([*usual, 2.1, 2.1, 2.1, 2.1, 2.1]) == (25, 20)
    assert look([*usual, 2.1, 2.1, 2.1, 2.1, 1.9]) is None
    assert look([*usual, 2.1, 2.1, 0.2, 2.1, 2.1, 2.1, 0.1]) is None  # hard batches


def test_losses_are_compared_only_where_there_are_enough():
    assert look([0.1] * 10 + [2.0] * 5) is None
