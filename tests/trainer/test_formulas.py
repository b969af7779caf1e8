"""Losses and their weights against numbers worked out by hand.

Every expected value is a number from paper and pencil, or comes from plain Python that shares no
line with the code. `test_formulas_noise.py`, `test_formulas_adapters.py`, `test_formulas_rates.py`
and `test_formulas_header.py` hold the rest of the table.
"""

import itertools
import math
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from tests.trainer.conftest import write_images
from trainer.config import ObjectiveConfig
from trainer.data import Batch
from trainer.diffusion import (
    HUBER_SCHEDULES,
    LOSSES,
    WEIGHTINGS,
    BatchNoise,
    DiffusionNoise,
    NoiseSchedule,
    training_loss,
)
from trainer.training import loop, step
from trainer.training.loss import compute_losses, compute_prior_losses
from trainer.training.session import open_session

# Signal-to-noise ratios of 4, 1 and 1/4.
SIGNAL = [0.8, 0.5, 0.2]
SCHEDULE = NoiseSchedule(torch.tensor(SIGNAL))


@pytest.mark.parametrize(
    ("kind", "difference", "c", "expected"),
    [
        ("mse", -3.0, 7.0, 9.0),
        ("mse", 0.5, 7.0, 0.25),
        ("l1", -3.0, 7.0, 3.0),
        ("l1", 0.5, 7.0, 0.5),
        # 2 c (sqrt(d^2 + c^2) - c), from the right triangles 3-4-5 and 5-12-13.
        ("huber", 3.0, 4.0, 8.0),
        ("huber", -4.0, 3.0, 12.0),
        ("huber", 5.0, 12.0, 24.0),
        # 2 (sqrt(d^2 + c^2) - c)
        ("smooth_l1", 3.0, 4.0, 2.0),
        ("smooth_l1", -4.0, 3.0, 4.0),
        ("smooth_l1", -12.0, 5.0, 16.0),
    ],
)
def test_distances(kind, difference, c, expected):
    found = LOSSES[kind](torch.tensor([difference]), torch.tensor([c]))
    assert found.item() == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize(
    ("kind", "c", "timestep", "snr", "expected"),
    [
        ("constant", 0.3, 900, 0.25, 0.3),
        ("exponential", 0.01, 0, 0.25, 1.0),  # 0.01^(t / 1000)
        ("exponential", 0.01, 500, 0.25, 0.1),
        ("exponential", 0.0001, 250, 4.0, 0.1),
        ("snr", 0.2, 900, 1.0, 0.4),  # sigma = 1: 0.8 / 4 + 0.2
        ("snr", 0.1, 900, 0.25, 0.2),  # sigma = 2: 0.9 / 9 + 0.1
        ("snr", 0.1, 900, 4.0, 0.5),  # sigma = 1/2: 0.9 / 2.25 + 0.1
    ],
)
def test_hubers_c_over_the_time_steps(kind, c, timestep, snr, expected):
    found = HUBER_SCHEDULES[kind](c, torch.tensor([timestep]), torch.tensor([snr]))
    assert found.item() == pytest.approx(expected, rel=1e-5)


RATIOS = [0.25, 1.0, 4.0, 20.0]
WEIGHTS = {
    ("none", "epsilon"): [1, 1, 1, 1],
    ("none", "v_prediction"): [1, 1, 1, 1],
    # min(SNR, 5) / SNR and min(SNR, 5) / (SNR + 1)
    ("min_snr", "epsilon"): [1, 1, 1, 1 / 4],
    ("min_snr", "v_prediction"): [1 / 5, 1 / 2, 4 / 5, 5 / 21],
    # 5 / (SNR + 5), and that times SNR / (SNR + 1)
    ("soft_min_snr", "epsilon"): [20 / 21, 5 / 6, 5 / 9, 1 / 5],
    ("soft_min_snr", "v_prediction"): [4 / 21, 5 / 12, 4 / 9, 4 / 21],
    # 1 / sqrt(SNR) and sqrt(SNR) / (SNR + 1)
    ("debiased", "epsilon"): [2, 1, 1 / 2, 0.2236068],
    ("debiased", "v_prediction"): [2 / 5, 1 / 2, 2 / 5, 0.2129589],
}


