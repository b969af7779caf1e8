"""Examples as latents: read, fitted to their bucket, encoded by the VAE, kept by content."""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor
from torch.nn import functional

from datasets_tools.buckets import Bucket, Placement, make_buckets, place_image
from datasets_tools.captions import add_trigger
from datasets_tools.crop import fit_image
from datasets_tools.errors import DatasetError
from datasets_tools.examples import Example, Finding
from datasets_tools.folders import scan_folders
from datasets_tools.images import read_image
from datasets_tools.masks import MaskSource, find_unused_masks, read_mask
from trainer.config import DatasetConfig
from trainer.data.cache import TensorCache
from trainer.data.store import TensorStore

# Raised when the way pixels become latents changes, so that old cache files are not found.
_LAYOUT = 1
Encode = Callable[[Tensor], tuple[Tensor, Tensor]]


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


class LatentStore:
    """The latents' distributions of all examples, and their masks.

    Args:
        store: Holds them.
    """

    def __init__(self, store: TensorStore) -> None:
        self._store, self._has_masks = store, False

    def add(self, index: int, flipped: bool, tensors: Mapping[str, Tensor], *key: object) -> None:
        """Adds the distribution of one example: mean and std, each [C, h, w].

        Args:
            index: Of the example.
            flipped: Whether it is mirrored.
            tensors: "mean" and "std".
            key: Under which the cache holds them.
        """
        self._store.add((index, flipped), tensors, *key)

    def add_mask(self, index: int, flipped: bool, mask: Tensor) -> None:
        """Adds which part of one example is learned, [1, h, w] in 0 .. 1."""
        self._store.add((index, flipped, "mask"), {"mask": mask})
        self._has_masks = True

    def masks(self, indices: Sequence[int], flips: Sequence[bool]) -> Tensor | None:
        """Returns the masks of a batch, [B, 1, h, w]; None where no example has one."""
        if not self._has_masks:
            return None
        masks: list[Tensor | None] = []
        for key in zip(indices, flips, strict=True):
            name = (*key, "mask")
            masks.append(self._store.get(name)["mask"] if name in self._store else None)
        known = next((mask for mask in masks if mask is not None), None)
        if known is None:
            known = self._store.get((indices[0], flips[0]))["mean"][:1]
        whole = torch.ones_like(known)
        return torch.stack([whole if mask is None else mask for mask in masks])

    def mean(self, index: int) -> Tensor:
        """Returns the mean of one example's distribution, not mirrored, [C, h, w]."""
        return self._store.get((index, False))["mean"]

    def sample(self, indices: Sequence[int], flips: Sequence[bool], noise: Tensor) -> Tensor:
        """Returns latents mean + std * noise, [B, C, h, w]."""
        rows = [self._store.get(key) for key in zip(indices, flips, strict=True)]
        mean = torch.stack([row["mean"] for row in rows])
        std = torch.stack([row["std"] for row in rows])
        return mean + std * noise


def read_training_examples(config: DatasetConfig) -> tuple[list[Example], list[Finding]]:
    """Returns the examples of a dataset that are trained on, and what is odd about it.

    Raises:
        DatasetError: the folder is missing, an image or a caption in it cannot be read, or none is
            left beside those that are held out.
    """
    training, _, findings = split_examples(config)
    return training, findings


def split_examples(config: DatasetConfig) -> tuple[list[Example], list[Example], list[Finding]]:
    """Returns the examples that are trained on, those that are held out, and what is odd.

    Raises:
        DatasetError: as for `read_training_examples`.
    """
    examples, findings = _read_examples(config)
    held_out = _choose_held_out(examples, config.held_out)
    return [each for each in examples if each not in held_out], held_out, findings


def _choose_held_out(examples: Sequence[Example], count: int) -> list[Example]:
    """The same ones each time, whatever their names: a run that is resumed must not learn them."""
    if count and count >= len(examples):
        msg = (
            f"dataset.held_out is {count}, but the dataset has {len(examples)} images, so none "
            "would be trained on. Lower it, or set it to 0."
        )
        raise DatasetError(msg)
    # By a hash of the content: neither the first ones by name, nor other ones after a new name.
    return sorted(examples, key=lambda each: (each.id, each.name))[:count]


