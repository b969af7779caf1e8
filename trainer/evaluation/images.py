"""The images of an evaluation: generated once, stored small in the run's folder, read again."""

import contextlib
import hashlib
import io
from collections.abc import Sequence
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor

from datasets_tools.disk import remove_quietly
from datasets_tools.examples import Example
from datasets_tools.files import write_atomically
from datasets_tools.images import read_image
from trainer.models import Family
from trainer.runs import Checkpoint
from trainer.training.measurement import to_pixels

FOLDER = "evaluation"  # within the run's
_LARGEST_SIDE = 256  # pixels; what is measured is measured at 128
_BATCH = 8  # images that the VAE encodes at once


class ImageStore:
    """Images by cell, each in a file of its own: what was generated once is not again.

    Args:
        root: The folder of the evaluation.
        key: Names the settings; what was stored under others is removed.
    """

    def __init__(self, root: Path, key: str) -> None:
        self.root, self.path = root, root / f"images-{key}"
        self.path.mkdir(parents=True, exist_ok=True)
        for other in root.glob("images-*"):
            if other != self.path:
                remove_quietly(other)

    def read(self, cell: str, index: int) -> Image.Image | None:
        """Returns a stored image; None where there is none, or it cannot be read."""
        with contextlib.suppress(OSError, SyntaxError), Image.open(self._name(cell, index)) as file:
            return file.convert("RGB")
        return None

    def write(self, cell: str, index: int, image: Image.Image) -> Image.Image:
        """Stores an image, small, and returns it as it was stored.

        Raises:
            OSError: it cannot be written.
        """
        small = image.convert("RGB")
        small.thumbnail((_LARGEST_SIDE, _LARGEST_SIDE), Image.Resampling.LANCZOS)
        encoded = io.BytesIO()
        small.save(encoded, format="PNG")
        path = self._name(cell, index)
        path.parent.mkdir(exist_ok=True)
        write_atomically(path, encoded.getvalue())
        return small

    def _name(self, cell: str, index: int) -> Path:
        return self.path / cell / f"{index:02d}.png"


def name_checkpoint(checkpoint: Checkpoint) -> str:
    """Returns a name for a checkpoint by its step and its weights.

    Raises:
        OSError: it cannot be read.
    """
    content = (checkpoint.path / "adapter.safetensors").read_bytes()
    return f"step-{checkpoint.step:06d}-{hashlib.sha256(content).hexdigest()[:8]}"


def choose_side(family: Family) -> int:
    """Returns the side in pixels at which images are encoded for measuring."""
    side = min(family.default_resolution, _LARGEST_SIDE)
    return max(family.size_step, side - side % family.size_step)


def read_training_images(examples: Sequence[Example]) -> list[Image.Image]:
    """Returns the images of a dataset, at most 512 pixels along a side.

    Raises:
        DatasetError: one cannot be read.
    """
    images = []
    for example in examples:
        image = read_image(example.path).convert("RGB")
        image.thumbnail((2 * _LARGEST_SIDE, 2 * _LARGEST_SIDE), Image.Resampling.LANCZOS)
        images.append(image)
    return images


def encode(family: Family, images: Sequence[Image.Image]) -> Tensor:
    """Returns the mean latents of images' middle squares, scaled, [images, C, h, w], on the CPU."""
    side = choose_side(family)
    rows = []
    with torch.no_grad():
        for start in range(0, len(images), _BATCH):
            chosen = images[start : start + _BATCH]
            pixels = torch.cat([to_pixels(image, side) for image in chosen])
            rows.append(family.encode_images(pixels).mean.float().cpu())
    return torch.cat(rows)


def decode(family: Family, latents: Tensor, device: torch.device) -> list[Image.Image]:
    """Returns what the VAE makes of latents: the best image that the base model can generate."""
    images = []
    for each in latents:
        images += to_images(family.decode(each[None].to(device)).float())
    return images


def to_images(pixels: Tensor) -> list[Image.Image]:
    """Returns images of pixels in -1 .. 1, [B, 3, H, W]; what is beyond is cut off."""
    levels = ((pixels.clamp(-1, 1) + 1) * 127.5).round().to(torch.uint8)
    return [Image.fromarray(each) for each in levels.permute(0, 2, 3, 1).cpu().numpy()]
