"""The mathematics against diffusers' own."""

import pytest
import torch
from diffusers import DDIMScheduler, DDPMScheduler
from diffusers.training_utils import compute_snr

from trainer.config import ObjectiveConfig
from trainer.diffusion import (
    TARGETS,
    WEIGHTINGS,
    add_noise,
    draw_noise,
    draw_randomness,
    make_schedule,
    training_loss,
)

CPU = torch.device("cpu")
SCHEDULE = make_schedule("scaled_linear", 0.00085, 0.012, 1000)
REFERENCE = DDPMScheduler(beta_schedule="scaled_linear", beta_start=0.00085, beta_end=0.012)


def example(batch=3):
    generator = torch.Generator().manual_seed(0)
    latents = torch.randn(batch, 4, 8, 8, generator=generator)
    noise = torch.randn(batch, 4, 8, 8, generator=generator)
    return latents, noise, torch.tensor([0, 500, 999])[:batch]


@pytest.mark.parametrize("kind", ["linear", "scaled_linear"])
def test_schedule_equals_diffusers(kind):
    reference = DDIMScheduler(beta_schedule=kind, beta_start=0.001, beta_end=0.02)
    ours = make_schedule(kind, 0.001, 0.02, 1000)
    torch.testing.assert_close(ours.alphas_cumprod, reference.alphas_cumprod)


def test_unknown_schedule_is_named():
    with pytest.raises(ValueError, match="sigmoid"):
        make_schedule("sigmoid", 0.1, 0.2, 10)


def test_noisy_latents_equal_diffusers():
    latents, noise, timesteps = example()
    reference = REFERENCE.add_noise(latents, noise, timesteps)
    torch.testing.assert_close(add_noise(SCHEDULE, latents, noise, timesteps), reference)


def test_v_target_equals_diffusers():
    latents, noise, timesteps = example()
    reference = REFERENCE.get_velocity(latents, noise, timesteps)
    ours = TARGETS["v_prediction"](SCHEDULE, latents, noise, timesteps)
    torch.testing.assert_close(ours, reference)


@pytest.mark.parametrize("prediction", list(TARGETS))
def test_min_snr_equals_the_formula_of_diffusers_examples(prediction):
    timesteps = torch.arange(1000)
    snr = compute_snr(REFERENCE, timesteps)
    capped = torch.minimum(snr, torch.full_like(snr, 5.0))
    reference = capped / (snr + 1) if prediction == "v_prediction" else capped / snr
    ours = WEIGHTINGS["min_snr"](SCHEDULE.snr, prediction, 5.0)
    torch.testing.assert_close(ours, reference, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("weighting", list(WEIGHTINGS))
@pytest.mark.parametrize("prediction", list(TARGETS))
def test_loss_comes_per_example_and_a_perfect_prediction_costs_nothing(weighting, prediction):
    latents, noise, timesteps = example()
    objective = ObjectiveConfig(weighting=weighting)
    draws = draw_randomness([1, 2, 3], (4, 8, 8), objective, CPU)
    draws = type(draws)(timesteps, noise, draws.latent_noise)
    target = TARGETS[prediction](SCHEDULE, latents, noise, timesteps)
    wrong = target.clone()
    wrong[1] += 1.0

    def loss_of(predicted):
        return training_loss(
            lambda _x, _t: predicted, latents, draws, SCHEDULE, objective, prediction
        )

    assert torch.equal(loss_of(target), torch.zeros(3))
    factor = WEIGHTINGS[weighting](SCHEDULE.snr[timesteps], prediction, 5.0)[1]
    torch.testing.assert_close(loss_of(wrong), torch.tensor([0.0, factor.item(), 0.0]))


def test_an_examples_randomness_does_not_depend_on_its_batch():
    together = draw_randomness([5, 6, 7], (4, 8, 8), ObjectiveConfig(), CPU)
    alone = draw_randomness([6], (4, 8, 8), ObjectiveConfig(), CPU)
    assert torch.equal(together.noise[1], alone.noise[0])
    assert torch.equal(together.timesteps[1], alone.timesteps[0])
    assert torch.equal(together.latent_noise[1], alone.latent_noise[0])


def test_timesteps_stay_in_range():
    objective = ObjectiveConfig(min_timestep=100, max_timestep=102)
    drawn = draw_randomness(range(200), (1, 1, 1), objective, CPU).timesteps
    assert set(drawn.tolist()) == {100, 101, 102}


def test_noise_offset_shifts_whole_channels():
    plain = draw_noise((4, 64, 64), 0.0, torch.Generator().manual_seed(3))
    shifted = draw_noise((4, 64, 64), 0.5, torch.Generator().manual_seed(3))
    difference = shifted - plain
    assert torch.allclose(difference.var(dim=(1, 2)), torch.zeros(4), atol=1e-10)
    assert difference.abs().max() > 0.05
