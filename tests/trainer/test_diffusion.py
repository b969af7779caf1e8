"""The mathematics against diffusers' own."""

import pytest
import torch
from diffusers import DDIMScheduler, DDPMScheduler
from diffusers.training_utils import compute_snr

from trainer.config import ObjectiveConfig
from trainer.diffusion import (
    DISTRIBUTIONS,
    ERROR_SCALES,
    HUBER_SCHEDULES,
    LOSSES,
    TARGETS,
    WEIGHTINGS,
    BatchNoise,
    DiffusionNoise,
    add_noise,
    add_offset,
    add_pyramid,
    make_schedule,
    sample_noise,
    sample_randomness,
    training_loss,
)

CPU = torch.device("cpu")
SCHEDULE = make_schedule("scaled_linear", 0.00085, 0.012, 1000)
PROCESS = DiffusionNoise(SCHEDULE, "epsilon")
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
    ours = WEIGHTINGS["min_snr"](SCHEDULE.snr, ERROR_SCALES[prediction](SCHEDULE.snr), 5.0)
    torch.testing.assert_close(ours, reference, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("weighting", list(WEIGHTINGS))
@pytest.mark.parametrize("prediction", list(TARGETS))
def test_loss_comes_per_example_and_a_perfect_prediction_costs_nothing(weighting, prediction):
    latents, noise, timesteps = example()
    objective = ObjectiveConfig(weighting=weighting)
    batch_noise = sample_randomness([1, 2, 3], (4, 8, 8), PROCESS, objective, CPU)
    batch_noise = BatchNoise(timesteps, noise, batch_noise.latent_noise, noise)
    target = TARGETS[prediction](SCHEDULE, latents, noise, timesteps)
    wrong = target.clone()
    wrong[1] += 1.0

    def loss_of(predicted):
        return training_loss(
            lambda _x, _t: predicted,
            latents,
            batch_noise,
            DiffusionNoise(SCHEDULE, prediction),
            objective,
        )

    assert torch.equal(loss_of(target), torch.zeros(3))
    snr = SCHEDULE.snr[timesteps]
    factor = WEIGHTINGS[weighting](snr, ERROR_SCALES[prediction](snr), 5.0)[1]
    torch.testing.assert_close(loss_of(wrong), torch.tensor([0.0, factor.item(), 0.0]))


def test_an_examples_randomness_does_not_depend_on_its_batch():
    together = sample_randomness([5, 6, 7], (4, 8, 8), PROCESS, ObjectiveConfig(), CPU)
    alone = sample_randomness([6], (4, 8, 8), PROCESS, ObjectiveConfig(), CPU)
    assert torch.equal(together.noise[1], alone.noise[0])
    assert torch.equal(together.timesteps[1], alone.timesteps[0])
    assert torch.equal(together.latent_noise[1], alone.latent_noise[0])


def test_timesteps_stay_in_range():
    objective = ObjectiveConfig(min_timestep=100, max_timestep=102)
    drawn = sample_randomness(range(200), (1, 1, 1), PROCESS, objective, CPU).timesteps
    assert set(drawn.tolist()) == {100, 101, 102}


def test_noise_offset_shifts_whole_channels():
    generator = torch.Generator().manual_seed(3)
    plain = sample_noise((4, 64, 64), generator)
    difference = add_offset(plain, 0.5, generator) - plain
    assert torch.allclose(difference.var(dim=(1, 2)), torch.zeros(4), atol=1e-10)
    assert difference.abs().max() > 0.05


@pytest.mark.parametrize("discount", [0.3, 0.8])
def test_pyramid_noise_is_coarser_and_keeps_its_deviation(discount):
    generator = torch.Generator().manual_seed(3)
    plain = sample_noise((4, 64, 64), generator)
    coarse = add_pyramid(plain, discount, 7, generator)
    assert coarse.std().item() == pytest.approx(1.0, abs=1e-5)
    # Averages over patches of plain noise shrink with the patch, coarse noise survives them.
    patches = [torch.nn.functional.avg_pool2d(each, 8).std() for each in (plain, coarse)]
    assert patches[1] > 1.1 * patches[0]
    generator = torch.Generator().manual_seed(3)
    assert torch.equal(
        add_pyramid(sample_noise((4, 64, 64), generator), discount, 7, generator), coarse
    )


def test_input_perturbation_shows_more_noise_than_is_asked_for():
    objective = ObjectiveConfig(input_perturbation=0.1)
    batch_noise = sample_randomness(range(8), (4, 32, 32), PROCESS, objective, CPU)
    extra = batch_noise.added_noise - batch_noise.noise
    assert extra.std().item() == pytest.approx(0.1, rel=0.02)
    plain = sample_randomness(range(8), (4, 32, 32), PROCESS, ObjectiveConfig(), CPU)
    assert torch.equal(plain.noise, batch_noise.noise)
    assert torch.equal(plain.added_noise, plain.noise)


def test_logit_normal_prefers_the_middle_and_shifts():
    def mean_and_spread(shift):
        objective = ObjectiveConfig(timesteps="logit_normal", timestep_shift=shift)
        drawn = sample_randomness(range(2000), (1, 1, 1), PROCESS, objective, CPU).timesteps.float()
        return drawn.mean().item(), drawn.std().item()

    mean, spread = mean_and_spread(0.0)
    assert mean == pytest.approx(500, abs=20)
    assert spread < 230  # a uniform draw has 289
    assert mean_and_spread(1.0)[0] > 620
    assert mean_and_spread(-1.0)[0] < 380


@pytest.mark.parametrize("kind", list(DISTRIBUTIONS))
def test_bounds_hold_for_every_distribution(kind):
    objective = ObjectiveConfig(timesteps=kind, min_timestep=5, max_timestep=6, timestep_shift=5)
    drawn = sample_randomness(range(100), (1, 1, 1), PROCESS, objective, CPU).timesteps
    assert set(drawn.tolist()) <= {5, 6}


@pytest.mark.parametrize("schedule", list(HUBER_SCHEDULES))
@pytest.mark.parametrize("kind", ["huber", "smooth_l1"])
def test_huber_equals_the_formula_of_diffusers_examples(kind, schedule):
    """As in diffusers' LoRA training with a scheduled Huber loss, one time step at a time."""
    latents, noise, timesteps = example()
    predicted, c = noise + 0.3 * latents, 0.1
    snr = SCHEDULE.snr[timesteps]
    sigma = (1 / snr).sqrt()
    reference_c = {
        "constant": torch.full((3,), c),
        "exponential": torch.exp(-(-torch.log(torch.tensor(c)) / 1000) * timesteps),
        "snr": (1 - c) / (1 + sigma) ** 2 + c,
    }[schedule].view(-1, 1, 1, 1)
    root = torch.sqrt((predicted - noise) ** 2 + reference_c**2) - reference_c
    reference = (2 * reference_c if kind == "huber" else 2) * root
    scale = HUBER_SCHEDULES[schedule](c, timesteps, snr).view(-1, 1, 1, 1)
    torch.testing.assert_close(LOSSES[kind](predicted - noise, scale), reference)


def test_huber_grows_like_a_square_near_zero_and_like_a_line_far_away():
    scale = torch.full((1,), 0.1)
    small, large = torch.tensor([1e-3]), torch.tensor([100.0])
    huber = LOSSES["huber"]
    assert huber(small, scale).item() == pytest.approx(1e-6, rel=1e-2)
    assert huber(2 * large, scale) / huber(large, scale) == pytest.approx(2.0, rel=1e-2)


@pytest.mark.parametrize("weighting", ["min_snr", "soft_min_snr", "debiased"])
def test_weights_of_v_and_of_the_noise_mean_the_same_picture_error(weighting):
    """The same error of the picture costs the same, whatever the model predicts."""
    snr = torch.tensor([0.01, 0.5, 5.0, 200.0])
    noise = WEIGHTINGS[weighting](snr, ERROR_SCALES["epsilon"](snr), 5.0) * snr
    velocity = WEIGHTINGS[weighting](snr, ERROR_SCALES["v_prediction"](snr), 5.0) * (snr + 1)
    torch.testing.assert_close(noise, velocity)


def test_soft_min_snr_and_debiased_equal_their_papers():
    snr = torch.tensor([0.01, 0.5, 5.0, 200.0])
    torch.testing.assert_close(WEIGHTINGS["debiased"](snr, snr, 5.0), snr.rsqrt())
    # Hourglass diffusion states the weight of the picture's error as 1 / (sigma^2 + 1 / gamma).
    soft = WEIGHTINGS["soft_min_snr"](snr, snr, 4.0) * snr
    torch.testing.assert_close(soft, 1 / (1 / snr + 1 / 4.0))
    terminal = torch.zeros(1)
    for name in ("min_snr", "soft_min_snr", "debiased"):
        assert WEIGHTINGS[name](terminal, terminal + 1, 5.0).item() == 0.0


class FlowMatching:
    """Latents and noise mixed linearly, and their difference predicted (arXiv:2210.02747)."""

    def sample_timestep(self, objective, generator):
        return 1000 * torch.rand((), generator=generator)

    def add_noise(self, latents, noise, timesteps):
        place = (timesteps / 1000).view(-1, 1, 1, 1)
        return (1 - place) * latents + place * noise

    def target(self, latents, noise, timesteps):
        return noise - latents

    def snr(self, timesteps):
        return (1000 / timesteps - 1).square()

    def error_scale(self, snr):
        # The image is x - t * v, so that an error of v is 1 / t of one of the image: 1 / t - 1 is
        # the root of the SNR.
        return (snr.sqrt() + 1).square()


def test_another_noise_process_is_another_object():
    """Loss and randomness ask the process and know none of its formulas."""
    process, objective = FlowMatching(), ObjectiveConfig(weighting="min_snr", min_snr_gamma=5.0)
    drawn = sample_randomness([1, 2], (4, 8, 8), process, objective, CPU)
    generator = torch.Generator().manual_seed(2)
    assert drawn.timesteps[1] == 1000 * torch.rand((), generator=generator)
    latents, noise, _ = example(2)
    batch_noise = BatchNoise(torch.tensor([250.0, 500.0]), noise, noise, noise)
    shown = []

    def predict(noisy, timesteps):
        shown.append(noisy)
        return noise - latents + 1

    losses = training_loss(predict, latents, batch_noise, process, objective)
    torch.testing.assert_close(shown[0][0], 0.75 * latents[0] + 0.25 * noise[0])
    # At 1/4 the SNR is 9, which the weight caps at 5; the image's error is 1/16 of that of v.
    # At 1/2 the SNR is 1 and the error 1/4.
    torch.testing.assert_close(losses, torch.tensor([5 / 16, 1 / 4]))
