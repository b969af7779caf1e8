"""Combining files with a progress bar; results as plain dicts."""

import contextlib
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from tqdm import tqdm

from trainer.combine import (
    FileSingularValues,
    MergeRequest,
    bake_files,
    convert_file,
    extract_file,
    measure_singular_values,
    merge_files,
    resize_file,
    scale_file,
    subtract_files,
)
from trainer.commands.libraries import quiet_libraries
from trainer.config import RankChoice
from trainer.files.verify.findings import Finding
from trainer.training.progress import log_line


def merge(request: MergeRequest) -> dict[str, Any]:
    """Merges adapter files; returns the fields of `SimilarityReport`.

    Findings about the result are printed before it is computed.

    Raises:
        CombineError, ExportError, ModelError: with what to do; nothing is written then.
    """
    quiet_libraries()
    with _show_progress(request.to.name) as progress:
        return merge_files(request, _print_findings, progress).to_dict()


def bake(
    base_model: Path, files: Sequence[tuple[Path, float]], to: Path, *, force: bool, subtract: bool
) -> dict[str, Any]:
    """Bakes adapters into a base model, or subtracts them from one.

    Args:
        base_model: A file or a folder.
        files: Adapter files and their weights.
        to: The file or folder to write.
        force: Replaces an existing result.
        subtract: Subtracts them.

    Raises:
        CombineError, ExportError, ModelError: with what to do; nothing is written then.
    """
    quiet_libraries()
    work = subtract_files if subtract else bake_files
    with _show_progress(to.name, unit="B") as progress:
        return asdict(work(base_model, files, to, force=force, progress=progress))


def extract(
    models: tuple[Path, Path], to: Path, choice: RankChoice, precision: str, *, force: bool
) -> dict[str, Any]:
    """Extracts a LoRA from two base models, the original one first.

    Raises:
        CombineError, ModelError: with what to do; nothing is written then.
    """
    quiet_libraries()
    with _show_progress(to.name) as progress:
        done = extract_file(
            *models,
            to,
            choice,
            precision,
            force=force,
            on_findings=_print_findings,
            progress=progress,
        )
    return asdict(done)


def resize(
    path: Path,
    to: Path,
    choice: RankChoice,
    precision: str,
    *,
    base_model: Path | None,
    force: bool,
) -> dict[str, Any]:
    """Changes the rank of an adapter file.

    Raises:
        CombineError, ExportError, ModelError: with what to do; nothing is written then.
    """
    quiet_libraries()
    with _show_progress(to.name) as progress:
        layers = resize_file(
            path,
            to,
            choice,
            precision,
            base_model=base_model,
            force=force,
            on_findings=_print_findings,
            progress=progress,
        )
    return {"layers": [asdict(layer) for layer in layers]}


def scale(
    path: Path,
    to: Path,
    patterns: Sequence[tuple[str, float]],
    precision: str,
    *,
    base_model: Path | None,
    force: bool,
) -> dict[str, Any]:
    """Multiplies the layers of an adapter file by factors.

    Raises:
        CombineError, ExportError, ModelError: with what to do; nothing is written then.
    """
    quiet_libraries()
    factors = scale_file(
        path,
        to,
        patterns,
        precision,
        base_model=base_model,
        force=force,
        on_findings=_print_findings,
    )
    return {"factors": factors}


def convert(
    path: Path,
    target: str,
    to: Path,
    *,
    precision: str,
    base_model: Path | None,
    force: bool,
) -> dict[str, Any]:
    """Gives the layers of an adapter file the names of another program.

    Raises:
        CombineError, ExportError, ModelError: with what to do; nothing is written then.
    """
    quiet_libraries()
    with _show_progress(to.name) as progress:
        done = convert_file(
            path,
            target,
            to,
            precision=precision,
            base_model=base_model,
            force=force,
            on_findings=_print_findings,
            progress=progress,
        )
    return asdict(done)


def measure_file(path: Path, base_model: Path | None) -> FileSingularValues:
    """Returns how strong each layer of a file is, and how much of its rank is used.

    Raises:
        CombineError, ExportError, ModelError: with what to do.
    """
    quiet_libraries()
    with _show_progress(path.name) as progress:
        return measure_singular_values(path, base_model, progress)


def _print_findings(findings: list[Finding]) -> None:
    for finding in findings:
        log_line(finding.to_line())


@contextlib.contextmanager
def _show_progress(name: str, unit: str = "layer") -> Iterator[Callable[[int, int], None]]:
    """Shows a bar on a terminal; a log file gets none, as this takes minutes at most."""
    bar = tqdm(
        desc=name, unit=unit, unit_scale=unit == "B", leave=False, disable=not sys.stderr.isatty()
    )

    def update(done: int, total: int) -> None:
        bar.total = total
        bar.update(done - bar.n)

    try:
        yield update
    finally:
        bar.close()
