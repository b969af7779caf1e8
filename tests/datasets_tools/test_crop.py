"""Cut pictures have exactly their bucket's size and show the right part."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageChops

from datasets_tools.buckets import Bucket, make_buckets, place_image
from datasets_tools.crop import fit_image


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 700), st.integers(1, 700), st.floats(1, 3))
def test_any_picture_comes_out_in_the_size_of_its_bucket(width, height, max_upscale):
    place = place_image(width, height, make_buckets(256, 32), 32, max_upscale)
    image = fit_image(Image.new("RGB", (width, height)), place)
    assert image.size == (place.bucket.width, place.bucket.height)


def test_picture_of_the_right_size_is_unchanged():
    image = Image.radial_gradient("L").convert("RGB")
    place = place_image(256, 256, make_buckets(256, 64), 64, 1)
    assert fit_image(image, place).tobytes() == image.tobytes()


def test_middle_is_kept_and_ends_are_cut():
    image = Image.new("RGB", (400, 100), "red")
    image.paste("blue", (140, 0, 260, 100))
    fitted = fit_image(image, place_image(400, 100, [Bucket(64, 64)], 64, 1))
    assert fitted.getcolors() == [(64 * 64, (0, 0, 255))]


@pytest.mark.parametrize("size", [(700, 400), (401, 700), (300, 300)])
def test_result_equals_resizing_everything_and_then_cutting(size):
    image = Image.radial_gradient("L").resize(size).convert("RGB")
    place = place_image(*size, make_buckets(256, 64), 64, 2)
    left, top = place.crop
    whole = image.resize(place.resized, Image.Resampling.LANCZOS)
    slow = whole.crop((left, top, left + place.bucket.width, top + place.bucket.height))
    difference = ImageChops.difference(fit_image(image, place), slow)
    assert max(high for _, high in difference.getextrema()) <= 1


def test_endless_strip_does_not_need_endless_memory():
    image = Image.new("RGB", (2_000_000, 16), "blue")
    place = place_image(2_000_000, 16, make_buckets(512, 64), 64, 1.25)
    assert place.resized[0] * place.resized[1] > 500_000_000
    assert fit_image(image, place).getpixel((0, 0)) == (0, 0, 255)
