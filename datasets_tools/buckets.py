"""Buckets: the sizes that batches share, and which of them an image is trained at.

Training a batch needs images of one size, and cutting everything square throws away half of a
tall portrait. So there is a short list of sizes of about the same area, and every image is
resized to cover the one nearest to its own shape, then cut to it around the centre.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass

from datasets_tools.errors import DatasetError


@dataclass(frozen=True, order=True)
class Bucket:
    """A size in pixels, both sides multiples of the step."""

    width: int
    height: int

    @property
    def aspect(self) -> float:
        """Width divided by height."""
        return self.width / self.height


@dataclass(frozen=True)
class Placement:
    """How one image gets into its bucket: resize by `scale`, then cut.

    Attributes:
        bucket: The size the image ends up with.
        scale: Resize factor; above 1 the image is enlarged.
        resized: Width and height after the resize, before the cut; they cover the bucket.
        crop: Left and top of the cut within the resized image.
        upscaled: Whether the image is enlarged at all.
        crop_fraction: The share of the resized image's area that the cut takes away.
    """

    bucket: Bucket
    scale: float
    resized: tuple[int, int]
    crop: tuple[int, int]
    upscaled: bool
    crop_fraction: float


def make_buckets(area_side: int, step: int, max_aspect: float = 2.0) -> list[Bucket]:
    """Return all buckets for a resolution, ordered by width, then height.

    A bucket's sides are multiples of `step`, its area is at most that of the square of
    `area_side`, and its longer side is at most `max_aspect` times the shorter one. For every
    width there is the tallest such bucket and for every height the widest, so a portrait finds
    the turned bucket of a landscape. The square of the largest multiple of `step` that fits is
    always among them.

    Raises:
        DatasetError: The numbers allow no bucket.
    """
    if step < 1 or area_side < step:
        raise DatasetError(
            f"No bucket fits a resolution of {area_side} in steps of {step} pixels. "
            "Use a resolution of at least one step."
        )
    if max_aspect < 1:
        raise DatasetError(
            f"The largest aspect ratio of a bucket is {max_aspect:g}; it must be at least 1."
        )
    area = area_side * area_side
    square = area_side // step * step
    buckets = {Bucket(square, square)}
    for side in range(step, area // step + 1, step):
        other = area // side // step * step
        if other and max(side, other) <= max_aspect * min(side, other):
            buckets |= {Bucket(side, other), Bucket(other, side)}
    return sorted(buckets)


def place_image(
    width: int, height: int, buckets: list[Bucket], step: int, max_upscale: float
) -> Placement:
    """Return how an image of this size is trained.

    It goes to the bucket whose aspect ratio is nearest, compared as logarithms so that 2:1 and
    1:2 are equally far from a square. Where that would enlarge it by more than `max_upscale`, it
    goes to a smaller bucket of about the same shape, down to one step a side.

    Raises:
        DatasetError: There are no buckets, or a number makes no sense.
    """
    if not buckets or min(width, height, step) < 1 or not max_upscale >= 1:
        raise DatasetError(
            f"An image of {width} x {height} pixels cannot be placed in {len(buckets)} buckets "
            f"with a step of {step} and an upscale of at most {max_upscale:g}. At least one "
            "bucket is needed, sizes of at least 1 and an upscale of at least 1."
        )
    aspect = width / height
    bucket = min(buckets, key=lambda one: (_distance(one, aspect), -one.width * one.height, one))
    scale = _scale_to_cover(width, height, bucket)
    if scale > max_upscale:
        bucket = _shrink_bucket(bucket, max_upscale / scale, aspect, step)
        scale = _scale_to_cover(width, height, bucket)
    resized = (round(width * scale), round(height * scale))
    return Placement(
        bucket=bucket,
        scale=scale,
        resized=resized,
        crop=((resized[0] - bucket.width) // 2, (resized[1] - bucket.height) // 2),
        upscaled=scale > 1,
        crop_fraction=1 - bucket.width * bucket.height / (resized[0] * resized[1]),
    )


def count_buckets(
    sizes: Iterable[tuple[int, int]], buckets: list[Bucket], step: int, max_upscale: float
) -> dict[Bucket, int]:
    """Return how many images of these (width, height) sizes land in each bucket that is used."""
    counts: dict[Bucket, int] = {}
    for width, height in sizes:
        bucket = place_image(width, height, buckets, step, max_upscale).bucket
        counts[bucket] = counts.get(bucket, 0) + 1
    return dict(sorted(counts.items()))


def _distance(bucket: Bucket, aspect: float) -> float:
    return abs(math.log(bucket.aspect / aspect))


def _scale_to_cover(width: int, height: int, bucket: Bucket) -> float:
    return max(bucket.width / width, bucket.height / height)


def _shrink_bucket(bucket: Bucket, factor: float, aspect: float, step: int) -> Bucket:
    """Return the best bucket of at most `factor` times this one's sides.

    Rounding down to multiples of the step bends the shape of a small bucket, so one step less on
    either side is tried too. The best one keeps the most pixels; cut-off parts count double.
    """

    def keep(one: Bucket) -> float:
        return one.width * one.height * math.exp(-2 * _distance(one, aspect))

    def fit(side: int) -> list[int]:
        largest = max(step, int(side * factor) // step * step)
        return [largest, max(step, largest - step)]

    candidates = [Bucket(w, h) for w in fit(bucket.width) for h in fit(bucket.height)]
    return max(candidates, key=lambda one: (keep(one), one))
