"""What Windows refuses to do with files, for every Python process with this folder on PYTHONPATH.

Below the folders in LORASMITH_WINDOWS_FILES (os.pathsep between them; none: nothing is refused)

- a file that any process has open or mapped is not replaced, renamed or removed, and a folder with
  such a file in it, or in which a process works, is not renamed or removed;
- a folder is not opened as a file is, so that it cannot be flushed either;
- nothing gets a name that Windows does not have.

The interpreter reports each of these acts to audit hooks before it does it, whichever function was
called, and an exception of a hook prevents it. Who holds a file is read from /proc, so the rules
need Linux. LORASMITH_WINDOWS_LOG names a file in which each refusal is noted with the lines that
led to it. With LORASMITH_WINDOWS_SCAN_SECONDS each file is held for that long from the first
attempt to replace, rename or remove it, as by a virus scanner that is always in time.
"""

import errno
import os
import re
import shutil
import sys
import time
import traceback

FOLDERS = [
    os.path.realpath(folder)
    for folder in os.environ.get("LORASMITH_WINDOWS_FILES", "").split(os.pathsep)
    if folder
]
LOG = os.environ.get("LORASMITH_WINDOWS_LOG", "")
SCAN_SECONDS = float(os.environ.get("LORASMITH_WINDOWS_SCAN_SECONDS", "0"))
FIRST_ATTEMPTS = {}  # by path, number and time of the file, as each version of it is scanned
NO_NAME = re.compile(
    r'.*[<>:"|?*\x00-\x1f].*|.*[. ]|(con|prn|aux|nul|(com|lpt)[1-9¹²³])(\..*)?',
    re.IGNORECASE | re.DOTALL,
)


def locate(path, folder_descriptor=-1):
    """Returns the whole path, where the rules hold for it; "" where they do not."""
    if not isinstance(path, str | bytes | os.PathLike):
        return ""  # a descriptor: the file is open already
    name = os.fsdecode(path)
    if folder_descriptor >= 0 and not os.path.isabs(name):
        name = os.path.join(os.readlink(f"/proc/self/fd/{folder_descriptor}"), name)
    parent, last = os.path.split(os.path.abspath(name))
    name = os.path.join(os.path.realpath(parent), last)
    return name if any(name.startswith(folder + os.sep) for folder in FOLDERS) else ""


def is_held(path):
    """Returns whether a process has the file, or one in the folder, open or mapped."""
    return any(holds(f"/proc/{pid}", path) for pid in os.listdir("/proc") if pid.isdigit())


def is_scanned(path):
    """Returns whether the virus scanner that always comes in time has the file open."""
    if not SCAN_SECONDS or os.path.isdir(path):
        return False
    state = os.stat(path)
    now = time.monotonic()
    first = FIRST_ATTEMPTS.setdefault((path, state.st_ino, state.st_mtime_ns), now)
    return now < first + SCAN_SECONDS


def holds(process, path):
    below = path + os.sep
    try:
        links = [
            f"{process}/cwd",
            *(f"{process}/fd/{each}" for each in os.listdir(f"{process}/fd")),
        ]
        with open(f"{process}/maps", "rb") as file:
            maps = file.read()
    except OSError:
        return False  # it ended, or belongs to somebody else
    needle = os.fsencode(path)
    if needle + b"\n" in maps or needle + b"/" in maps:
        return True
    for link in links:
        try:
            target = os.readlink(link)
        except OSError:
            continue
        if target == path or target.startswith(below):
            return True
    return False


def refuse(kind, path, error):
    if LOG:
        lines = [
            f"{frame.filename}:{frame.lineno} {frame.name}"
            for frame in traceback.extract_stack()[:-3]
            if "/site-packages/" not in frame.filename and "/lib/python" not in frame.filename
        ]
        with open(LOG, "a", encoding="utf-8") as log:
            log.write(f"{kind}\t{path}\t{' < '.join(reversed(lines[-5:]))}\n")
    raise error


def refuse_held(path):
    if not path or not os.path.lexists(path) or os.path.islink(path):
        return
    if is_scanned(path) or is_held(path):
        number = 5 if os.path.isdir(path) else 32
        text = f"[WinError {number}] a process has it open"
        refuse("held", path, PermissionError(errno.EACCES, text, path))


def refuse_name(path):
    if path and NO_NAME.fullmatch(os.path.basename(path)):
        refuse("name", path, OSError(errno.EINVAL, "[WinError 123] there is no such name", path))


def check_rename(source, target, source_descriptor, target_descriptor):
    target = locate(target, target_descriptor)
    refuse_name(target)
    refuse_held(locate(source, source_descriptor))
    refuse_held(target)


def check_remove(path, descriptor):
    refuse_held(locate(path, descriptor))


def check_mkdir(path, _mode, descriptor):
    refuse_name(locate(path, descriptor))


def check_open(path, mode, flags):
    path = locate(path)
    if not path:
        return
    if flags & os.O_CREAT:
        refuse_name(path)
    # A nameless file in a folder is how `tempfile` makes what is deleted when it is closed.
    if mode is None and os.path.isdir(path) and flags & os.O_TMPFILE != os.O_TMPFILE:
        refuse("folder opened", path, PermissionError(errno.EACCES, "Permission denied", path))


CHECKS = {
    "os.rename": check_rename,  # os.replace as well
    "os.remove": check_remove,
    "os.rmdir": check_remove,
    "os.mkdir": check_mkdir,
    "open": check_open,
}


def check(event, arguments):
    if event in CHECKS:
        CHECKS[event](*arguments)


if FOLDERS:
    shutil._use_fd_functions = False  # rmtree opens folders only where that is possible
    sys.addaudithook(check)
