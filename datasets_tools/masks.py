"""Masks: which part of an image is to be learned. White is learned, black is not."""

from collections.abc import Sequence
from io import BytesIO
from pathlib import Path
from typing import Literal

from PIL import Image

from datasets_tools.decode import DAMAGE, TURNS, damaged, load_image, open_image, read_orientation
from datasets_tools.errors import DatasetError, show_name
from datasets_tools.examples import Example, Finding
from datasets_tools.files import save_for_person
from datasets_tools.images import IMAGE_SUFFIXES, read_size
from datasets_tools.sidecars import MASK_FOLDER, Neighbours

MaskSource = Literal["off", "folder", "alpha"]

# Two decimals of aspect ratio: a mask that was made at another size may be rounded by a pixel.
_ASPECT_TOLERANCE = 0.02


def read_mask(image_path: Path, source: MaskSource, size: tuple[int, int]) -> Image.Image | None:
    """Return the mask of an image in its upright size, 8-bit grey; None where it has none.

    Args:
        image_path: The image.
        source: "folder" looks for the mask of the image's name (see `find_mask`), "alpha" takes the
            image's own transparency: what is transparent is not learned.
        size: Width and height of the upright image.

    Raises:
        DatasetError: The mask is damaged or has another shape than its image.
    """
    if source == "off":
        return None
    if source == "alpha":
        return _read_channel(image_path, "A")
    path = find_mask(image_path)
    if path is None:
        return None
    mask = _read_channel(path, "L")
    if mask is None or _has_other_shape(mask, size):
        shape = f"{mask.width} x {mask.height}" if mask else "unknown"
        raise DatasetError(
            f"The mask {_show_mask(path)} has another shape ({shape} pixels) than its "
            f"image ({size[0]} x {size[1]}). Save it with the image's proportions, at any size."
        )
    return mask.resize(size, Image.Resampling.BILINEAR)


def find_mask(image_path: Path, neighbours: Neighbours | None = None) -> Path | None:
    """Return where an image's mask lies: `masks/NAME`, else `NAME-masklabel` beside it.

    Either may have the ending of any image format. `neighbours` are the files of its folder, where
    they have been listed already.
    """
    for suffix in sorted(IMAGE_SUFFIXES):
        path = image_path.parent / MASK_FOLDER / f"{image_path.stem}{suffix}"
        if path.is_file():
            return path
    beside = (neighbours or Neighbours(image_path.parent)).list_masks(image_path.name)
    return image_path.with_name(beside[0]) if beside else None


def import_mask(source: Path, image_path: Path) -> Path:
    """Take a mask into the mask folder of an image of a dataset, and return where it lies.

    Raises:
        DatasetError: It cannot be read, has another shape than the image, or cannot be written.
    """
    mask, (width, height) = _read_channel(source, "L"), read_size(image_path)
    path = image_path.parent / MASK_FOLDER / f"{image_path.stem}.png"
    if mask is None or _has_other_shape(mask, (width, height)):
        raise DatasetError(
            f"The mask {show_name(source)} has another shape than its image "
            f"({width} x {height} pixels), so it was not added. Save it with the same proportions."
        )
    memory = BytesIO()
    mask.save(memory, "PNG")
    path.parent.mkdir(exist_ok=True)
    save_for_person(path, memory.getvalue(), f"The mask {show_name(source)}")
    return path


def find_unused_masks(examples: Sequence[Example]) -> list[Finding]:
    """Return a warning where images have masks, for a training that does not use these."""
    folders = {one.path.parent: Neighbours(one.path.parent) for one in examples}
    names = [one.path for one in examples if find_mask(one.path, folders[one.path.parent])]
    if not names:
        return []
    masks = "1 image has a mask" if len(names) == 1 else f"{len(names)} images have masks"
    message = (
        f"Not used: {masks} ({show_name(names[0])}{', …' if len(names) > 1 else ''}). Set "
        "dataset.masks to folder to learn only what is white in them."
    )
    return [Finding("warning", "unused_masks", message, None)]


def _has_other_shape(mask: Image.Image, size: tuple[int, int]) -> bool:
    return abs(mask.width / mask.height * size[1] / size[0] - 1) > _ASPECT_TOLERANCE


def _show_mask(path: Path) -> str:
    folder = f"{MASK_FOLDER}/" if path.parent.name == MASK_FOLDER else ""
    return f"{folder}{show_name(path)}"


def _read_channel(path: Path, channel: Literal["A", "L"]) -> Image.Image | None:
    with open_image(path) as image:
        try:
            turn = read_orientation(path, image)
            loaded = load_image(path, image)
            if channel == "A":
                if not loaded.has_transparency_data:
                    return None
                grey = loaded.convert("RGBA").getchannel("A")
            else:
                grey = loaded.convert("L")
            return grey.transpose(TURNS[turn]) if turn in TURNS else grey
        except DAMAGE as error:
            raise damaged(path) from error
