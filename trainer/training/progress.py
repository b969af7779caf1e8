"""Speed and progress of a run: a bar on a terminal, lines in a log."""

import contextlib
import sys
import time
from collections import deque
from collections.abc import Iterator

from tqdm import tqdm

from trainer.runs import RunFolder, append_event


class Pace:
    """Speed over the last reports, with samples, checkpoints and pauses left out."""

    def __init__(self, length: int = 8) -> None:
        self._reports: deque[tuple[float, int]] = deque(maxlen=length)  # (seconds, steps)
        self._since, self._left_out = time.monotonic(), 0.0

    @contextlib.contextmanager
    def leave_out(self) -> Iterator[None]:
        """The time of the block does not count as training."""
        start = time.monotonic()
        try:
            yield
        finally:
            self._left_out += time.monotonic() - start

    def report(self, steps: int) -> None:
        """Records the steps done since the last report."""
        now = time.monotonic()
        self._reports.append((now - self._since - self._left_out, steps))
        self._since, self._left_out = now, 0.0

    @property
    def steps_per_second(self) -> float:
        """Steps per second of training; 0 before the first report."""
        seconds = sum(report[0] for report in self._reports)
        return sum(report[1] for report in self._reports) / seconds if seconds > 0 else 0.0


class Bar:
    """Progress for a person: a bar on a terminal, else one line a report."""

    def __init__(self, total: int, done: int) -> None:
        self._terminal = sys.stderr.isatty()
        self._total = total
        self._bar = tqdm(total=total, initial=done, unit="step", disable=not self._terminal)

    def update(self, step: int, loss: float, steps_per_second: float) -> None:
        """Shows a step's loss and the time left."""
        if self._terminal:
            self._bar.set_postfix(loss=f"{loss:.4f}", refresh=False)
            self._bar.update(step - self._bar.n)
            return
        left = (self._total - step) / steps_per_second if steps_per_second else 0.0
        log_line(
            f"step {step}/{self._total}  loss {loss:.4f}  {steps_per_second:.2f} steps/s  "
            f"{left:.0f} s left"
        )

    def close(self) -> None:
        """Ends the bar."""
        self._bar.close()


def log_line(text: str) -> None:
    """Prints a line to a person, without breaking a bar."""
    tqdm.write(text, file=sys.stderr)
    sys.stderr.flush()


def warn(run: RunFolder, message: str) -> None:
    """Reports a warning of a run: in its events and as a line."""
    append_event(run.events_path, "warning", message=message)
    log_line(message)
