"""Planted damage of known strength: every kind is seen, grows with it, and is 0 without."""

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageFilter

from tests.trainer.evaluation.test_measures import SIDE, draw_shape
from trainer.evaluation.damage import Damage, DamageRuler

BASE = [draw_shape(index) for index in range(6)]
TRAINING = [draw_shape(index) for index in range(6, 14)]


@pytest.fixture(scope="module")
def ruler():
    return DamageRuler(TRAINING, BASE)


def add_fragments(image, count):
    image, pen = image.copy(), None
    pen = ImageDraw.Draw(image)
    for index in range(count):
        x = 4 + 14 * index
        pen.rectangle((x, 112, x + 5, 117), fill="black")
    return image


def add_dirt(image, share):
    """Pale spots over a share of the rows at the top, where all shapes leave the ground free."""
    values = np.asarray(image).copy()
    values[: round(20 * share)] = 225
    return Image.fromarray(values)


def add_blur(image, share):
    """Blurs the left part of the shape."""
    edge = 20 + round(80 * share)
    soft = image.filter(ImageFilter.GaussianBlur(5))
    whole = image.copy()
    whole.paste(soft.crop((0, 0, edge, SIDE)), (0, 0))
    return whole


def erase(image, share):
    whole = image.copy()
    ImageDraw.Draw(whole).rectangle((0, 0, 20 + round(80 * share), SIDE), fill="white")
    return whole


PLANTS = {
    "fragments": (add_fragments, (1, 2, 4, 8)),
    "dirt": (add_dirt, (0.25, 0.5, 0.75, 1.0)),
    "blur": (add_blur, (0.3, 0.5, 0.7, 1.0)),
    "missing": (erase, (0.4, 0.5, 0.7, 0.9)),
}


@pytest.mark.parametrize("kind", PLANTS)
def test_planted_damage_grows_with_its_strength(ruler, kind):
    plant, strengths = PLANTS[kind]
    measured = [ruler.measure([plant(each, s) for each in BASE]) for s in strengths]
    own, totals = [getattr(each, kind) for each in measured], [each.total for each in measured]
    assert own == sorted(own)
    assert own[0] > 0.02
    assert own[-1] > max(0.4, own[0] + 0.2)
    assert totals == sorted(totals)


@pytest.mark.parametrize("kind", PLANTS)
def test_damage_of_one_image_is_less_than_of_all(ruler, kind):
    plant, strengths = PLANTS[kind]
    one = ruler.measure([plant(BASE[0], strengths[-1]), *BASE[1:]])
    every = ruler.measure([plant(each, strengths[-1]) for each in BASE])
    assert 0 < getattr(one, kind) < getattr(every, kind)


def test_whole_images_have_no_damage(ruler):
    assert ruler.measure(BASE).total == 0
    others = [draw_shape(index, colour="#999999") for index in range(6)]
    assert ruler.measure(others).total < 0.05


def test_what_the_training_images_have_is_no_damage():
    """A style with dots around its subjects."""
    dotted = [add_fragments(each, 4) for each in TRAINING]
    images = [add_fragments(each, 4) for each in BASE]
    assert DamageRuler(dotted, BASE).measure(images).fragments == 0
    assert DamageRuler(TRAINING, BASE).measure(images).fragments > 0.5


def test_another_ground_is_style_and_not_damage():
    night = [draw_shape(index, colour="#8080a0", ground="#203060") for index in range(6)]
    training = [draw_shape(index, colour="#8080a0", ground="#203060") for index in range(6, 14)]
    measured = DamageRuler(training, BASE).measure(night)
    assert measured.total < 0.05


def test_images_without_a_ground_have_no_fragments_or_dirt(ruler):
    numbers = np.random.default_rng(0)
    noise = [
        Image.fromarray(numbers.integers(0, 256, (SIDE, SIDE, 3), dtype=np.uint8)) for _ in BASE
    ]
    measured = ruler.measure(noise)
    assert (measured.fragments, measured.dirt, measured.missing) == (0, 0, 0)


def test_the_total_is_what_none_of_them_leaves_whole():
    assert Damage(0.5, 0.2, 0.0, 0.1).total == pytest.approx(1 - 0.5 * 0.8 * 0.9)