def weigh(weighting, ratios, prediction, gamma):
    """The weights of a weighting for what a model predicts."""
    snr = torch.tensor(ratios)
    scale = DiffusionNoise(SCHEDULE, prediction).error_scale(snr)
    return WEIGHTINGS[weighting](snr, scale, gamma)


@pytest.mark.parametrize(("weighting", "prediction"), WEIGHTS)
def test_weights_by_signal_to_noise_ratio(weighting, prediction):
    found = weigh(weighting, RATIOS, prediction, 5.0)
    assert found.tolist() == pytest.approx(WEIGHTS[weighting, prediction], rel=1e-6)


def test_every_weighting_is_in_the_table():
    assert {weighting for weighting, _ in WEIGHTS} == set(WEIGHTINGS)


@pytest.mark.parametrize(
    ("weighting", "gamma", "expected"),
    [("min_snr", 2.0, 0.1), ("soft_min_snr", 20.0, 0.5), ("debiased", 2.0, 0.2236068)],
)
def test_gamma_is_the_cap_of_the_weights_that_have_one(weighting, gamma, expected):
    found = weigh(weighting, [20.0], "epsilon", gamma)
    assert found.item() == pytest.approx(expected, rel=1e-6)


def test_the_debiased_weight_counts_a_ratio_of_at_most_a_thousand():
    found = weigh("debiased", [4000.0], "epsilon", 5.0)
    assert found.item() == pytest.approx(1000**-0.5, rel=1e-6)


# Two examples of one channel and four places.
LATENTS = [[1.0, -2.0, 0.5, 3.0], [0.2, 0.4, -0.6, 1.5]]
NOISE = [[0.3, 1.1, -0.7, 0.9], [-1.2, 0.1, 0.8, -0.4]]
ADDED = [[0.4, 1.0, -0.5, 0.7], [-1.0, 0.3, 0.6, -0.2]]  # with the input perturbed
MASKS = [[1.0, 0.5, 0.0, 0.0], [0.0, 1.0, 1.0, 0.25]]
TIMESTEPS = [2, 0]


def guess(noisy, timestep):
    """What stands for the model: any function of what it is shown and of the time step."""
    return 0.5 * noisy + 0.1 * timestep


def expect_loss(objective, prediction, masked):
    """The loss per example in plain Python, place by place."""
    losses = []
    for row, timestep in enumerate(TIMESTEPS):
        share = SIGNAL[timestep]
        signal, spread, snr = math.sqrt(share), math.sqrt(1 - share), share / (1 - share)
        total = weight_total = 0.0
        for place in range(4):
            latent, noise = LATENTS[row][place], NOISE[row][place]
            target = noise if prediction == "epsilon" else signal * noise - spread * latent
            noisy = signal * latent + spread * ADDED[row][place]
            error = (guess(noisy, timestep) - target) ** 2
            outside = objective.unmasked_weight
            weight = outside + (1 - outside) * MASKS[row][place] if masked else 1.0
            total, weight_total = total + weight * error, weight_total + weight
        capped = min(snr, objective.min_snr_gamma) / (snr + (prediction == "v_prediction"))
        losses.append(total / weight_total * capped)
    return losses


@pytest.mark.parametrize(
    ("prediction", "masked", "outside"),
    [
        *itertools.product(("epsilon", "v_prediction"), (False,), (0.1,)),
        *itertools.product(("epsilon", "v_prediction"), (True,), (0.0, 0.1, 1.0)),
    ],
)
def test_the_loss_of_an_example(prediction, masked, outside):
    objective = ObjectiveConfig(weighting="min_snr", min_snr_gamma=2.0, unmasked_weight=outside)

    def shape(rows):
        return torch.tensor(rows).view(2, 1, 2, 2)

    found = training_loss(
        lambda noisy, timesteps: guess(noisy, timesteps.view(-1, 1, 1, 1)),
        shape(LATENTS),
        BatchNoise(torch.tensor(TIMESTEPS), shape(NOISE), shape(NOISE), shape(ADDED)),
        DiffusionNoise(SCHEDULE, prediction),
        objective,
        shape(MASKS) if masked else None,
    )
    assert found.tolist() == pytest.approx(expect_loss(objective, prediction, masked), rel=1e-5)


