"""Combining and changing files, with a bar; what came of it as plain tables."""

import contextlib
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from tqdm import tqdm

from trainer.combine import (
    FileSpectrum,
    MergeRequest,
    bake_files,
    extract_file,
    measure_spectrum,
    merge_files,
    resize_file,
    scale_file,
    subtract_files,
)
from trainer.commands.libraries import quiet_libraries
from trainer.config import RankChoice
from trainer.files.verify.findings import Finding
from trainer.training.progress import say


def merge(request: MergeRequest) -> dict[str, Any]:
    """Merges adapter files; returns the report of `InterferenceReport`.

    What programs will make of the result is said before it is computed.

    Raises:
        CombineError, ExportError, ModelError: with what to do; nothing is written then.
    """
    quiet_libraries()
    with _show_progress(request.to.name) as progress:
        return merge_files(request, _tell_findings, progress).to_dict()


def bake(
    base_model: Path, files: Sequence[tuple[Path, float]], to: Path, *, force: bool, out: bool
) -> dict[str, Any]:
    """Bakes adapters into a base model, or takes them out of one.

    Args:
        base_model: A file or a folder.
        files: Adapter files and their weights.
        to: What to write.
        force: Replaces what is there.
        out: Takes them out.

    Raises:
        CombineError, ExportError, ModelError: with what to do; nothing is written then.
    """
    quiet_libraries()
    work = subtract_files if out else bake_files
    with _show_progress(to.name, unit="B") as progress:
        return asdict(work(base_model, files, to, force=force, progress=progress))


def extract(
    models: tuple[Path, Path], to: Path, choice: RankChoice, precision: str, *, force: bool
) -> dict[str, Any]:
    """Takes a LoRA out of two base models, the plain one first.

    Raises:
        CombineError, ModelError: with what to do; nothing is written then.
    """
    quiet_libraries()
    with _show_progress(to.name) as progress:
        done = extract_file(
            *models, to, choice, precision, force=force, tell=_tell_findings, progress=progress
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
    """Gives an adapter file another rank.

    Raises:
        CombineError, ExportError, ModelError: with what to do; nothing is written then.
    """
    quiet_libraries()
    with _show_progress(to.name) as progress:
        kept = resize_file(
            path,
            to,
            choice,
            precision,
            base_model=base_model,
            force=force,
            tell=_tell_findings,
            progress=progress,
        )
    return {"layers": [asdict(layer) for layer in kept]}


def scale(
    path: Path,
    to: Path,
    patterns: Sequence[tuple[str, float]],
    precision: str,
    *,
    base_model: Path | None,
    force: bool,
) -> dict[str, Any]:
    """Gives the layers of an adapter file other strengths.

    Raises:
        CombineError, ExportError, ModelError: with what to do; nothing is written then.
    """
    quiet_libraries()
    factors = scale_file(
        path, to, patterns, precision, base_model=base_model, force=force, tell=_tell_findings
    )
    return {"factors": factors}


def measure_file(path: Path, base_model: Path | None) -> FileSpectrum:
    """Returns how strong each layer of a file is, and how much of its rank is used.

    Raises:
        CombineError, ExportError, ModelError: with what to do.
    """
    quiet_libraries()
    with _show_progress(path.name) as progress:
        return measure_spectrum(path, base_model, progress)


def _tell_findings(findings: list[Finding]) -> None:
    for finding in findings:
        say(finding.to_line())


@contextlib.contextmanager
def _show_progress(name: str, unit: str = "layer") -> Iterator[Callable[[int, int], None]]:
    """Shows a bar on a terminal; a log needs none, as this takes minutes at most."""
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
