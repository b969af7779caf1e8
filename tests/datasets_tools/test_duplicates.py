"""The same picture is found resized, encoded anew, cut and mirrored; others are not."""

from io import BytesIO

import numpy as np
import pytest
from PIL import Image

from datasets_tools.checks.duplicates import (
    describe,
    find_pairs,
    fit_error,
    list_parts,
    worst_cell,
)


def draw(seed, size=300):
    rng = np.random.default_rng(seed)
    small = Image.fromarray(rng.integers(0, 256, (9, 9, 3), dtype=np.uint8))
    return small.resize((size, size), Image.Resampling.BICUBIC)


def copy_of(image):
    return np.asarray(image.resize((64, 64), Image.Resampling.BOX))


def encode(image):
    memory = BytesIO()
    image.save(memory, "JPEG", quality=40)
    return Image.open(memory).convert("RGB")


CHANGES = {
    "resized": lambda image: image.resize((140, 140)),
    "encoded": encode,
    "cut": lambda image: image.crop((20, 35, 270, 285)),
    "cut to another shape": lambda image: image.crop((0, 40, 300, 270)),
    "mirrored": lambda image: image.transpose(Image.Transpose.FLIP_LEFT_RIGHT),
    "mirrored and cut": lambda image: CHANGES["cut"](CHANGES["mirrored"](image)),
}


@pytest.mark.parametrize("name", CHANGES)
def test_changed_copy_is_found_among_others(name):
    images = [copy_of(draw(seed)) for seed in range(6)] + [copy_of(CHANGES[name](draw(3)))]
    pairs = find_pairs(np.stack(images))
    assert [{pair.first, pair.second} for pair in pairs] == [{3, 6}]
    assert pairs[0].mirrored == name.startswith("mirrored")
    assert pairs[0].error < 0.08


def test_a_part_names_the_whole_as_the_first():
    images = np.stack([copy_of(CHANGES["cut"](draw(1))), copy_of(draw(1))])
    assert [(pair.first, pair.second) for pair in find_pairs(images)] == [(1, 0)]


def test_same_ground_with_another_subject_is_no_copy():
    one, other = draw(1), draw(1)
    other.paste((250, 250, 250), (110, 110, 190, 190))
    assert find_pairs(np.stack([copy_of(one), copy_of(other)])) == []


def test_windows_are_as_many_as_their_steps_allow():
    parts = list_parts()
    assert len(parts) == 1 + 3 * 3 + 5 * 5 + 7 * 7
    assert all(left + share <= 1.001 and top + share <= 1.001 for left, top, share in parts)


def test_description_is_the_mean_of_each_cell():
    image = np.zeros((1, 64, 64, 3), dtype=np.uint8)
    image[0, :, 32:] = 255  # the right three of six columns
    described = describe(image, [(0.0, 0.0, 1.0)])[0, 0].reshape(6, 6, 3)
    assert described[:, 3:] == pytest.approx(1 / np.sqrt(108), abs=1e-4)
    assert described[:, :3] == pytest.approx(-1 / np.sqrt(108), abs=1e-4)


def test_error_is_that_of_the_worst_cell():
    one = np.zeros((32, 32, 3), dtype=np.float32)
    other = one.copy()
    other[:2, :4] = 1.0  # half of one cell of 4 x 4 pixels
    assert worst_cell(one, other) == pytest.approx(np.sqrt(0.5))


def test_fit_finds_a_window_that_was_not_among_those_looked_at():
    whole, part = draw(7), draw(7).crop((31, 22, 262, 259))
    rough = fit_error(copy_of(whole), copy_of(part), (0.1, 0.05, 0.8))
    assert rough < 0.04
