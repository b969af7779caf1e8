"""Rows of an interrupted quality benchmark, so that the same command goes on after them."""

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
# What a row depends on besides its own settings: code, presets, images and the starter model.
SOURCES = ("benchmarks", "datasets_tools", "presets", "trainer", "examples")
SUFFIXES = {".py", ".json", ".yaml", ".toml", ".png", ".txt", ".safetensors"}
RESULTS = Path("benchmarks", "results")  # written by the benchmarks, read by none


class StoredRows:
    """Measured rows in a folder, one JSON file each; without a folder nothing is kept.

    A row counts only for the settings and the checkout that it was measured with.
    """

    def __init__(self, folder: Path | None, settings: dict[str, Any]) -> None:
        self.folder = folder
        self.key = _digest(settings) if folder else ""

    def read(self, name: str) -> dict[str, Any] | None:
        """Returns a row that was measured before, or None."""
        path = self._path(name)
        if path is None or not path.exists():
            return None
        row: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        return row

    def write(self, name: str, row: dict[str, Any]) -> None:
        """Keeps a row; the file is there whole or not at all."""
        path = self._path(name)
        if path is None:
            return
        path.parent.mkdir(parents=True, exist_ok=True)
        begun = path.with_suffix(".unfinished")
        begun.write_text(json.dumps(row, indent=1) + "\n", encoding="utf-8")
        begun.replace(path)

    def _path(self, name: str) -> Path | None:
        return self.folder / self.key / f"{name}.json" if self.folder else None


def _digest(settings: dict[str, Any]) -> str:
    digest = hashlib.sha256(json.dumps(settings, sort_keys=True).encode())
    for path in _list_sources():
        digest.update(path.as_posix().encode())
        digest.update(hashlib.sha256((ROOT / path).read_bytes()).digest())
    return digest.hexdigest()[:16]


def _list_sources() -> Iterator[Path]:
    for folder in SOURCES:
        for path in sorted((ROOT / folder).rglob("*")):
            inside = path.relative_to(ROOT)
            if path.suffix in SUFFIXES and path.is_file() and inside.parent != RESULTS:
                yield inside
