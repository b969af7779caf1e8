"""What differs between Windows, Linux and macOS about processes; nothing else asks for the system.

Each function takes the system as Python names it in `sys.platform`, so that a test can ask for
another one.
"""

import contextlib
import errno
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from datasets_tools.errors import LorasmithError

# Of Windows' CreateProcess, by number: Python has the names on Windows alone.
CREATE_NEW_PROCESS_GROUP = 0x00000200
CREATE_BREAKAWAY_FROM_JOB = 0x01000000
NEW_HIDDEN_CONSOLE = 0x08000000  # CREATE_NO_WINDOW

# Events of a Windows console after which the process is ended, whatever it answers.
CLOSING_EVENTS = {2: "CTRL_CLOSE_EVENT", 5: "CTRL_LOGOFF_EVENT", 6: "CTRL_SHUTDOWN_EVENT"}
CLOSING_SECONDS = 4.5  # Windows ends a process 5 seconds after the event

Handler = Callable[[int], bool]


def list_detach_options(system: str = sys.platform) -> list[dict[str, Any]]:
    """Returns the arguments of Popen that detach a process from this one; the first that works.

    On Windows the process gets a console of its own without a window: closing ours does not reach
    it, and the programs that it starts open no window of theirs, as they would with
    DETACHED_PROCESS. Terminals and editors put what they start into a job that ends with them, so
    it leaves that job where the job allows it; where not, starting it so is refused.
    """
    if system != "win32":
        return [{"start_new_session": True}]
    detached = CREATE_NEW_PROCESS_GROUP | NEW_HIDDEN_CONSOLE
    return [
        {"creationflags": detached | CREATE_BREAKAWAY_FROM_JOB},
        {"creationflags": detached},
    ]


def list_quiet_options(system: str = sys.platform) -> dict[str, Any]:
    """Returns the arguments of Popen for a program that opens no window on Windows."""
    return {"creationflags": NEW_HIDDEN_CONSOLE} if system == "win32" else {}


def list_stop_signals(system: str = sys.platform) -> list[signal.Signals]:
    """Returns the signals that ask a process to stop in order.

    Windows has no SIGHUP, and only Windows has SIGBREAK (Ctrl+Break).
    """
    names = ["SIGINT", "SIGTERM", "SIGBREAK" if system == "win32" else "SIGHUP"]
    return [getattr(signal, name) for name in names if hasattr(signal, name)]


def ignore_stop_signals(system: str = sys.platform) -> None:
    """Has this process go on at the signals that ask for a stop."""
    for number in list_stop_signals(system):
        signal.signal(number, signal.SIG_IGN)


@contextlib.contextmanager
def stop_on_signals(ask: Callable[[], None], system: str = sys.platform) -> Iterator[None]:
    """Asks for a stop at the first signal, while the block runs; a second one ends at once.

    A signal that is ignored stays ignored: `nohup` starts a process so, to survive its terminal.
    """

    def handle(_number: int) -> None:
        restore()  # first: the second signal may come while the first one is still asking
        ask()

    with _handling_signals(handle, system) as restore:
        yield


@contextlib.contextmanager
def _handling_signals(handle: Callable[[int], None], system: str) -> Iterator[Callable[[], None]]:
    """Calls a function at the signals that ask for a stop, while the block runs.

    Yields:
        What gives the signals their former handlers back before the block ends.
    """
    before = {number: signal.getsignal(number) for number in list_stop_signals(system)}
    before = {number: known for number, known in before.items() if known != signal.SIG_IGN}

    def restore() -> None:
        for number, known in before.items():
            signal.signal(number, known)

    for number in before:
        signal.signal(number, lambda number, _frame: handle(number))
    try:
        yield restore
    finally:
        restore()


class EndedBySignalError(LorasmithError, KeyboardInterrupt):
    """A signal ended the process where it could not stop in order; the message names it."""


@contextlib.contextmanager
def end_on_signals(system: str = sys.platform) -> Iterator[None]:
    """Raises EndedBySignalError at a signal while the block runs, so that its end is reported.

    Without it SIGTERM and SIGHUP end a process without a word. One that is ignored stays ignored.
    """

    def handle(number: int) -> None:
        name = signal.Signals(number).name
        raise EndedBySignalError(f"It was ended by {name} before it could save a checkpoint.")

    with _handling_signals(handle, system):
        yield


@contextlib.contextmanager
def stop_on_closing(
    ask: Callable[[], None], set_handler: Callable[[Handler, bool], None] | None = None
) -> Iterator[None]:
    """Asks for a stop when a Windows console is closed, while the block runs.

    Windows ends the process as soon as the handler returns, which therefore waits for the end of
    the block, as long as it may. Elsewhere it is a signal (`stop_on_signals`).

    Args:
        ask: Called once in another thread.
        set_handler: Adds and removes a handler; None takes that of this system, where it has one.
    """
    set_handler = set_handler or find_console()
    if set_handler is None:
        yield
        return
    ended = threading.Event()

    def handle(event: int) -> bool:
        if event not in CLOSING_EVENTS:
            return False  # Ctrl+C and Ctrl+Break are Python's signals
        ask()
        ended.wait(CLOSING_SECONDS)
        return True

    set_handler(handle, True)
    try:
        yield
    finally:
        set_handler(handle, False)
        ended.set()


def find_lock(path: Path) -> bool | None:
    """Returns whether a process holds the lock of a file; None where looking would take it.

    Windows has no shared locks of whole files among those that Python knows.

    Raises:
        OSError: the file cannot be opened.
    """
    held: bool | None = None
    if sys.platform != "win32":
        try:
            import fcntl
        except ImportError:  # as in the tests of what Windows lacks
            return None
        descriptor = os.open(path, os.O_RDONLY)
        try:
            # Shared: two that look at the same moment do not take each other for the owner.
            fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
            held = False
        except OSError as error:
            held = error.errno in {errno.EWOULDBLOCK, errno.EAGAIN, errno.EACCES}
        finally:
            os.close(descriptor)
    return held


def find_console() -> Callable[[Handler, bool], None] | None:
    """Returns what adds and removes a handler of Windows' console; None on another system."""
    console: Callable[[Handler, bool], None] | None = None
    if sys.platform == "win32":
        import ctypes

        kernel = ctypes.WinDLL("kernel32", use_last_error=True)
        make = ctypes.WINFUNCTYPE(ctypes.c_int, ctypes.c_uint)
        known: dict[Handler, Any] = {}  # Windows calls what Python would have deleted

        def set_handler(handler: Handler, add: bool) -> None:
            known.setdefault(handler, make(handler))
            kernel.SetConsoleCtrlHandler(known[handler], int(add))

        console = set_handler
    return console
