"""What a run will be shown, before it starts: a list, and the images as the VAE gets them."""

import io
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image, ImageDraw

from datasets_tools.files import write_atomically
from datasets_tools.names import explain_path
from trainer.commands.libraries import quiet_libraries
from trainer.config import DatasetConfig, RunConfig
from trainer.data import ShownExample, choose_sizes, list_shown
from trainer.models import check_config
from trainer.runs import RunError
from trainer.runs.base_models import locate_base_model
from trainer.seeds import derive_seed
from trainer.training.sources import make_prior_dataset, scan_datasets

SHEET = "batches.png"
LIST = "batches.json"

_THUMBNAIL = 192
_TEXT_LINES = 3
_LINE_HEIGHT = 13
_GAP = 8
_HIDDEN = 0.25  # the strength with which what a mask leaves out is shown


@dataclass(frozen=True)
class Row:
    """One example of a step.

    Attributes:
        step: From 1.
        what: "dataset", or "class images" for those of prior preservation.
        shown: The example.
        config: The settings of its folder.
    """

    step: int
    what: str
    shown: ShownExample
    config: DatasetConfig

    def to_dict(self, file: str) -> dict[str, Any]:
        """Returns what a program wants to know; `file` is its image's name, "" without one."""
        shown, example = self.shown, self.shown.example
        placement = example.placement
        return {
            "step": self.step,
            "batch": shown.batch + 1,
            "of": self.what,
            "image": str(shown.source.path),
            "caption": shown.caption,
            "bucket": [placement.bucket.width, placement.bucket.height],
            "original": list(example.original),
            "resized": list(placement.resized),
            "crop": list(placement.crop),
            "cut_off": round(placement.crop_fraction, 4),
            "flipped": shown.flipped,
            "masked": shown.read_mask(self.config) is not None,
            "seed": shown.seed,
            "file": file,
        }

    def to_text(self) -> str:
        """Returns one line for a person, without the caption."""
        placement, (width, height) = self.shown.example.placement, self.shown.example.original
        facts = [f"{placement.bucket.width}×{placement.bucket.height} of {width}×{height}"]
        if placement.crop_fraction >= 0.005:
            facts.append(f"{placement.crop_fraction:.0%} cut off")
        if placement.upscaled:
            facts.append(f"enlarged {placement.scale:.2f}×")
        if self.shown.flipped:
            facts.append("mirrored")
        if self.what != "dataset":
            facts.append(self.what)
        return f"{self.shown.source.path.name}: {', '.join(facts)}"


