"""Examples as latents: read, fitted to their bucket, encoded by the VAE, kept by content."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional

from datasets_tools.buckets import Placement
from datasets_tools.errors import DatasetError
from datasets_tools.examples import Example, Finding
from datasets_tools.folders import scan_folders
from datasets_tools.masks import find_unused_masks
from trainer.config import DatasetConfig
from trainer.data.cache import TensorCache
from trainer.data.placing import EncodedExample, cut_image, cut_mask, place_examples
from trainer.data.store import TensorStore

# Raised when the way pixels become latents changes, so that old cache files are not found.
_LAYOUT = 1
Encode = Callable[[Tensor], tuple[Tensor, Tensor]]


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


def encode_examples(
    examples: Sequence[Example],
    config: DatasetConfig,
    sizes: tuple[int, int],
    encoder: tuple[str, Encode],
    cache: TensorCache,
    device: torch.device,
    report: Callable[[int, int], None],
) -> tuple[list[EncodedExample], LatentStore]:
    """Returns the examples with their buckets, and their latents on the device.

    Args:
        examples: What to encode.
        config: Buckets, trigger and flips.
        sizes: The step of bucket sides, and the side of the square bucket; from `choose_sizes`.
        encoder: Fingerprint of the VAE, and a function from pixels [1, 3, H, W] in -1 .. 1 to
            mean and std [1, C, h, w].
        cache: Where encoded images are looked for and kept.
        device: Where the latents will live.
        report: Called with (done, total) after each example.
    """
    store, placed = LatentStore(TensorStore(cache, device)), place_examples(examples, config, sizes)
    for index, (example, shown) in enumerate(zip(examples, placed, strict=True)):
        for flipped in (False, True) if config.flip else (False,):
            key, tensors = _encode_one(example, shown.placement, flipped, encoder, cache)
            store.add(index, flipped, tensors, *key)
            mask = cut_mask(example, shown.placement, flipped, config.masks)
            if mask is not None:
                store.add_mask(index, flipped, _shrink_mask(mask, tensors["mean"].shape[-2:]))
        report(index + 1, len(examples))
    return placed, store


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
        mean, std = encode(_to_pixels(cut_image(example, placement, flipped)))
        distribution = {"mean": mean[0].float().cpu(), "std": std[0].float().cpu()}
        cache.put(distribution, *key)
    return key, distribution


def _shrink_mask(mask: Image.Image, size: torch.Size) -> Tensor:
    """Returns a mask averaged over each latent pixel, [1, h, w] in 0 .. 1."""
    values = torch.from_numpy(np.array(mask, dtype=np.float32) / 255.0)[None, None]
    return functional.adaptive_avg_pool2d(values, (size[0], size[1]))[0]


def _to_pixels(image: Image.Image) -> Tensor:
    values = np.asarray(image, dtype=np.float32) / 127.5 - 1.0
    return torch.from_numpy(values).permute(2, 0, 1).unsqueeze(0).contiguous()  # [1, 3, H, W]
