"""Noise schedules, targets, kinds of noise and drawn time steps, against independent numbers."""

import math
import random

import numpy as np
import pytest
import torch

from trainer.config import ObjectiveConfig
from trainer.data import LatentStore, TensorCache, TensorStore
from trainer.diffusion import (
    TARGETS,
    DiffusionNoise,
    NoiseSchedule,
    add_noise,
    add_offset,
    add_pyramid,
    make_schedule,
    sample_randomness,
)

CPU = torch.device("cpu")
PROCESS = DiffusionNoise(make_schedule("linear", 0.1, 0.3, 3), "epsilon")


@pytest.mark.parametrize(
    ("kind", "start", "end", "expected"),
    [
        # betas 0.1, 0.2, 0.3: 0.9, 0.9 * 0.8, 0.9 * 0.8 * 0.7
        ("linear", 0.1, 0.3, [0.9, 0.72, 0.504]),
        # betas 0.1^2, 0.2^2, 0.3^2: 0.99, 0.99 * 0.96, 0.99 * 0.96 * 0.91
        ("scaled_linear", 0.01, 0.09, [0.99, 0.9504, 0.864864]),
    ],
)
def test_the_signal_that_is_left(kind, start, end, expected):
    schedule = make_schedule(kind, start, end, 3)
    assert schedule.alphas_cumprod.tolist() == pytest.approx(expected, rel=1e-6)


def test_the_signal_to_noise_ratio():
    schedule = NoiseSchedule(torch.tensor([0.8, 0.5, 0.2, 0.0]))
    assert schedule.snr.tolist() == pytest.approx([4.0, 1.0, 0.25, 0.0], rel=1e-6)


def test_zero_terminal_snr_shifts_and_scales_the_roots():
    found = make_schedule("linear", 0.1, 0.3, 3, zero_snr=True).alphas_cumprod.tolist()
    first, middle, last = math.sqrt(0.9), math.sqrt(0.72), math.sqrt(0.504)
    # The first root stays, the last one becomes zero, and the middle keeps its place between them.
    place = (middle - last) / (first - last)
    assert found == pytest.approx([0.9, 0.9 * place**2, 0.0], rel=1e-5, abs=1e-12)
    assert found[1] == pytest.approx(0.303288, abs=1e-5)


def test_noisy_latents_and_targets():
    # Signal shares 0.64 and 0.36: the roots are 0.8 and 0.6, then 0.6 and 0.8.
    schedule = NoiseSchedule(torch.tensor([0.64, 0.36]))
    latents = torch.tensor([10.0, -1.0]).view(2, 1, 1, 1)
    noise = torch.tensor([5.0, 2.0]).view(2, 1, 1, 1)
    timesteps = torch.tensor([0, 1])

    def numbers(tensor):
        return tensor.flatten().tolist()

    # 0.8 * 10 + 0.6 * 5 and 0.6 * -1 + 0.8 * 2
    noisy = add_noise(schedule, latents, noise, timesteps)
    assert numbers(noisy) == pytest.approx([11.0, 1.0], rel=1e-6)
    epsilon = TARGETS["epsilon"](schedule, latents, noise, timesteps)
    assert numbers(epsilon) == [5.0, 2.0]
    # 0.8 * 5 - 0.6 * 10 and 0.6 * 2 - 0.8 * -1
    velocity = TARGETS["v_prediction"](schedule, latents, noise, timesteps)
    assert numbers(velocity) == pytest.approx([-2.0, 2.0], rel=1e-6)


def test_at_pure_noise_v_is_the_latents_turned_round():
    schedule = NoiseSchedule(torch.tensor([0.0]))
    latents, noise = torch.full((1, 1, 1, 1), 3.0), torch.full((1, 1, 1, 1), 7.0)
    timesteps = torch.tensor([0])
    assert add_noise(schedule, latents, noise, timesteps).item() == 7.0
    assert TARGETS["v_prediction"](schedule, latents, noise, timesteps).item() == -3.0


def test_latents_are_drawn_from_mean_and_deviation(tmp_path):
    store = LatentStore(TensorStore(TensorCache(tmp_path), torch.device("cpu")))
    for flipped, mean, std in ((False, 2.0, 0.5), (True, -1.0, 0.25)):
        numbers = {"mean": torch.full((1, 1, 1), mean), "std": torch.full((1, 1, 1), std)}
        store.add(0, flipped, numbers)
    noise = torch.tensor([3.0, -4.0]).view(2, 1, 1, 1)
    found = store.sample([0, 0], [False, True], noise)
    assert found.flatten().tolist() == [3.5, -2.0]  # 2 + 0.5 * 3 and -1 + 0.25 * -4


def draw(seed, *shape):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def test_noise_offset_adds_one_number_to_a_channel():
    plain = draw(1, 3, 4, 5)
    found = add_offset(plain, 0.25, torch.Generator().manual_seed(2))
    expected = plain.numpy() + 0.25 * draw(2, 3).numpy()[:, None, None]
    np.testing.assert_allclose(found.numpy(), expected, rtol=1e-6)