def test_the_loss_of_an_example_takes_hubers_c_of_its_own_time_step():
    objective = ObjectiveConfig(
        loss="huber", huber_schedule="snr", huber_c=0.1, weighting="debiased"
    )
    zeros, noise = torch.zeros(2, 1, 1, 1), torch.tensor([1.2, 0.3]).view(2, 1, 1, 1)
    batch_noise = BatchNoise(torch.tensor([0, 2]), noise, zeros, zeros)
    process = DiffusionNoise(SCHEDULE, "epsilon")
    found = training_loss(lambda *_: zeros, zeros, batch_noise, process, objective)
    # SNR 4: c = 0.9 / 2.25 + 0.1 = 0.5 and the weight is 1/2; with 1.2 it makes a 5-12-13 triangle.
    # SNR 1/4: c = 0.9 / 9 + 0.1 = 0.2 and the weight is 2.
    expected = [2 * 0.5 * (1.3 - 0.5) / 2, 2 * 0.2 * (math.sqrt(0.13) - 0.2) * 2]
    assert found.tolist() == pytest.approx(expected, rel=1e-5)


def test_the_prior_counts_by_its_weight(make_run, cache, tmp_path):
    folder = write_images(tmp_path / "class", [(32, 32)] * 3, seed=9)
    run = make_run(
        "objective.prior=images",
        f'dataset.prior_path="{folder}"',
        "objective.prior_weight=2.5",
        "train.accumulate=3",
    )
    session = open_session(run, cache)
    batches = loop.read_batches(session)
    with torch.no_grad():
        pairs = [next(batches) for _ in range(3)]
        own = [compute_losses(session, batch).tolist() for batch, _ in pairs]
        prior = [compute_prior_losses(session, batch).tolist() for _, batch in pairs]
    assert abs(np.mean(own) - np.mean(prior)) > 1e-3
    found = loop.take_step(session, iter(pairs)).item()
    assert found == pytest.approx(np.mean(own) + 2.5 * np.mean(prior), rel=1e-5)


def test_the_teacher_is_the_base_model_on_the_same_noisy_latents(make_run, cache):
    session = open_session(make_run("objective.prior=teacher", "train.batch_size=2"), cache)
    adapter = next(iter(session.adapters.adapters.values()))
    seen = []

    def predict(noisy, timesteps, _conditioning):
        seen.append((noisy, timesteps, adapter.multiplier))
        return noisy * (1 + 3 * adapter.multiplier)

    session.family = SimpleNamespace(
        latent_factor=session.family.latent_factor,
        latent_channels=session.family.latent_channels,
        describe_sizes=session.family.describe_sizes,
        predict=predict,
    )
    batch, _ = next(loop.read_batches(session))
    found = compute_prior_losses(session, batch)
    (base, first_steps, off), (adapted, second_steps, on) = seen
    assert (off, on) == (0.0, 1.0)
    assert torch.equal(base, adapted)
    assert torch.equal(first_steps, second_steps)
    # The answers are four times and once the latents: three times them apart, whatever the weights.
    expected = [9 * float(np.mean(np.square(row.numpy()))) for row in base]
    assert found.tolist() == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("accumulate", [1, 4])
def test_a_step_takes_the_mean_over_its_batches_and_adds_the_penalty_once(
    accumulate, make_run, cache, monkeypatch
):
    run = make_run(
        "adapter.kind=adalora",
        f"train.accumulate={accumulate}",
        "optimizer.max_grad_norm=0",
    )
    session = open_session(run, cache)
    parameters = list(session.adapters.named_parameters().values())
    first = parameters[0]
    # A loss whose gradient is known: 1, 2, 3 … times the first weights.
    losses = iter(range(1, accumulate + 1))
    monkeypatch.setattr(step, "_compute_loss", lambda *_: next(losses) * first.sum())
    penalty = torch.autograd.grad(session.adapters.penalty(), parameters, allow_unused=True)
    gradients = []
    monkeypatch.setattr(
        session.optimizer, "step", lambda: gradients.extend(p.grad for p in parameters)
    )
    sums = first.detach().sum().item()
    mean = (1 + accumulate) / 2
    one = Batch((0,), (False,), ("",), (0,))
    loss = loop.take_step(session, iter([(one, one)] * accumulate))
    assert loss.item() == pytest.approx(mean * sums, rel=1e-5)
    assert sum(each is not None and float(each.norm()) > 0 for each in penalty) > 10
    torch.testing.assert_close(gradients[0], penalty[0] + mean)
    for found, expected in zip(gradients[1:], penalty[1:], strict=True):
        if expected is None:
            assert found is None
        else:
            torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-7)
