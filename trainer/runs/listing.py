"""The runs of a folder, without reading it again as long as nothing came, went, began or ended."""

import time
from pathlib import Path

from trainer.runs.folder import RunFolder, list_runs

# A file system may give two changes in a row the same time.
_RESTED_NS = 3 * 10**9


class RunListing:
    """The runs of a folder.

    A process that begins to work on a run, or ends, touches the folder of the runs
    (`ownership`), so that one look at its time of change answers for all of them.

    Attributes:
        version: Another number whenever the folder was read again.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.version = 0
        self._runs: list[RunFolder] = []
        self._stamp = -1
        self._unfinished: list[Path] = []

    def read(self) -> list[RunFolder]:
        """Returns the runs, newest first."""
        now = time.time_ns()
        try:
            stamp = self.path.stat().st_mtime_ns
        except OSError:
            stamp = 0
        ready = any((path / "config.toml").is_file() for path in self._unfinished)
        if stamp != self._stamp or ready:
            self._runs = list_runs(self.path)
            known = {run.path for run in self._runs}
            self._unfinished = [path for path in _list_folders(self.path) if path not in known]
            self.version += 1
            self._stamp = stamp if abs(now - stamp) > _RESTED_NS else -1
        return self._runs


def _list_folders(path: Path) -> list[Path]:
    try:
        return [one for one in path.iterdir() if not one.name.startswith(".") and one.is_dir()]
    except OSError:
        return []
