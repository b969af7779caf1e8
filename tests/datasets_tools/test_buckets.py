"""Buckets cover the shapes of pictures, and every picture finds its place in one."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from datasets_tools.buckets import Bucket, count_buckets, make_buckets, place_image
from datasets_tools.errors import DatasetError

steps = st.sampled_from([8, 16, 32, 64])
sides = st.integers(64, 1536)
lengths = st.one_of(st.integers(1, 300), st.integers(1, 9000))


def test_buckets_at_512_are_these():
    assert [(bucket.width, bucket.height) for bucket in make_buckets(512, 64)] == [
        (384, 640),
        (448, 576),
        (512, 512),
        (576, 448),
        (640, 384),
    ]


def test_buckets_at_1024_hold_the_sizes_sdxl_was_trained_at():
    official = {(1024, 1024), (1152, 896), (896, 1152), (1216, 832), (832, 1216), (1344, 768)}
    buckets = {(bucket.width, bucket.height) for bucket in make_buckets(1024, 64)}
    assert official <= buckets


@given(sides, steps, st.floats(1, 4))
def test_buckets_keep_their_bounds_and_hold_all_that_fit(area_side, step, max_aspect):
    buckets = make_buckets(area_side, step, max_aspect)
    square = area_side // step * step
    assert Bucket(square, square) in buckets
    assert buckets == sorted(set(buckets))
    for bucket in buckets:
        assert bucket.width % step == bucket.height % step == 0
        assert bucket.width * bucket.height <= area_side**2
        assert max(bucket.aspect, 1 / bucket.aspect) <= max_aspect * (1 + 1e-9)
        assert Bucket(bucket.height, bucket.width) in buckets
        if bucket.width == bucket.height:
            continue
        taller = (bucket.width, bucket.height + step)
        wider = (bucket.width + step, bucket.height)
        assert math.prod(taller) > area_side**2 or math.prod(wider) > area_side**2
    for width in range(step, square * 2, step):
        height = area_side**2 // width // step * step
        if height and max(width / height, height / width) <= max_aspect:
            assert Bucket(width, height) in buckets


def test_numbers_that_allow_no_bucket_are_refused():
    with pytest.raises(DatasetError, match="resolution of 32 in steps of 64"):
        make_buckets(32, 64)
    with pytest.raises(DatasetError):
        make_buckets(512, 0)
    with pytest.raises(DatasetError, match=r"0\.5; it must be at least 1"):
        make_buckets(512, 64, 0.5)


@given(lengths, lengths, sides, steps, st.floats(1, 3))
def test_every_picture_gets_a_place_within_bounds(width, height, area_side, step, max_upscale):
    buckets = make_buckets(area_side, step)
    place = place_image(width, height, buckets, step, max_upscale)
    bucket = place.bucket
    assert bucket.width % step == bucket.height % step == 0
    assert min(bucket.width, bucket.height) >= step
    assert bucket.width * bucket.height <= area_side**2
    assert place.resized[0] >= bucket.width
    assert place.resized[1] >= bucket.height
    assert 0 <= place.crop[0] <= place.resized[0] - bucket.width
    assert 0 <= place.crop[1] <= place.resized[1] - bucket.height
    assert bucket.width in place.resized[:1] or bucket.height in place.resized[1:]
    assert place.upscaled == (place.scale > 1)
    assert 0 <= place.crop_fraction < 1
    for side, resized in ((width, place.resized[0]), (height, place.resized[1])):
        assert abs(side * place.scale - resized) <= 0.5 + 1e-6
    if place.scale > max_upscale * (1 + 1e-9):
        assert min(width, height) * max_upscale < step
    if bucket not in buckets:
        nearest = min(buckets, key=lambda one: abs(math.log(one.aspect * height / width)))
        assert max(nearest.width / width, nearest.height / height) > max_upscale


@given(lengths, lengths, sides, steps)
def test_large_picture_goes_to_the_nearest_shape(width, height, area_side, step):
    buckets = make_buckets(area_side, step)
    place = place_image(width, height, buckets, step, math.inf)
    distance = abs(math.log(place.bucket.aspect * height / width))
    for bucket in buckets:
        assert distance <= abs(math.log(bucket.aspect * height / width)) + 1e-12


@given(lengths, lengths, steps, st.floats(1, 3))
def test_turned_picture_gets_the_turned_size(width, height, step, max_upscale):
    buckets = make_buckets(512, step)
    place = place_image(width, height, buckets, step, max_upscale)
    turned = place_image(height, width, buckets, step, max_upscale)
    assert turned.scale == pytest.approx(place.scale) or width == height
    assert sorted(turned.resized) == sorted(place.resized)


@pytest.mark.parametrize(
    ("size", "bucket", "scale", "crop"),
    [
        ((512, 512), (512, 512), 1.0, (0, 0)),
        ((1024, 1024), (512, 512), 0.5, (0, 0)),
        ((1200, 800), (640, 384), 640 / 1200, (0, 21)),
        ((800, 1200), (384, 640), 640 / 1200, (21, 0)),
        ((480, 480), (512, 512), 512 / 480, (0, 0)),
        ((300, 300), (320, 320), 320 / 300, (0, 0)),
        ((300, 200), (320, 192), 320 / 300, (0, 10)),
        ((40, 40), (64, 64), 1.6, (0, 0)),
        ((3000, 100), (192, 64), 0.64, (864, 0)),
    ],
)
def test_known_pictures_land_where_a_person_would_put_them(size, bucket, scale, crop):
    place = place_image(*size, make_buckets(512, 64), 64, 1.25)
    assert (place.bucket.width, place.bucket.height) == bucket
    assert place.scale == pytest.approx(scale)
    assert place.crop == crop


def test_crop_fraction_is_the_share_that_is_lost():
    place = place_image(2000, 1000, [Bucket(512, 512)], 64, 1)
    assert place.crop_fraction == pytest.approx(0.5)
    assert place.crop == (256, 0)


def test_placing_without_buckets_or_with_shrinking_bound_is_refused():
    for buckets, max_upscale in (([], 1.0), ([Bucket(64, 64)], 0.5), ([Bucket(64, 64)], math.nan)):
        with pytest.raises(DatasetError, match="cannot be placed"):
            place_image(100, 100, buckets, 64, max_upscale)


def test_counts_are_by_bucket_and_in_order():
    sizes = [(512, 512), (1200, 800), (900, 900), (1000, 1000)]
    counts = count_buckets(sizes, make_buckets(512, 64), 64, 1.25)
    assert counts == {Bucket(512, 512): 3, Bucket(640, 384): 1}
    assert list(counts) == sorted(counts)
