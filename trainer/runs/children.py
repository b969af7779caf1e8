"""Processes that this one starts to compute a part of its work, and that end with it.

Each has a pipe to this process. It ends when the pipe is closed, which the system does, too, for
a process that was killed: so none is left over, on any system.
"""

import contextlib
import importlib
import multiprocessing
import os
import queue
import signal
import sys
import threading
from collections.abc import Sequence
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any

from datasets_tools.errors import LorasmithError
from trainer.runs.systems import ignore_stop_signals, stop_on_closing

_ENDING_SECONDS = 10.0
_PROGRAM = "lorasmith: "


class Link:
    """What a child has of the process that started it."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._messages: queue.SimpleQueue[Any] = queue.SimpleQueue()
        threading.Thread(target=self._read, daemon=True).start()

    def send(self, message: Any) -> None:
        """Sends plain values to the process that started this one."""
        self._connection.send(message)

    def receive(self) -> Any:
        """Returns its next message, when that is there."""
        return self._messages.get()

    def _read(self) -> None:
        """Reads messages, and ends this process when the other one is gone."""
        while True:
            try:
                self._messages.put(self._connection.recv())
            except (EOFError, OSError):
                os._exit(0)  # the main thread may wait for a process that is gone


class Child:
    """A process that was started by this one.

    Args:
        function: What it calls with a `Link` and the arguments, as "module:name". The module is
            imported there and not here.
        arguments: Plain values.
        log: Its output is appended here.
    """

    def __init__(self, function: str, arguments: Sequence[Any], log: Path) -> None:
        context = multiprocessing.get_context("spawn")
        self.log = log
        self._connection, theirs = context.Pipe()
        self._process = context.Process(
            target=_run, args=(theirs, function, tuple(arguments), str(log)), daemon=True
        )
        self._process.start()
        theirs.close()

    @property
    def pid(self) -> int:
        """Its number."""
        return self._process.pid or 0

    def send(self, message: Any) -> None:
        """Sends plain values; one that has ended does not get them."""
        with contextlib.suppress(OSError):
            self._connection.send(message)

    def receive(self) -> Any:
        """Returns its next message, when that is there.

        Raises:
            EOFError: it has ended.
        """
        try:
            return self._connection.recv()
        except OSError:
            raise EOFError from None

    def has_ended(self, within: float = 0.0) -> bool:
        """Whether it has ended, or does so in that many seconds."""
        return bool(wait([self._process.sentinel], within))

    def describe_end(self) -> str:
        """Returns how it ended, and the last line that it printed, as the end of a sentence."""
        if self.has_ended():
            self._process.join()  # the system may not know the code yet
        code = self._process.exitcode
        if code is None:
            how = "does not answer"
        elif code < 0:
            names = {each.value: each.name for each in signal.Signals}
            how = f"was ended by {names.get(-code, f'signal {-code}')}"
        else:
            how = f"ended with exit code {code}"
        try:
            lines = self.log.read_text(encoding="utf-8", errors="replace").splitlines()
        except OSError:
            lines = []
        last = next((line.strip() for line in reversed(lines) if line.strip()), "")
        return f"{how}: {last.removeprefix(_PROGRAM)}" if last and code else how

    def end(self) -> None:
        """Ends it, without waiting for what it does."""
        self._connection.close()
        if not self.has_ended(_ENDING_SECONDS):
            self._process.kill()
        self._process.join()


def _run(connection: Connection, function: str, arguments: tuple[Any, ...], log: str) -> None:
    """Runs in the child."""
    _redirect_output(log)
    ignore_stop_signals()  # a terminal sends them to every process; the first one decides
    link = Link(connection)
    module, _, name = function.partition(":")
    try:
        with stop_on_closing(lambda: None):
            getattr(importlib.import_module(module), name)(link, *arguments)
    except LorasmithError as error:
        sys.stderr.write(f"{_PROGRAM}{error}\n")
        sys.exit(2)


def _redirect_output(log: str) -> None:
    """Has this process print into a file, its libraries too."""
    with Path(log).open("ab") as file:
        for number in (1, 2):
            os.dup2(file.fileno(), number)
