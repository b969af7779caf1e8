"""Style, structure and copies: values worked out by hand, and orders that a person would give."""

import math

import numpy as np
import pytest
import torch
from PIL import Image, ImageDraw, ImageFilter

from trainer.evaluation.copies import find_nearest, make_copy_ruler, measure_likeness
from trainer.evaluation.ground import list_parts, measure_ground, widen
from trainer.evaluation.histograms import measure_energy_distance
from trainer.evaluation.structure import compare_rows, describe_content, describe_outlines
from trainer.evaluation.style import close_distance, count_features, make_ruler

SIDE = 128


def draw_shape(index, *, colour=None, ground="white"):
    """An outlined shape that differs in kind, size, place and colour by its index."""
    image = Image.new("RGB", (SIDE, SIDE), ground)
    pen = ImageDraw.Draw(image)
    colours = ["#d04030", "#3060c0", "#30a050", "#e0b020"]
    box = (20 + 3 * (index % 5), 25 + 2 * (index % 4), 95 + 2 * (index % 6), 100 - index % 7)
    draw = pen.ellipse if index % 2 else pen.rectangle
    draw(box, fill=colour or colours[index % 4], outline="black", width=4)
    return image


@pytest.fixture(scope="module")
def shapes():
    return [draw_shape(index) for index in range(8)]


# --- ground -------------------------------------------------------------------------------------


def test_ground_is_what_reaches_the_border_and_has_its_colour():
    image = Image.new("RGB", (SIDE, SIDE), (10, 20, 80))
    pen = ImageDraw.Draw(image)
    pen.rectangle((30, 30, 89, 89), outline="white", width=3)  # encloses ground
    ground = measure_ground(image)
    assert ground.uniform
    assert ground.colour == (10, 20, 80)
    assert ground.silhouette.sum() == 60 * 60
    assert ground.silhouette[60, 60]


def test_ground_around_a_corner_is_ground():
    image = Image.new("RGB", (SIDE, SIDE), "white")
    pen = ImageDraw.Draw(image)
    pen.line([(20, 20), (100, 20), (100, 100), (20, 100), (20, 40), (80, 40), (80, 80)],
             fill="black", width=5)  # a spiral that is open  # fmt: skip
    assert not measure_ground(image).silhouette[60, 60]


def test_an_image_without_a_uniform_border_has_no_ground():
    noise = np.random.default_rng(0).integers(0, 256, (SIDE, SIDE, 3), dtype=np.uint8)
    assert not measure_ground(Image.fromarray(noise)).uniform


def test_parts_are_counted_by_area_and_connect_at_corners():
    mask = np.zeros((20, 20), dtype=bool)
    mask[2:5, 2:5] = True
    mask[5, 5] = True  # touches the first at a corner
    mask[10:12, 10:14] = True
    assert list_parts(mask) == [10, 8]
    assert widen(mask, 1).sum() > mask.sum()


# --- style --------------------------------------------------------------------------------------


def test_energy_distance_is_the_formula():
    first, second = np.array([[0.0], [2.0]]), np.array([[1.0], [5.0]])
    # 2 * mean(1, 5, 1, 3) - 2 - 4
    assert measure_energy_distance(first, second) == pytest.approx(2 * 2.5 - 2 - 4)


@pytest.mark.parametrize(
    "change",
    [
        lambda image: image.convert("L").convert("RGB"),
        lambda image: image.filter(ImageFilter.GaussianBlur(2)),
        lambda image: Image.eval(image, lambda level: round(level * 0.8)),  # the ground turns grey
    ],
    ids=["without colour", "blurred", "grey ground"],
)
def test_what_differs_from_the_style_is_farther_than_the_style(shapes, change):
    ruler = make_ruler(shapes[:4])
    assert ruler.measure([change(each) for each in shapes[4:]]) > 2 * max(
        0.05, ruler.measure(shapes[4:])
    )


def test_more_images_in_colour_are_farther_from_a_style_without():
    plain = [draw_shape(index, colour="black") for index in range(16)]
    ruler = make_ruler(plain[:8])
    distances = [
        ruler.measure([draw_shape(index) for index in range(8, 8 + count)] + plain[8 + count :])
        for count in (0, 2, 4, 8)
    ]
    assert distances == sorted(distances)
    assert distances[1] > distances[0] + 0.1


