"""Gates: a test closes one, the command under test waits there, and the test opens it again.

No test may depend on who is faster. A command that must not be over yet waits at a gate, which is
a file that the test removes, and never for a number of seconds.
"""

import os
import sys
import time
from pathlib import Path

VARIABLE = "TEST_GATES"
# So long a command waits for a test that has ended without opening its gate.
GIVE_UP_SECONDS = 900


class Gates:
    """The gates of one test; they are open unless it closes them.

    Attributes:
        folder: Where the files lie; commands find it in the environment.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def close(self, name: str) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        (self.folder / name).touch()

    def open(self, name: str) -> None:
        (self.folder / name).unlink()

    def open_all(self) -> None:
        for path in self.folder.glob("*"):
            path.unlink()


def wait_at(name: str) -> None:
    """Waits, in a command, while the test keeps the gate closed."""
    folder = os.environ.get(VARIABLE)
    if not folder:
        return
    gate, deadline = Path(folder) / name, time.monotonic() + GIVE_UP_SECONDS
    while gate.exists():
        if time.monotonic() > deadline:
            sys.exit(f"nobody opened the gate {name}")
        time.sleep(0.02)
