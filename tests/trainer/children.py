"""What a child process does in tests; nothing heavy is imported for it."""

import os
import time
from pathlib import Path

from trainer.runs.errors import RunError


def answer(link, factor):
    """Multiplies what it is sent, until it is told 0, which it answers by dying."""
    while number := link.receive():
        link.send(factor * number)
    raise RunError("It was asked for nothing.")


def sleep(link, path):
    """Waits for ever, with a file that shows it."""
    del link
    Path(path).write_text(str(os.getpid()))
    while True:
        time.sleep(3600)
