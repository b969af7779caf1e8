"""The measures of one image, against numbers worked out by hand or by another formula."""

import math

import numpy as np
import pytest
from PIL import Image, ImageFilter

from datasets_tools.checks import pixels
from datasets_tools.checks.measures import (
    measure,
    measure_border,
    measure_exposure,
    measure_flatness,
    measure_layout,
    measure_palette,
    measure_sharpness,
)
from datasets_tools.checks.scan import fit_size, look_at


def make_step(sigma, low=40, high=220, size=96):
    """A vertical edge that a Gaussian has blurred, by the error function."""
    across = np.arange(size) - size / 2 + 0.5
    rise = [0.5 * (1 + math.erf(x / (sigma * math.sqrt(2)))) for x in across]
    row = low + (high - low) * np.array(rise)
    return np.tile(row.round(), (size, 1)).astype(np.int16)


@pytest.mark.parametrize("sigma", [1.0, 1.5, 2.0])
def test_sharpness_of_a_blurred_step_is_what_the_error_function_says(sigma):
    expected = math.erf(0.5 / (sigma * math.sqrt(2)))  # 0.383, 0.261, 0.197
    assert measure_sharpness(make_step(sigma)) == pytest.approx(expected, abs=0.012)


def test_sharpness_does_not_depend_on_contrast_and_flat_parts():
    narrow = measure_sharpness(make_step(1.0, 100, 180))
    padded = np.pad(make_step(1.0), ((0, 0), (200, 200)), mode="edge")
    assert narrow == pytest.approx(measure_sharpness(make_step(1.0)), abs=0.02)
    assert measure_sharpness(padded) == pytest.approx(measure_sharpness(make_step(1.0)))


def test_hard_edge_is_wholly_sharp_and_no_edge_is_unknown():
    assert measure_sharpness(make_step(0.01)) == 1.0
    assert math.isnan(measure_sharpness(np.full((64, 64), 90, dtype=np.int16)))
    assert math.isnan(measure_sharpness(np.zeros((8, 8), dtype=np.int16)))


def test_border_is_the_ring_and_nothing_else():
    image = np.zeros((100, 100, 3), dtype=np.float32)
    image[6:-6, 6:-6] = 1.0  # 6 % of the side is the ring
    image[:, :6] = 0.5  # of whose 2256 pixels 600 are the left edge
    colour, plain = measure_border(image)
    assert colour.tolist() == [0, 0, 0]
    assert plain == pytest.approx(1656 / 2256)


def test_exposure_leaves_a_plain_background_out():
    grey = np.full((10, 10), 1.0, dtype=np.float32)
    grey[2:8, 2:8] = 0.5
    image = np.repeat(grey[..., None], 3, axis=2)
    white = np.ones(3, dtype=np.float32)
    known = measure_exposure(image, grey, white, plain=1.0)
    assert (known["low"], known["white"], known["high"]) == (0.5, 0.64, 1.0)  # too few
    big = np.kron(grey, np.ones((4, 4), dtype=np.float32))
    image = np.repeat(big[..., None], 3, axis=2)
    known = measure_exposure(image, big, white, plain=1.0)
    assert (known["low"], known["white"], known["high"]) == (0.5, 0.0, 1.0)


def test_palette_counts_colours():
    copy = np.zeros((64, 64, 3), dtype=np.uint8)
    copy[:16] = (255, 0, 64)  # a quarter in cell 3 * 16 + 0 * 4 + 1
    palette = measure_palette(copy)
    assert palette[49] == pytest.approx(0.5)
    assert palette[0] == pytest.approx(math.sqrt(0.75))


def test_layout_points_at_the_cell_with_the_edges():
    grey = np.zeros((64, 64), dtype=np.float32)
    grey[18:22, 42:46] = 1.0  # within cell 2, 5
    layout = measure_layout(grey)
    assert layout.argmax() == 2 * 8 + 5
    assert np.linalg.norm(layout) == pytest.approx(1)
    assert layout.sum() == pytest.approx(0, abs=1e-5)
    assert not measure_layout(np.ones((64, 64), dtype=np.float32)).any()


def test_flatness_is_the_share_without_gradient():
    grey = np.zeros((11, 11), dtype=np.float32)
    grey[:, 5:] = 1.0
    assert measure_flatness(grey) == pytest.approx(0.9)  # one column of ten has the step


def draw(kind):
    rng = np.random.default_rng(5)
    blocks = Image.fromarray(rng.integers(0, 256, (12, 12, 3), dtype=np.uint8))
    sound = blocks.resize((384, 384), Image.Resampling.NEAREST)
    if kind == "blurred":
        return sound.filter(ImageFilter.GaussianBlur(3))
    if kind == "overexposed":
        return sound.point(lambda value: 150 + value * 105 // 255)
    if kind == "underexposed":
        return sound.point(lambda value: value // 4)
    return Image.new("RGB", (384, 384), (3, 90, 40)) if kind == "blank" else sound


@pytest.mark.parametrize("kind", ["sound", "blurred", "overexposed", "underexposed", "blank"])
def test_each_fault_is_found_and_no_other(kind):
    checks = {
        "blurred": pixels.is_blurred,
        "overexposed": pixels.is_overexposed,
        "underexposed": pixels.is_underexposed,
        "blank": pixels.is_blank,
    }
    found = [name for name, check in checks.items() if check(measure(draw(kind)))]
    assert found == ([] if kind == "sound" else [kind])


def test_working_copy_has_the_area_of_a_training_image_and_is_never_larger():
    assert fit_size(1600, 1200) == (591, 443)  # 512 * sqrt(4 / 3), 512 * sqrt(3 / 4)
    assert fit_size(300, 200) == (300, 200)


def test_jpeg_is_measured_upright_with_its_full_size(tmp_path):
    path = tmp_path / "a.jpg"
    exif = Image.Exif()
    exif[0x0112] = 6
    left = Image.new("RGB", (1600, 1200), "black")
    left.paste((255, 255, 255), (0, 0, 800, 1200))
    left.save(path, exif=exif)
    look = look_at(path)
    assert (look.facts.width, look.facts.height) == (1200, 1600)
    assert look.measures.copy[5, 32].min() > 240  # the left half has become the upper one
    assert look.measures.copy[60, 32].max() < 15


def test_transparency_is_a_share_of_the_pixels(tmp_path):
    image = Image.new("RGBA", (100, 50), (10, 200, 30, 255))
    image.paste((0, 0, 0, 0), (0, 0, 25, 50))
    image.save(tmp_path / "a.png")
    assert look_at(tmp_path / "a.png").measures.transparent == 0.25
