"""Opens every new or changed file below a folder for 50 ms, as virus scanners and indexers do.

    python -m tests.windows.scanner FOLDER

It ends when its standard input is closed, and prints how many files it opened.
"""

import os
import sys
import threading
import time
from pathlib import Path

OPEN_SECONDS, PAUSE_SECONDS = 0.05, 0.002


def list_files(folder):
    """Returns the files below a folder with what changes when they are written."""
    files = {}
    for place, _folders, names in os.walk(folder):
        for path in (Path(place, name) for name in names):
            try:
                state = path.stat()
            except OSError:
                continue
            files[path] = (state.st_ino, state.st_mtime_ns)
    return files


def hold(path):
    """Reads the beginning of a file and leaves it open for a while; returns whether it could."""
    try:
        with path.open("rb") as file:
            file.read(65_536)
            time.sleep(OPEN_SECONDS)
    except OSError:
        return False
    return True


def scan(folder, stop):
    """Scans until it is stopped; several files are open at a time, as new ones do not wait."""
    known, opened = {}, []
    while not stop.is_set():
        files = list_files(folder)
        for path in sorted(path for path, state in files.items() if known.get(path) != state):
            thread = threading.Thread(target=lambda path=path: hold(path) and opened.append(path))
            thread.start()
        known = files
        time.sleep(PAUSE_SECONDS)
    return len(opened)


def main():
    stop = threading.Event()
    thread = threading.Thread(target=lambda: (sys.stdin.read(), stop.set()), daemon=True)
    thread.start()
    print(scan(sys.argv[1], stop), flush=True)


if __name__ == "__main__":
    main()