def test_whole_images_and_the_ground_are_counted_by_colour():
    image = Image.new("RGB", (SIDE, SIDE), "white")
    ImageDraw.Draw(image).rectangle((32, 32, 95, 95), fill="#ff0000")  # a quarter
    light, colour, blue, red, ground_light, ground_colour = count_features(image)[16:]
    assert np.allclose(colour[:10], 0.75)  # the rest is grey, and red is nearly the last bin
    assert light[2] == pytest.approx(0, abs=1e-9)  # red has a lightness of 0.3
    assert light[5] == pytest.approx(0.25)
    assert np.allclose(ground_light, 0)  # all in the last bin
    assert np.allclose(ground_colour, 1)  # all in the first
    assert blue[4] == pytest.approx(0.25, abs=0.01)
    assert red[9] == pytest.approx(0.75, abs=0.01)


def test_the_share_closed_is_that_of_the_base_distance():
    assert close_distance(0.5, 2.0) == 0.75
    assert close_distance(3.0, 2.0) == 0.0
    assert close_distance(-0.1, 2.0) == 1.0


# --- structure ----------------------------------------------------------------------------------


def test_cosines_are_the_formula():
    first = np.array([[1.0, 0.0], [1.0, 1.0], [0.0, 0.0]])
    second = np.array([[2.0, 0.0], [1.0, -1.0], [1.0, 0.0]])
    assert compare_rows(first, second) == pytest.approx([1.0, 0.0, 0.0])
    assert compare_rows(first, -first) == pytest.approx([-1.0, -1.0, 0.0])


def test_content_is_coarse_and_without_what_all_share():
    latents = torch.zeros(2, 1, 16, 16)
    latents[0] += 5
    latents[1] += 7
    rows = describe_content(latents)
    assert rows.shape == (2, 64)
    assert np.allclose(rows, [[-1.0] * 64, [1.0] * 64])


def test_outlines_survive_another_colour_and_not_another_shape(shapes):
    night = [draw_shape(index, colour="#8080a0", ground="#203060") for index in range(8)]
    same = compare_rows(describe_outlines(shapes), describe_outlines(night))
    other = compare_rows(describe_outlines(shapes), describe_outlines(shapes[1:] + shapes[:1]))
    assert np.allclose(describe_outlines(shapes).mean(axis=1), 0)
    assert same.min() > 0.85
    assert other.mean() < same.min() - 0.1


# --- copies -------------------------------------------------------------------------------------


def test_the_nearest_training_image_is_the_one_with_the_largest_cosine():
    training = np.array([[1.0, 0.0], [0.0, 1.0], [-1.0, 0.0]])
    nearest = find_nearest(np.array([[1.0, 2.0], [-3.0, 0.1]]), training)
    assert [each.index for each in nearest] == [1, 2]
    assert nearest[0].likeness == pytest.approx(2 / math.sqrt(5))


def test_the_threshold_is_four_deviations_above_strangers_in_fishers_z():
    training = np.array([[1.0, 0.0], [0.0, 1.0]])  # their likeness is 0
    angles = (0.5, 0.7, 0.75)
    strangers = np.array([[math.cos(each), math.sin(each)] for each in angles])
    z = np.arctanh([max(math.cos(each), math.sin(each)) for each in angles])
    ruler = make_copy_ruler(training, [strangers])
    assert ruler.threshold == pytest.approx(math.tanh(z.mean() + 4 * z.std()))
    assert ruler.known == 5
    assert ruler.most_false_alarms == pytest.approx(3 / 5)


def test_planted_copies_are_found_and_strangers_are_not():
    numbers = np.random.default_rng(0)
    training, strangers, others = (numbers.normal(size=(n, 64)) for n in (16, 32, 500))
    ruler = make_copy_ruler(training, [strangers])
    copies = training + 0.3 * numbers.normal(size=training.shape)
    assert [each.index for each in ruler.find(copies)] == list(range(16))
    assert all(each.likeness > ruler.threshold for each in ruler.find(copies))
    false_alarms = np.mean([each.likeness > ruler.threshold for each in ruler.find(others)])
    assert false_alarms <= 0.01


def test_identical_training_images_do_not_make_everything_or_nothing_a_copy():
    rows = np.random.default_rng(0).normal(size=(6, 64))
    training = np.concatenate([rows, rows[:1]])
    ruler = make_copy_ruler(training, [])
    assert 0.1 < ruler.threshold < 0.95
    assert measure_likeness(rows, rows).shape == (6, 6)
