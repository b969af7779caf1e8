"""What was measured on images, by content, kept on the disk so that a dataset opens at once."""

import hashlib
import threading
import zipfile
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from datasets_tools.checks.duplicates import Pair
from datasets_tools.checks.measures import Measures, stack
from datasets_tools.disk import read_bytes
from datasets_tools.errors import DatasetError
from datasets_tools.files import write_atomically
from datasets_tools.images import FileState, ImageFacts, fingerprint

FORMAT = 1  # another number whenever a measure has another meaning
LARGEST_FILE = 256 * 1024**2
_DAMAGE = (OSError, ValueError, KeyError, TypeError, IndexError, EOFError, zipfile.BadZipFile)


class MeasureCache:
    """The measures of images, found by the state of a file, or by its content.

    Args:
        path: The file that it is loaded from and saved to; None keeps it in memory only. A file
            that cannot be read, or is of another version, is ignored.
    """

    def __init__(self, path: Path | None = None) -> None:
        self.path = path
        self._lock = threading.Lock()
        self._ids: dict[tuple[str, FileState], str] = {}
        self._known: dict[str, tuple[ImageFacts, Measures]] = {}
        self._pairs: dict[str, list[Pair]] = {}
        self._changed = False
        if path is not None:
            self._load(path)

    def find_facts(self, path: Path, state: FileState) -> ImageFacts | None:
        """Returns what is known of an image file; None where it was never looked at.

        A file that is new, or was moved or touched, is found by its content.
        """
        known = self._find(path, state)
        return known[0] if known else None

    def find_measures(self, content: str) -> Measures | None:
        """Returns the measures of an image by its content id."""
        known = self._known.get(content)
        return known[1] if known else None

    def has_state(self, path: Path, state: FileState) -> bool:
        """Returns whether a file is known without reading it."""
        return (path.name, state) in self._ids

    def add(self, path: Path, state: FileState, facts: ImageFacts, measures: Measures) -> None:
        """Adds what was found out about an image file."""
        with self._lock:
            self._ids[path.name, state] = facts.id
            self._known[facts.id] = (facts, measures)
            self._changed = True

    def find_pairs(self, key: str) -> list[Pair] | None:
        """Returns the pairs of equal images that belong to a list of images."""
        return self._pairs.get(key)

    def keep_pairs(self, key: str, pairs: list[Pair]) -> None:
        """Keeps the pairs of one list of images; those of an older list are dropped."""
        with self._lock:
            self._pairs = {key: pairs}
            self._changed = True

    def save(self) -> None:
        """Saves what was added since; nothing happens where that is impossible."""
        with self._lock:
            if self.path is None or not self._changed or not self._known:
                return
            memory = BytesIO()
            np.savez(memory, allow_pickle=False, **self._to_arrays())
            try:
                self.path.parent.mkdir(parents=True, exist_ok=True)
                write_atomically(self.path, memory.getvalue())
            except OSError:  # the images are looked at again next time
                return
            self._changed = False

    def _find(self, path: Path, state: FileState) -> tuple[ImageFacts, Measures] | None:
        content = self._ids.get((path.name, state))
        if content is None and self._known:
            try:
                content = fingerprint(path)
            except DatasetError:
                return None
            if content in self._known:
                with self._lock:
                    self._ids[path.name, state] = content
                    self._changed = True
        return self._known.get(content) if content else None

    def _to_arrays(self) -> dict[str, NDArray[Any]]:
        used = set(self._ids.values())
        facts = [facts for facts, _ in self._known.values() if facts.id in used]
        pairs = [(key, one) for key, listed in self._pairs.items() for one in listed]
        return {
            "format": np.array(FORMAT),
            "names": np.array(
                [name.encode("utf-8", "surrogateescape").hex() for name, _ in self._ids]
            ),
            "states": np.array([state for _, state in self._ids], dtype=np.uint64),
            "named": np.array(list(self._ids.values())),
            "ids": np.array([one.id for one in facts]),
            "sizes": np.array([(one.width, one.height) for one in facts], dtype=np.int64),
            "pair_key": np.array(next(iter(self._pairs), "")),
            "pairs": np.array([(p.first, p.second, p.mirrored) for _, p in pairs]).reshape(-1, 3),
            "errors": np.array([p.error for _, p in pairs]),
            **{
                f"measure_{name}": values
                for name, values in stack([self._known[one.id][1] for one in facts]).items()
            },
        }

    def _load(self, path: Path) -> None:
        try:
            data = read_bytes(path, LARGEST_FILE)
            with np.load(BytesIO(data), allow_pickle=False) as loaded:
                if int(loaded["format"]) != FORMAT:
                    return
                self._take({name: loaded[name] for name in loaded.files})
        except _DAMAGE:
            self._ids, self._known, self._pairs = {}, {}, {}

    def _take(self, arrays: dict[str, NDArray[Any]]) -> None:
        values = {
            name.removeprefix("measure_"): list(array) if array.ndim > 1 else array.tolist()
            for name, array in arrays.items()
            if name.startswith("measure_")
        }
        for place, (content, size) in enumerate(zip(arrays["ids"], arrays["sizes"], strict=True)):
            measures = Measures(**{name: column[place] for name, column in values.items()})
            facts = ImageFacts(int(size[0]), int(size[1]), str(content))
            self._known[facts.id] = (facts, measures)
        rows = zip(arrays["names"], arrays["states"], arrays["named"], strict=True)
        for name, state, content in rows:
            plain = bytes.fromhex(str(name)).decode("utf-8", "surrogatepass")
            inode, size, modified, changed = (int(value) for value in state)
            self._ids[plain, (inode, size, modified, changed)] = str(content)
        hits = zip(arrays["pairs"], arrays["errors"], strict=True)
        self._pairs[str(arrays["pair_key"])] = [
            Pair(int(first), int(second), float(error), bool(mirrored))
            for (first, second, mirrored), error in hits
        ]


def place_cache(folder: Path, dataset: Path) -> Path:
    """Returns where, in a folder of caches, that of a dataset lies."""
    name = hashlib.sha256(str(dataset.resolve()).encode("utf-8", "surrogatepass")).hexdigest()
    return folder / f"{name[:24]}.npz"


def _to_hex(name: str) -> str:
    """Returns a file name, which need not be valid Unicode, as plain ASCII."""
    return name.encode("utf-8", "surrogatepass").hex()
