"""Which process works on a folder: one at a time, whatever its number, its host and the clock.

    .process.lock   locked by the system for as long as the process works; it ends with the process
    process.json    which process that is; its time of change is a sign of life

The lock answers for this computer and for file systems that pass locks on. Where the owner is on
another computer and there is no lock to be seen, the sign of life decides: it comes every ten
seconds. A process that finds another one named in process.json was taken over, and ends at once.
"""

import contextlib
import errno
import json
import os
import sys
import threading
import time
import warnings
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

from filelock import BaseFileLock, FileLock, Timeout

from datasets_tools.disk import remove_file
from datasets_tools.files import write_atomically
from trainer.runs.errors import RunError, explain_writing
from trainer.runs.process import (
    OWNER_FILE,
    Owner,
    describe_process,
    find_owner,
    is_alive,
)
from trainer.runs.systems import find_lock

LOCK_FILE = ".process.lock"
BEAT_SECONDS = 10.0
LEASE_SECONDS = 60.0  # after which a process on another computer without a sign of life is lost
CONFIRM_SECONDS = 25.0  # two signs of life would come within it
TAKEN_OVER = 75  # the exit code
_LOCK_SECONDS = 2.0
_NO_LOCKS = {errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOTSUP, errno.EINVAL}


def is_owned(folder: Path) -> bool:
    """Returns whether a process works on a folder, on this computer or another one."""
    path = folder / OWNER_FILE
    if not path.exists():
        return False
    if _is_locked(folder / LOCK_FILE):
        return True
    owner = find_owner(folder)
    if owner is None:
        return False
    if owner.is_here:
        return is_alive(owner) and not owner.locks
    return abs(_read_silence(folder)) < LEASE_SECONDS


@contextlib.contextmanager
def own_folder(folder: Path, *, take_over: bool = False) -> Iterator[Owner]:
    """Holds the folder for this process while the block runs.

    Args:
        folder: What to hold.
        take_over: Takes it from a process on another computer that seems to live.

    Raises:
        RunError: another living process owns it, or it cannot be written.
    """
    with explain_writing(folder):
        lock = _lock(folder, take_over=take_over)
    try:
        owner = describe_process(os.getpid(), sys.argv, locks=lock is not None)
        _refuse_living(folder, take_over=take_over)
        with explain_writing(folder):
            write_atomically(folder / OWNER_FILE, json.dumps(asdict(owner)))
        _touch(folder.parent)
        with _give_signs(folder, owner):
            yield owner
    finally:
        # What ended the block is raised, not that the folder is gone or read-only meanwhile.
        with contextlib.suppress(OSError):
            if find_owner(folder) == owner:
                remove_file(folder / OWNER_FILE, missing_ok=True)
                _touch(folder.parent)
        if lock is not None:
            with contextlib.suppress(OSError):
                lock.release()


def explain_owner(folder: Path, owner: Owner | None) -> str:
    """Returns who works on a folder, and what a person can do."""
    if owner is None:
        return f"{folder.name} is being opened by another process. Try again in a moment."
    who = f"{folder.name} is already being worked on by process {owner.pid} on {owner.host}"
    if owner.is_here:
        return f"{who}. Wait for it, or stop it with `lorasmith ask`."
    seconds = max(0, round(_read_silence(folder)))
    return (
        f"{who}, another computer, whose last sign of life came {seconds} seconds ago. Wait for "
        "it, or stop it with `lorasmith ask`. If that computer is gone, wait a minute, or take "
        f"over with `lorasmith train {folder.name} --take-over`: the other process ends when it "
        "notices, and what it has learned since its last checkpoint is lost."
    )


def _lock(folder: Path, *, take_over: bool) -> BaseFileLock | None:
    """Returns the held lock of a folder; None where its file system has no locks."""
    path, owner = folder / LOCK_FILE, find_owner(folder)
    if take_over and owner is not None and not owner.is_here:
        # A server may hold the lock of a computer that is gone; a new file has a new lock.
        remove_file(path, missing_ok=True)
    lock = FileLock(str(path), timeout=_LOCK_SECONDS)
    try:
        with warnings.catch_warnings():
            # Where there are no locks, the library would put up a file that stays after a kill.
            warnings.simplefilter("error")
            lock.acquire()
    except Timeout:
        raise RunError(explain_owner(folder, find_owner(folder))) from None
    except (NotImplementedError, UserWarning):
        return None
    except OSError as error:
        if error.errno in _NO_LOCKS:
            return None
        raise
    return lock


def _refuse_living(folder: Path, *, take_over: bool) -> None:
    """Raises RunError where an owner lives that no lock shows."""
    owner = find_owner(folder)
    if owner is None:
        return
    if owner.is_here:
        if is_alive(owner) and not owner.locks:
            raise RunError(explain_owner(folder, owner))
        return
    if take_over:
        return
    if abs(_read_silence(folder)) < LEASE_SECONDS or _waits_for_sign(folder):
        raise RunError(explain_owner(folder, owner))


def _waits_for_sign(folder: Path) -> bool:
    """Whether a sign of life comes within a while; the clocks of two computers may differ."""
    before, end = _read_sign(folder), time.monotonic() + CONFIRM_SECONDS
    while time.monotonic() < end:
        if _read_sign(folder) not in {before, 0.0}:
            return True
        time.sleep(min(1.0, CONFIRM_SECONDS / 10))
    return False


@contextlib.contextmanager
def _give_signs(folder: Path, owner: Owner) -> Iterator[None]:
    """Gives a sign of life every few seconds while the block runs."""
    ended = threading.Event()

    def beat() -> None:
        while not ended.wait(BEAT_SECONDS):
            current = find_owner(folder)
            if current is not None and current != owner:
                _end_now(folder, current)
            with contextlib.suppress(OSError):
                os.utime(folder / OWNER_FILE)

    thread = threading.Thread(target=beat, name="sign of life", daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join(BEAT_SECONDS)


def _touch(folder: Path) -> None:
    """Changes the time of the folder of all runs, by which readers notice a beginning or an end."""
    with contextlib.suppress(OSError):
        os.utime(folder)


def _end_now(folder: Path, owner: Owner) -> None:
    """Ends this process without writing anything more into a folder that another one owns."""
    sys.stderr.write(
        f"lorasmith: {folder.name} was taken over by process {owner.pid} on {owner.host}. This "
        "process ends without saving.\n"
    )
    sys.stderr.flush()
    os._exit(TAKEN_OVER)


def _read_sign(folder: Path) -> float:
    try:
        return (folder / OWNER_FILE).stat().st_mtime
    except OSError:
        return 0.0


def _read_silence(folder: Path) -> float:
    """Returns for how many seconds there was no sign of life, by the clocks of both computers."""
    return time.time() - _read_sign(folder)


def _is_locked(path: Path) -> bool:
    """Returns whether a process holds a lock; it is not taken from anybody by looking."""
    if not path.exists():
        return False
    with contextlib.suppress(OSError):
        if (held := find_lock(path)) is not None:
            return held
    lock = FileLock(str(path), timeout=0.2)  # another one may be looking at this moment
    try:
        lock.acquire()
    except Timeout:
        return True
    except OSError:
        return False
    lock.release()
    return False
