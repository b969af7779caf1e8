"""The VAE on strips of an image: the same latents and pixels, in far less memory."""

import pytest
import torch
from diffusers import AutoencoderKL

from tests.trainer.conftest import STARTER
from trainer.memory.fake_tensors import Meter
from trainer.models import vae as strips
from trainer.models.shipped import read_config


@pytest.fixture(scope="module")
def vae():
    return AutoencoderKL.from_pretrained(STARTER / "vae").requires_grad_(requires_grad=False)


@pytest.mark.parametrize("size", [(64, 64), (96, 136), (8, 8)])
@pytest.mark.parametrize("strip_bytes", [1, 60_000, 10**9])
def test_latents_and_pixels_are_those_of_the_whole(size, strip_bytes, vae, monkeypatch):
    monkeypatch.setattr(strips, "STRIP_BYTES", strip_bytes)
    pixels = torch.rand(2, 3, *size, generator=torch.Generator().manual_seed(1)) * 2 - 1
    with torch.no_grad():
        expected = vae.encode(pixels).latent_dist
        before = pixels.clone()
        mean, std = strips.encode(vae, pixels, in_strips=True)
        torch.testing.assert_close(mean, expected.mean, rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(std, expected.std, rtol=1e-4, atol=1e-6)
        assert torch.equal(pixels, before)
        image = vae.decode(mean).sample
        latents = mean.clone()
        decoded = strips.decode(vae, mean, in_strips=True)
        torch.testing.assert_close(decoded, image, rtol=1e-4, atol=1e-4)
        assert torch.equal(mean, latents)
        again = strips.decode(vae, mean, in_strips=True, recompute=True)
        torch.testing.assert_close(again, image, rtol=1e-4, atol=1e-4)


def test_as_a_whole_it_is_diffusers_own(vae):
    pixels = torch.rand(1, 3, 32, 32)
    with torch.no_grad():
        mean, std = strips.encode(vae, pixels, in_strips=False)
        expected = vae.encode(pixels).latent_dist
        assert torch.equal(mean, expected.mean)
        assert torch.equal(std, expected.std)
        pixels = strips.decode(vae, mean, in_strips=False)
        assert torch.equal(pixels, vae.decode(mean).sample)


def test_an_unusual_vae_is_run_as_a_whole(vae):
    other = AutoencoderKL(
        block_out_channels=(8, 8),
        down_block_types=("DownEncoderBlock2D", "AttnDownEncoderBlock2D"),
        up_block_types=("AttnUpDecoderBlock2D", "UpDecoderBlock2D"),
        norm_num_groups=4,
    )
    pixels = torch.rand(1, 3, 16, 16)
    with torch.no_grad():
        mean, _ = strips.encode(other, pixels, in_strips=True)
        assert torch.equal(mean, other.encode(pixels).latent_dist.mean)


def test_a_large_image_takes_less_than_half_of_the_memory():
    config = read_config("sdxl")["vae"]
    peaks = {}
    for in_strips in (False, True):
        with Meter() as meter, torch.no_grad():
            vae = AutoencoderKL.from_config(config).requires_grad_(requires_grad=False)
            meter.restart()
            strips.encode(vae, torch.empty(1, 3, 1024, 1024), in_strips=in_strips)
            peaks["encode", in_strips] = meter.peak
            meter.restart()
            strips.decode(vae, torch.empty(1, 4, 128, 128), in_strips=in_strips)
            peaks["decode", in_strips] = meter.peak
            meter.restart()
            options = {"in_strips": in_strips, "recompute": True}
            strips.decode(vae, torch.empty(1, 4, 128, 128), **options)
            peaks["recompute", in_strips] = meter.peak
    assert peaks["encode", True] < 0.6 * peaks["encode", False]
    assert peaks["decode", True] < 0.6 * peaks["decode", False]
    assert peaks["recompute", True] < 0.65 * peaks["decode", True]
    assert max(peaks["encode", True], peaks["decode", True]) < 1.9e9
