"""Taggers of the WD family: the tags of an image as booru sites use them, by an ONNX model.

They come from https://huggingface.co/SmilingWolf; which tag an output stands for is listed in
`selected_tags.csv`. Ratings are left out.
"""

import csv
import re
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

from datasets_tools.captioners.extras import require_package
from datasets_tools.captioners.options import CaptionerOptions, Describe
from datasets_tools.captioners.wording import cut_tags
from datasets_tools.errors import DatasetError, show_name

MODEL_FILE, TAGS_FILE = "model.onnx", "selected_tags.csv"
# What the taggers' author uses: a wrong name of a character harms more than a wrong detail.
GENERAL_THRESHOLD, CHARACTER_THRESHOLD = 0.35, 0.85

_GENERAL, _CHARACTER = 0, 4  # categories in the list of tags; 9 is a rating
_PROVIDERS = {
    "auto": ("CUDAExecutionProvider", "CPUExecutionProvider"),
    "cuda": ("CUDAExecutionProvider",),
    "cpu": ("CPUExecutionProvider",),
}


class Tag(NamedTuple):
    """What one output of the model stands for."""

    words: str
    category: int


def load_tagger(folder: Path, options: CaptionerOptions) -> Describe:
    """Loads a tagger; its captions are tags with commas, characters first, then the surest.

    Raises:
        DatasetError: onnxruntime is not installed, the model is damaged or none of this family,
            or there is no such device.
    """
    require_package("onnxruntime", "tagger")
    tags = read_tags(folder / TAGS_FILE)
    session = _open_session(folder / MODEL_FILE, options.device)
    side = _find_side(session, show_name(folder))
    name = session.get_inputs()[0].name

    def look(image: Image.Image) -> Any:
        (scores,) = session.run(None, {name: prepare_image(image, side)})
        return scores[0]  # [tags]

    known = len(look(Image.new("RGB", (side, side))))
    if known != len(tags):
        msg = (
            f"The model in {show_name(folder)} knows {known} tags and its list {len(tags)}, so "
            "they do not belong together. Download the captioner again."
        )
        raise DatasetError(msg)

    def describe(image: Image.Image) -> str:
        chosen = choose_tags(tags, look(image), options.threshold)
        return cut_tags(", ".join(chosen), options.max_words)

    return describe


def read_tags(path: Path) -> list[Tag]:
    """Returns what the outputs of a tagger stand for, in their order.

    Raises:
        DatasetError: the list is missing or damaged.
    """
    try:
        with path.open(encoding="utf-8", newline="") as file:
            rows = list(csv.DictReader(file))
        return [Tag(show_tag(row["name"]), int(row["category"])) for row in rows]
    except (OSError, ValueError, KeyError, TypeError, csv.Error) as error:
        msg = (
            f"The list of tags {show_name(path)} is missing in {show_name(path.parent)}, or "
            "damaged. Download the captioner again."
        )
        raise DatasetError(msg) from error


def show_tag(name: str) -> str:
    """Returns a tag with spaces for underscores, but ^_^ and the like as they are."""
    return name.replace("_", " ") if re.search(r"[^\W_]{2}", name) else name


def choose_tags(tags: list[Tag], scores: Any, threshold: float) -> list[str]:
    """Returns the tags that are sure enough: characters, then the general ones, surest first.

    Args:
        tags: As `read_tags`.
        scores: How sure the model is of each, 0 .. 1.
        threshold: For general tags; 0 takes the usual. A character has to be as sure as usual, or
            as this where it is more.
    """
    least = {
        _CHARACTER: max(threshold, CHARACTER_THRESHOLD),
        _GENERAL: threshold or GENERAL_THRESHOLD,
    }
    sure = [
        (list(least).index(tag.category), -float(score), tag.words)
        for tag, score in zip(tags, scores, strict=True)
        if tag.category in least and score >= least[tag.category]
    ]
    return [words for _, _, words in sorted(sure)]


def prepare_image(image: Image.Image, side: int) -> Any:
    """Returns an image as the model was trained with: square on white, BGR, 0 .. 255."""
    longest = max(image.size)
    square = Image.new("RGB", (longest, longest), "white")
    square.paste(image, ((longest - image.width) // 2, (longest - image.height) // 2))
    pixels = np.asarray(square.resize((side, side), Image.Resampling.BICUBIC), np.float32)
    return np.ascontiguousarray(pixels[None, :, :, ::-1])  # [1, side, side, 3]


def _open_session(path: Path, device: str) -> Any:
    import onnxruntime

    onnxruntime.set_default_logger_severity(4)  # only what is fatal
    there = onnxruntime.get_available_providers()
    providers = [each for each in _PROVIDERS.get(device, ()) if each in there]
    if not providers:
        msg = f"The tagger finds no device {device} here. Choose auto or cpu for --device."
        raise DatasetError(msg)
    if not path.is_file():
        msg = (
            f"{show_name(path.parent)} has no {path.name}, so it is not a tagger. Download it "
            f"again."
        )
        raise DatasetError(msg)
    try:
        return onnxruntime.InferenceSession(path, providers=providers)
    # Its errors have no class of their own in common.
    except Exception as error:
        msg = f"{path.name} in {show_name(path.parent)} is damaged. Download the captioner again."
        raise DatasetError(msg) from error


def _find_side(session: Any, name: str) -> int:
    """Returns the edge of the images that a model takes."""
    inputs = session.get_inputs()
    shape = inputs[0].shape if len(inputs) == len(session.get_outputs()) == 1 else []
    # [batch, height, width, 3]
    if len(shape) != 4 or shape[3] != 3 or not isinstance(shape[1], int):
        msg = f"The model in {name} is not a tagger of the WD family. Choose one of SmilingWolf's."
        raise DatasetError(msg)
    return int(shape[1])
