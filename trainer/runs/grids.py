"""Grids of images over two settings: what each cell is, and where its image lies. No torch here.

    grid.png           the labelled grid, once every cell is there
    grid.json          its axes and cells
    grid-cells/        KEY.png, an image per cell

A cell's key is made of all that decides its image, so a grid that was ended, or that gets one
value more, generates only what is missing.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

from pydantic import ValidationError

from datasets_tools.files import explain_os_error, write_atomically
from trainer.formats.samplers import SAMPLERS
from trainer.runs.errors import RunError
from trainer.runs.folder import RunFolder
from trainer.runs.previews import AdapterChoice, PreviewRequest

AxisName = Literal["adapter", "step", "weight", "prompt", "seed", "sampler", "guidance"]
# In the order in which they are applied: a weight belongs to the adapters that the others choose.
AXES: tuple[AxisName, ...] = get_args(AxisName)
MOST_CELLS = 400


@dataclass(frozen=True)
class Axis:
    """One direction of a grid.

    Attributes:
        name: What varies.
        values: In their order: paths of LoRA files, steps of checkpoints, factors of all weights,
            texts, seeds, keys of `SAMPLERS`, or numbers.
    """

    name: AxisName
    values: tuple[Any, ...]

    def label(self, value: Any) -> str:
        """Returns what stands beside a row or above a column."""
        if self.name in {"prompt", "sampler"}:
            return str(value)
        shown = Path(value).stem if self.name == "adapter" else f"{value:g}"
        return shown if self.name == "adapter" else f"{self.name} {shown}"


@dataclass(frozen=True)
class Cell:
    """One image of a grid, by its place from 0."""

    row: int
    column: int
    request: PreviewRequest


@dataclass(frozen=True)
class Grid:
    """Images over two settings.

    Attributes:
        request: What the cells have in common; its adapters have their shares as weights.
        rows: What varies from row to row.
        columns: What varies from column to column.
        run: Whose checkpoints the steps of an axis are.
    """

    request: PreviewRequest
    rows: Axis
    columns: Axis
    run: RunFolder | None = None

    def list_cells(self) -> list[Cell]:
        """Returns the cells, row by row.

        Raises:
            RunError: a value cannot be generated with, or there are too many cells.
        """
        _check(self)
        return [
            Cell(row, column, self.apply({self.rows.name: one, self.columns.name: other}))
            for row, one in enumerate(self.rows.values)
            for column, other in enumerate(self.columns.values)
        ]

    def apply(self, values: Mapping[str, Any]) -> PreviewRequest:
        """Returns what all cells have in common, with values of some axes by name.

        Raises:
            RunError: a value cannot be generated with.
        """
        changes = self.request.model_dump()
        for name in (each for each in AXES if each in values):
            value = values[name]
            if name == "adapter":
                changes["adapters"] = (AdapterChoice(path=str(value)).model_dump(),)
            elif name == "step":
                changes["adapters"] = _replace_first(changes["adapters"], self._find(value))
            elif name == "weight":
                changes["adapters"] = tuple(
                    each | {"weight": each["weight"] * value} for each in changes["adapters"]
                )
            else:
                changes[name] = value
        try:
            return PreviewRequest.model_validate(changes)
        except ValidationError as error:
            first = error.errors()[0]
            place = " ".join(str(each) for each in first["loc"][-2:])
            msg = f"A cell of the grid is out of bounds: {place}: {first['msg'].lower()}."
            raise RunError(msg) from error

    def _find(self, step: int) -> Path:
        if self.run is None:
            raise RunError("Only a run has steps: name a run instead of a LoRA file.")
        return self.run.find_checkpoint(step).path / "adapter.safetensors"


@dataclass(frozen=True)
class GridFiles:
    """Where a grid lies."""

    image: Path

    @property
    def record(self) -> Path:
        """Its axes and cells as JSON."""
        return self.image.with_suffix(".json")

    @property
    def cells(self) -> Path:
        """The folder of its cells."""
        return self.image.with_name(f"{self.image.stem}-cells")

    def locate(self, key: str) -> Path:
        """Returns where the image of a cell lies."""
        return self.cells / f"{key}.png"


def make_keys(cells: Sequence[Cell]) -> list[str]:
    """Returns the key of each cell, from its settings and the content of its adapters.

    Raises:
        RunError: an adapter is missing or cannot be read.
    """
    known: dict[str, str] = {}
    for path in {each.path for cell in cells for each in cell.request.adapters}:
        known[path] = _hash(Path(path))
    keys = []
    for cell in cells:
        facts = cell.request.model_dump(mode="json")
        facts["base"] = _stamp(Path(cell.request.base_model.path))
        for adapter in facts["adapters"]:
            adapter["path"] = known[adapter["path"]]
        # At weight 0 an adapter changes nothing, so all of them have one image.
        facts["adapters"] = [
            each for each in facts["adapters"] if each["weight"] or each["text_weight"]
        ]
        text = json.dumps(facts, sort_keys=True)
        keys.append(hashlib.sha256(text.encode()).hexdigest()[:16])
    return keys


def write_record(grid: Grid, cells: Sequence[Cell], keys: Sequence[str], files: GridFiles) -> None:
    """Writes a grid's JSON; raises RunError where it cannot."""
    axes = {"rows": grid.rows, "columns": grid.columns}
    record = {
        name: {"axis": axis.name, "values": [_show(axis, each) for each in axis.values],
               "labels": [axis.label(each) for each in axis.values]}
        for name, axis in axes.items()
    } | {
        "settings": _show_request(grid.request),
        "cells": [
            {"row": cell.row, "column": cell.column, "key": key,
             "file": f"{files.cells.name}/{key}.png", "settings": _show_request(cell.request)}
            for cell, key in zip(cells, keys, strict=True)
        ],
    }  # fmt: skip
    try:
        files.cells.mkdir(parents=True, exist_ok=True)
        write_atomically(files.record, json.dumps(record, indent=1, ensure_ascii=False))
    except OSError as error:
        msg = f"{files.record} cannot be written: {explain_os_error(error)}"
        raise RunError(msg) from error


