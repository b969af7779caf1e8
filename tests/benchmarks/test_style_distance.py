"""The style distance orders sets of pictures as a person would."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageFilter

from benchmarks.style_distance import SIDE, StyleRuler, find_foreground

ROOT = Path(__file__).resolve().parents[2]


def read_folder(path):
    images = [Image.open(each).convert("RGB") for each in sorted(path.glob("*.png"))]
    return [image.resize((SIDE, SIDE), Image.Resampling.LANCZOS) for image in images]


@pytest.fixture(scope="module")
def held_out():
    return read_folder(ROOT / "benchmarks" / "data" / "openmoji-heldout" / "images")


@pytest.fixture(scope="module")
def training_set():
    return read_folder(ROOT / "examples" / "openmoji-style" / "images")


@pytest.fixture(scope="module")
def base_pictures():
    """Twelve of the evaluation prompts as the starter model draws them without an adapter."""
    with Image.open(Path(__file__).with_name("base-model-pictures.png")) as sheet:
        corners = [
            (x, y) for y in range(0, sheet.height, SIDE) for x in range(0, sheet.width, SIDE)
        ]
        return [sheet.crop((x, y, x + SIDE, y + SIDE)) for x, y in corners]


@pytest.fixture(scope="module")
def ruler(held_out):
    """Every other held-out picture; the rest stay free to be measured."""
    return StyleRuler(held_out[::2])


@pytest.fixture(scope="module")
def other_half(held_out):
    return held_out[1::2]


def test_pictures_of_the_style_are_at_zero(ruler, other_half):
    assert abs(ruler.measure(other_half)) < 0.1


def test_the_reference_itself_is_not_above_zero(ruler, held_out):
    # Shared pictures push an unbiased estimate below zero, never above.
    assert -0.2 < ruler.measure(held_out[::2]) <= 0


def test_training_pictures_of_the_style_are_nearer_than_the_base_model(
    ruler, training_set, base_pictures
):
    assert ruler.measure(training_set) < 0.1 * ruler.measure(base_pictures)


def test_two_halves_of_the_style_are_nearer_than_the_base_model(ruler, other_half, base_pictures):
    assert ruler.measure(other_half) < 0.1 * ruler.measure(base_pictures)


def test_another_drawing_style_is_far(ruler, other_half):
    mascot = read_folder(ROOT / "examples" / "mascot-character" / "images")
    assert ruler.measure(mascot) > 10 * abs(ruler.measure(other_half))


def test_distance_grows_with_blur(ruler, other_half):
    found = [
        ruler.measure([image.filter(ImageFilter.GaussianBlur(radius)) for image in other_half])
        for radius in (0.0, 0.5, 1.0, 2.0, 4.0)
    ]
    assert found == sorted(found)
    assert found[2] > found[0] + 0.5


def test_random_noise_is_farther_than_any_drawing(ruler, base_pictures):
    noise = np.random.default_rng(3)
    images = [
        Image.fromarray(noise.integers(0, 256, (SIDE, SIDE, 3), dtype=np.uint8)) for _ in range(12)
    ]
    assert ruler.measure(images) > ruler.measure(base_pictures)


def test_order_of_the_pictures_does_not_matter(ruler, base_pictures, held_out):
    shuffled = base_pictures[7:] + base_pictures[:7]
    assert ruler.measure(shuffled) == pytest.approx(ruler.measure(base_pictures), abs=1e-9)
    turned = StyleRuler(held_out[::2][::-1])
    assert turned.measure(base_pictures) == pytest.approx(ruler.measure(base_pictures), abs=1e-9)


def test_turned_and_mirrored_pictures_keep_their_style(ruler, other_half):
    turned = [image.transpose(Image.Transpose.ROTATE_90) for image in other_half]
    mirrored = [image.transpose(Image.Transpose.FLIP_LEFT_RIGHT) for image in other_half]
    assert ruler.measure(turned) == pytest.approx(ruler.measure(other_half), abs=0.02)
    assert ruler.measure(mirrored) == pytest.approx(ruler.measure(other_half), abs=1e-6)


def test_hue_is_no_part_of_the_style(ruler, other_half, base_pictures):
    def swap(image):
        light, blue, red = image.convert("YCbCr").split()
        return Image.merge("YCbCr", (light, red, blue)).convert("RGB")

    # The swapped colours that a screen cannot show are clipped, so it is not exactly zero.
    moved = ruler.measure([swap(image) for image in other_half])
    assert moved < 0.2 * ruler.measure(base_pictures)


def test_where_a_drawing_stands_on_the_page_does_not_matter(ruler, other_half):
    def move(image):
        page = Image.new("RGB", image.size, "white")
        page.paste(image, (0, 3))
        return page

    moved = [move(image) for image in other_half]
    assert ruler.measure(moved) == pytest.approx(ruler.measure(other_half), abs=0.05)


def test_drawing_is_what_is_not_white_and_a_rim():
    page = Image.new("RGB", (SIDE, SIDE), "white")
    assert find_foreground(page).sum() == 0
    page.putpixel((40, 50), (255, 220, 255))
    foreground = find_foreground(page)
    assert foreground.sum() == 13 * 13
    assert foreground[50, 40] == foreground[44, 34] == 1


def test_a_set_of_one_grey_page_is_measured(ruler):
    pages = [Image.new("RGB", (SIDE, SIDE), "white"), Image.new("RGB", (SIDE, SIDE), "grey")]
    assert np.isfinite(ruler.measure(pages))
