"""How examples are shown: the bucket, the cut and the whole caption of each."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from PIL import Image, ImageOps

from datasets_tools.buckets import Bucket, Placement, make_buckets, place_image
from datasets_tools.captions import add_trigger
from datasets_tools.crop import fit_image
from datasets_tools.errors import DatasetError
from datasets_tools.examples import Example
from datasets_tools.images import read_image
from datasets_tools.masks import MaskSource, read_mask
from trainer.config import DatasetConfig


@dataclass(frozen=True)
class EncodedExample:
    """An example ready for training.

    Attributes:
        name: File name of the image, below its group where it has one.
        content: Hash of the image's bytes, of the caption and of how often it is shown; changes
            when one of them does.
        caption: With the trigger in front.
        original: Width and height of the image, in pixels.
        placement: How it was cut to its bucket.
        repeats: How often it is shown in an epoch.
    """

    name: str
    content: str
    caption: str
    original: tuple[int, int]
    placement: Placement
    repeats: int = 1

    @property
    def bucket(self) -> Bucket:
        """Its size in pixels."""
        return self.placement.bucket


class TakesSizes(Protocol):
    """What the sizes of training images depend on: a loaded base model, or its headers."""

    @property
    def size_step(self) -> int:
        """Image sides must be multiples of this many pixels."""

    @property
    def default_resolution(self) -> int:
        """The side in pixels of a square image of the base model's own size."""


def choose_sizes(config: DatasetConfig, model: TakesSizes) -> tuple[int, int]:
    """Returns the step of bucket sides and the side of the square bucket, in pixels.

    Raises:
        DatasetError: the settings do not suit what the model can take.
    """
    step, resolution = config.bucket_step, config.resolution or model.default_resolution
    if step % model.size_step:
        msg = (
            f"dataset.bucket_step is {step}, but this base model takes multiples of "
            f"{model.size_step} pixels. Set it to a multiple of {model.size_step}, or to 0."
        )
        raise DatasetError(msg)
    step = step or model.size_step
    if resolution < step:
        msg = (
            f"dataset.resolution is {resolution}, but this base model needs at least {step} pixels."
        )
        raise DatasetError(msg)
    return step, resolution


def place_examples(
    examples: Sequence[Example], config: DatasetConfig, sizes: tuple[int, int]
) -> list[EncodedExample]:
    """Returns the examples as they are shown: each with its bucket, cut and whole caption.

    Args:
        examples: Of a folder.
        config: Buckets and trigger.
        sizes: The step of bucket sides, and the side of the square bucket; from `choose_sizes`.
    """
    step, resolution = sizes
    buckets = make_buckets(resolution, step, config.max_aspect)
    placed = []
    for example in examples:
        size = (example.width, example.height)
        placement = place_image(*size, buckets, step, config.max_upscale)
        caption = add_trigger(example.caption, config.trigger)
        repeats = f"/{example.repeats}" if example.repeats != 1 else ""
        content = hashlib.sha256(f"{example.id}/{caption}{repeats}".encode()).hexdigest()[:16]
        placed.append(
            EncodedExample(example.name, content, caption, size, placement, example.repeats)
        )
    return placed


def cut_image(example: Example, placement: Placement, flipped: bool) -> Image.Image:
    """Returns an example's image as the VAE gets it: RGB, of its bucket's size.

    Raises:
        DatasetError: it cannot be read.
    """
    image = fit_image(read_image(example.path), placement).convert("RGB")
    return ImageOps.mirror(image) if flipped else image


def cut_mask(
    example: Example, placement: Placement, flipped: bool, source: MaskSource
) -> Image.Image | None:
    """Returns an example's mask, 8-bit grey, cut as its image is; None where it has none.

    Raises:
        DatasetError: it cannot be read, or has another shape than the image.
    """
    mask = read_mask(example.path, source, (example.width, example.height))
    if mask is None:
        return None
    cut = fit_image(mask, placement)
    return ImageOps.mirror(cut) if flipped else cut