def _check(grid: Grid) -> None:
    if grid.rows.name == grid.columns.name:
        raise RunError(f"Rows and columns are both {grid.rows.name}: choose another one for one.")
    for axis in (grid.rows, grid.columns):
        if not axis.values:
            raise RunError(f"The axis {axis.name} has no value: give it one at least.")
        for value in axis.values:
            if axis.values.count(value) > 1:
                raise RunError(f"The axis {axis.name} has {axis.label(value)} more than once.")
    count = len(grid.rows.values) * len(grid.columns.values)
    if count > MOST_CELLS:
        raise RunError(
            f"The grid has {count} images, and {MOST_CELLS} are the most: leave out some."
        )
    samplers = {grid.request.sampler}
    for axis in (grid.rows, grid.columns):
        samplers |= set(axis.values) if axis.name == "sampler" else set()
    if unknown := sorted(samplers - {*SAMPLERS, ""}):
        names = ", ".join(SAMPLERS)
        raise RunError(f"There is no sampler {unknown[0]}. Choose one of: {names}.")
    chooses = {"adapter", "step"} & {grid.rows.name, grid.columns.name}
    if not grid.request.adapters and not chooses:
        raise RunError("Name a LoRA file or a run to generate with.")


def _replace_first(
    adapters: Sequence[Mapping[str, Any]], path: Path
) -> tuple[Mapping[str, Any], ...]:
    first = adapters[0] if adapters else AdapterChoice(path="").model_dump()
    return ({**first, "path": str(path)}, *adapters[1:])


def _hash(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except FileNotFoundError:
        raise RunError(f"There is no LoRA file at {path}.") from None
    except OSError as error:
        raise RunError(f"{path} cannot be read: {explain_os_error(error)}") from error


def _stamp(base_model: Path) -> list[int]:
    """Returns what changes when a base model is replaced: size and time of its file or index."""
    for path in (base_model / "model_index.json", base_model):
        try:
            facts = path.stat()
        except OSError:
            continue
        return [facts.st_size, facts.st_mtime_ns]
    return []


def _show(axis: Axis, value: Any) -> Any:
    return Path(value).name if axis.name == "adapter" else value


def _show_request(request: PreviewRequest) -> dict[str, Any]:
    """Returns the settings of an image without the folders of this computer."""
    shown = request.model_dump(mode="json", exclude={"count"})
    shown["base_model"] = Path(request.base_model.path).name
    for adapter in shown["adapters"]:
        path = Path(adapter["path"])
        is_checkpoint = path.name == "adapter.safetensors"
        adapter["path"] = f"{path.parent.name}/{path.name}" if is_checkpoint else path.name
    return shown
