"""Contact sheets: the suggestion beside the base model and the last checkpoint; and the copies."""

import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from PIL import Image

from datasets_tools.disk import remove_file
from datasets_tools.files import write_atomically
from trainer.evaluation.plan import Prompt
from trainer.inference.sampling import make_grid

SHEET = "suggestion.png"
COPIES = "copies.png"

Sets = Mapping[tuple[int, float], Sequence[Image.Image]]


def write_suggestion_sheet(
    folder: Path,
    prompts: Sequence[Prompt],
    base: Sequence[Image.Image],
    sets: Sets,
    chosen: tuple[int, float],
    last: int,
) -> Path:
    """Writes a row per prompt: base model, suggestion, last checkpoint at the weight next to 1.

    Args:
        folder: Where to.
        prompts: Of the rows.
        base: The base model's images.
        sets: Images by step and weight.
        chosen: Step and weight of the suggestion.
        last: Step of the last checkpoint.
    """
    usual = min((weight for _, weight in sets), key=lambda weight: abs(weight - 1))
    columns = {"base model": base, f"step {chosen[0]}, {chosen[1]:g}": sets[chosen]}
    columns[f"step {last}, {usual:g}"] = sets[last, usual]
    rows = list(zip(*columns.values(), strict=True))
    path = folder / SHEET
    _save(path, rows, [prompt.text for prompt in prompts], list(columns))
    return path


def write_copy_sheet(
    folder: Path,
    warnings: Sequence[Mapping[str, Any]],
    sets: Sets,
    training: Sequence[Image.Image],
) -> None:
    """Writes each image that repeats a training image beside that one; without any, no file."""
    path = folder / COPIES
    if not warnings:
        remove_file(path, missing_ok=True)
        return
    rows = [
        (sets[each["step"], each["weight"]][each["index"]], training[each["place"]])
        for each in warnings
    ]
    names = [f"step {each['step']}: {each['prompt']}" for each in warnings]
    _save(path, rows, names, ["generated", "trained on"])


def _save(
    path: Path,
    rows: Sequence[Sequence[Image.Image]],
    row_names: Sequence[str],
    column_names: Sequence[str],
) -> None:
    side = max(max(image.size) for row in rows for image in row)
    even = [[image.convert("RGB").resize((side, side)) for image in row] for row in rows]
    encoded = io.BytesIO()
    make_grid(even, row_names, column_names).save(encoded, format="PNG")
    write_atomically(path, encoded.getvalue())
