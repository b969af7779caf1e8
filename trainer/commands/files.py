"""Adapter files: what one is, and whether it means the same everywhere."""

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from trainer.export import ExportError, read_settings
from trainer.files.inspect import inspect_file
from trainer.files.read import open_header
from trainer.files.verify import verify_file
from trainer.files.verify.findings import Finding


def describe_as_text(path: Path) -> str:
    """Returns what an adapter file is, for a person.

    Raises:
        ExportError: the file is missing, damaged or no adapter.
    """
    return inspect_file(path).to_text()


def describe_file(path: Path) -> dict[str, Any]:
    """Returns what an adapter file is, with its header and the settings of the run that made it.

    Raises:
        ExportError: the file is missing, damaged or no adapter.
    """
    description = inspect_file(path).to_dict()
    metadata = open_header(path).metadata
    try:
        settings = read_settings(metadata)
    except ExportError as error:  # about the header alone: all else is still known
        settings = {}
        description["findings"] = [*description["findings"], f"warning: {error}"]
    return description | {"settings": settings, "header": dict(metadata)}


def verify_files(paths: Sequence[Path]) -> list[tuple[Path, list[Finding]]]:
    """Returns what is wrong with each file; nothing for a clean one."""
    return [(path, verify_file(path)) for path in paths]


def list_findings(verified: Sequence[tuple[Path, list[Finding]]]) -> list[dict[str, Any]]:
    """Returns the findings of files as plain tables, for JSON."""
    return [
        {"file": str(path), "findings": [asdict(finding) for finding in findings]}
        for path, findings in verified
    ]