def enlarge(size, to):
    """A matrix that enlarges a column of `size` numbers: each is a line between its neighbours."""
    matrix = np.zeros((to, size))
    for row in range(to):
        place = min(max((row + 0.5) * size / to - 0.5, 0.0), size - 1.0)
        left = min(int(place), size - 1)
        matrix[row, left] += 1 - (place - left)
        matrix[row, min(left + 1, size - 1)] += place - left
    return matrix


def expect_pyramid(noise, discount, seed, generator):
    """Multi-resolution noise in NumPy; returns the weights of its levels, too."""
    sizes, (channels, height, width) = random.Random(seed), noise.shape
    total, weights, level = noise.copy(), [], 0
    while level < 9:
        level += 1
        factor = (2 + 2 * sizes.random()) ** level
        rows, columns = max(1, int(height / factor)), max(1, int(width / factor))
        coarse = torch.randn((1, channels, rows, columns), generator=generator).numpy()[0]
        weights.append(discount**level)
        fine = enlarge(rows, height) @ coarse.astype(float) @ enlarge(columns, width).T
        total += weights[-1] * fine
        if 1 in (rows, columns):
            break
    return total / total.std(ddof=1), weights


@pytest.mark.parametrize(("seed", "levels"), [(7, 3), (3, 4), (2, 5)])
def test_pyramid_noise_discounts_each_coarser_level_once_more(seed, levels):
    plain = draw(seed, 2, 64, 48)
    reference = torch.Generator().manual_seed(5)
    expected, weights = expect_pyramid(plain.numpy().astype(float), 0.6, seed, reference)
    assert weights == pytest.approx([0.6, 0.36, 0.216, 0.1296, 0.07776][:levels])
    found = add_pyramid(plain, 0.6, seed, torch.Generator().manual_seed(5))
    np.testing.assert_allclose(found.numpy(), expected, rtol=1e-4, atol=1e-5)


def test_everything_that_is_random_about_an_example():
    """The whole order of what is drawn, with each number where it belongs."""
    objective = ObjectiveConfig(
        min_timestep=100, max_timestep=900, noise_offset=0.1, pyramid_noise=0.5,
        input_perturbation=0.2,
    )  # fmt: skip
    shape = (2, 16, 16)
    found = sample_randomness([41, 42], shape, PROCESS, objective, CPU)
    for row, seed in enumerate((41, 42)):
        generator = torch.Generator().manual_seed(seed)
        timestep = torch.randint(100, 901, (), generator=generator)
        noise = torch.randn(shape, generator=generator).numpy().astype(float)
        noise = noise + 0.1 * torch.randn(2, generator=generator).numpy()[:, None, None]
        noise, _ = expect_pyramid(noise, 0.5, seed, generator)
        latent_noise = torch.randn(shape, generator=generator)
        added = noise + 0.2 * torch.randn(shape, generator=generator).numpy()
        assert found.timesteps[row] == timestep
        np.testing.assert_allclose(found.noise[row].numpy(), noise, rtol=1e-4, atol=1e-5)
        assert torch.equal(found.latent_noise[row], latent_noise)
        np.testing.assert_allclose(found.added_noise[row].numpy(), added, rtol=1e-4, atol=1e-5)


def draw_timesteps(count, **settings):
    drawn = sample_randomness(range(count), (1, 1, 1), PROCESS, ObjectiveConfig(**settings), CPU)
    return drawn.timesteps.numpy()


def test_uniform_time_steps_are_equally_frequent_with_both_ends():
    drawn = draw_timesteps(4000, min_timestep=5, max_timestep=8)
    numbers, counts = np.unique(drawn, return_counts=True)
    assert numbers.tolist() == [5, 6, 7, 8]
    assert counts.tolist() == pytest.approx([1000] * 4, abs=100)


@pytest.mark.parametrize("shift", [0.0, 1.0, -0.5])
def test_logit_normal_time_steps_are_a_sigmoid_of_a_normal_number(shift):
    drawn = draw_timesteps(
        300, timesteps="logit_normal", timestep_shift=shift, min_timestep=200, max_timestep=599
    )
    for seed, timestep in enumerate(drawn):
        place = 1 / (1 + math.exp(-(draw(seed).item() + shift)))
        assert timestep == pytest.approx(200 + int(400 * place), abs=1e-9)


@pytest.mark.parametrize(
    ("shift", "below"),
    # The normal distribution's share below logit(1/4) - shift, where logit(1/4) = -ln 3.
    [(0.0, 0.1360), (1.0, 0.0179), (-1.0, 0.4607)],
)
def test_logit_normal_time_steps_have_its_distribution(shift, below):
    drawn = draw_timesteps(3000, timesteps="logit_normal", timestep_shift=shift)
    assert (drawn < 250).mean() == pytest.approx(below, abs=0.03)


def test_the_highest_time_step_is_drawn_and_not_exceeded():
    drawn = draw_timesteps(
        2000, timesteps="logit_normal", timestep_shift=1, min_timestep=3, max_timestep=4
    )
    assert set(drawn.tolist()) == {3, 4}
    assert (drawn == 4).mean() == pytest.approx(0.8413, abs=0.03)  # of a normal number above -1