def list_batches(config: RunConfig, models: Path, steps: tuple[int, int]) -> list[Row]:
    """Returns what some steps of a run hold, in the order in which the trainer takes it.

    Args:
        config: The run's settings.
        models: The workspace's folder of base models, for a hub id.
        steps: The first one, from 1, and how many.

    Raises:
        DatasetError, ModelError, RunError: the run could not start.
    """
    first, count = steps
    if first < 1 or count < 1:
        msg = f"Steps {first} to {first + count - 1} cannot be shown. Ask for one step or more."
        raise RunError(msg)
    quiet_libraries()
    info = check_config(locate_base_model(config.base_model, models))
    scans, train = scan_datasets(config), config.train
    sources = [("dataset", scans.dataset.examples, config.dataset, train.seed)]
    if scans.prior is not None:
        seed = derive_seed(train.seed, "prior")
        sources.append(("class images", scans.prior.examples, make_prior_dataset(config), seed))
    batches = ((first - 1) * train.accumulate, count * train.accumulate)
    rows = []
    for what, examples, dataset, seed in sources:
        sizes = choose_sizes(dataset, info)
        rows += [
            Row(shown.batch // train.accumulate + 1, what, shown, dataset)
            for shown in list_shown(examples, dataset, sizes, train.batch_size, seed, batches)
        ]
    return sorted(rows, key=lambda row: row.shown.batch)  # stable: the dataset's come first


def describe_batches(rows: Sequence[Row]) -> str:
    """Returns the rows as text."""
    lines: list[str] = []
    for before, row in zip([None, *rows], rows, strict=False):
        if before is None or before.step != row.step:
            lines.append(f"step {row.step}")
        lines += [f"  {row.to_text()}", f"    {row.shown.caption or '(empty caption)'}"]
    return "\n".join(lines)


def write_batches(rows: Sequence[Row], folder: Path) -> list[dict[str, Any]]:
    """Writes each image as the VAE gets it, a list of all, and a sheet; returns the list.

    Args:
        rows: From `list_batches`.
        folder: Where to; files of the same names are replaced.

    Raises:
        RunError, DatasetError, OSError: with what to do.
    """
    if problem := explain_path(folder):
        raise RunError(problem)
    folder.mkdir(parents=True, exist_ok=True)
    entries, cells = [], []
    for number, row in enumerate(rows, start=1):
        name = f"{number:04d}-step-{row.step}.png"
        image = row.shown.read_image()
        write_atomically(folder / name, _encode(image))
        entries.append(row.to_dict(name))
        cells.append((row, _draw_mask(image, row.shown.read_mask(row.config))))
    listed = json.dumps(entries, indent=1, ensure_ascii=False)
    write_atomically(folder / LIST, f"{listed}\n".encode())
    write_atomically(folder / SHEET, _encode(_draw_sheet(cells)))
    return entries


def _encode(image: Image.Image) -> bytes:
    encoded = io.BytesIO()
    image.save(encoded, format="PNG")
    return encoded.getvalue()


def _draw_mask(image: Image.Image, mask: Image.Image | None) -> Image.Image:
    """Returns the image with what is not learned made light."""
    if mask is None:
        return image
    light = Image.blend(Image.new("RGB", image.size, "white"), image, _HIDDEN)
    return Image.composite(image, light, mask)


def _draw_sheet(cells: Sequence[tuple[Row, Image.Image]]) -> Image.Image:
    """Returns a row of images per step, each with its caption below it."""
    steps: dict[int, list[tuple[Row, Image.Image]]] = {}
    for row, image in cells:
        steps.setdefault(row.step, []).append((row, image))
    height = _THUMBNAIL + (_TEXT_LINES + 1) * _LINE_HEIGHT + _GAP
    across = max(len(members) for members in steps.values())
    head = 60
    sheet = Image.new("RGB", (head + across * (_THUMBNAIL + _GAP), len(steps) * height), "white")
    pen = ImageDraw.Draw(sheet)
    for line, (step, members) in enumerate(steps.items()):
        top = line * height
        pen.text((6, top + _THUMBNAIL // 2), f"step {step}", fill="black", anchor="lm")
        for column, (row, image) in enumerate(members):
            left = head + column * (_THUMBNAIL + _GAP)
            image.thumbnail((_THUMBNAIL, _THUMBNAIL))
            place = (left, top + _THUMBNAIL - image.height)
            sheet.paste(image, place)
            size = row.shown.example.bucket
            mirrored = ", mirrored" if row.shown.flipped else ""
            below = top + _THUMBNAIL + 2
            facts = f"{size.width} x {size.height}{mirrored}"  # the font of Pillow has no ×
            pen.text((left, below), facts, fill="gray")
            text = "\n".join(_wrap(row.shown.caption or "(empty caption)", pen))
            pen.multiline_text((left, below + _LINE_HEIGHT), text, fill="black", spacing=1)
    return sheet


def _wrap(text: str, pen: ImageDraw.ImageDraw) -> list[str]:
    """Returns a text in lines as wide as a cell, cut with "…" where there are too many."""
    lines = [""]
    for word in text.split():
        longer = f"{lines[-1]} {word}".strip()
        if pen.textlength(longer) <= _THUMBNAIL or not lines[-1]:
            lines[-1] = longer
        else:
            lines.append(word)
    if len(lines) > _TEXT_LINES:
        lines = [*lines[: _TEXT_LINES - 1], f"{lines[_TEXT_LINES - 1]} …"]
    return lines