def _read_examples(config: DatasetConfig) -> tuple[list[Example], list[Finding]]:
    if not config.path:
        msg = "No dataset is set. Give the folder of images with dataset.path."
        raise DatasetError(msg)
    examples, findings = scan_folders(Path(config.path), config.folders)
    # An image that is silently left out is noticed after the training, so nothing is left out.
    errors = [finding.message for finding in findings if finding.severity == "error"]
    if errors:
        raise DatasetError("\n".join(errors))
    if config.masks != "folder":
        findings += find_unused_masks(examples)
    return examples, findings


def bucket_step_for(step: int, size_step: int) -> int:
    """Returns the step of bucket sides: as wanted, or the smallest the model can take.

    Raises:
        DatasetError: the wanted step is no multiple of what the model can take.
    """
    if step and step % size_step:
        msg = (
            f"dataset.bucket_step is {step}, but this base model takes multiples of {size_step} "
            f"pixels. Set it to a multiple of {size_step}, or to 0."
        )
        raise DatasetError(msg)
    return step or size_step


def encode_examples(
    examples: Sequence[Example],
    config: DatasetConfig,
    step: int,
    resolution: int,
    encoder: tuple[str, Encode],
    cache: TensorCache,
    device: torch.device,
    report: Callable[[int, int], None],
) -> tuple[list[EncodedExample], LatentStore]:
    """Returns the examples with their buckets, and their latents on the device.

    Args:
        examples: What to encode.
        config: Buckets, trigger and flips.
        step: Bucket sides are multiples of this.
        resolution: Side of the square bucket.
        encoder: Fingerprint of the VAE, and a function from pixels [1, 3, H, W] in -1 .. 1 to
            mean and std [1, C, h, w].
        cache: Where encoded images are looked for and kept.
        device: Where the latents will live.
        report: Called with (done, total) after each example.
    """
    buckets = make_buckets(resolution, step, config.max_aspect)
    store, encoded = LatentStore(TensorStore(cache, device)), []
    for index, example in enumerate(examples):
        placement = place_image(example.width, example.height, buckets, step, config.max_upscale)
        for flipped in (False, True) if config.flip else (False,):
            key, tensors = _encode_one(example, placement, flipped, encoder, cache)
            store.add(index, flipped, tensors, *key)
            cells = tensors["mean"].shape[-2:]
            mask = _fit_mask(example, placement, flipped, config.masks, cells)
            if mask is not None:
                store.add_mask(index, flipped, mask)
        caption = add_trigger(example.caption, config.trigger)
        repeats = f"/{example.repeats}" if example.repeats != 1 else ""
        content = hashlib.sha256(f"{example.id}/{caption}{repeats}".encode()).hexdigest()[:16]
        size = (example.width, example.height)
        encoded.append(
            EncodedExample(example.name, content, caption, size, placement, example.repeats)
        )
        report(index + 1, len(examples))
    return encoded, store


def _encode_one(
    example: Example,
    placement: Placement,
    flipped: bool,
    encoder: tuple[str, Encode],
    cache: TensorCache,
) -> tuple[tuple[object, ...], dict[str, Tensor]]:
    """Returns the distribution of an image's latents, and its key in the cache."""
    fingerprint, encode = encoder
    key = (
        "latents",
        _LAYOUT,
        fingerprint,
        example.id,
        placement.resized,
        placement.crop,
        placement.bucket,
        flipped,
    )
    distribution = cache.get(*key)
    if distribution is None:
        image = fit_image(read_image(example.path), placement)
        if flipped:
            image = ImageOps.mirror(image)
        mean, std = encode(_to_pixels(image))
        distribution = {"mean": mean[0].float().cpu(), "std": std[0].float().cpu()}
        cache.put(distribution, *key)
    return key, distribution


def _fit_mask(
    example: Example,
    placement: Placement,
    flipped: bool,
    source: MaskSource,
    size: torch.Size,
) -> Tensor | None:
    """Returns an example's mask cut as its image was, averaged over each latent pixel."""
    mask = read_mask(example.path, source, (example.width, example.height))
    if mask is None:
        return None
    cut = fit_image(mask, placement)
    if flipped:
        cut = ImageOps.mirror(cut)
    values = torch.from_numpy(np.array(cut, dtype=np.float32) / 255.0)[None, None]
    return functional.adaptive_avg_pool2d(values, (size[0], size[1]))[0]  # [1, h, w]


def _to_pixels(image: Image.Image) -> Tensor:
    values = np.asarray(image.convert("RGB"), dtype=np.float32) / 127.5 - 1.0
    return torch.from_numpy(values).permute(2, 0, 1).unsqueeze(0).contiguous()  # [1, 3, H, W]
