"""The real app, as the command line starts it, and a page in a browser on it."""

import contextlib
import os
import re
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import psutil
from playwright.sync_api import Page

from tests.ports import hold_port

ROOT = Path(__file__).resolve().parents[2]


@contextlib.contextmanager
def open_app(workspace: Path) -> Iterator[str]:
    """Runs `lorasmith app` on a free port; yields its address and ends it with what it started."""
    with hold_port() as port:
        yield from _run_app(workspace, port)


def _run_app(workspace: Path, port: int) -> Iterator[str]:
    command = [sys.executable, "-m", "app.cli", "app", f"--workspace={workspace}", f"--port={port}"]
    folders = os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
    environment = {**os.environ, "PYTHONPATH": folders, "OMP_WAIT_POLICY": "PASSIVE"}
    process = subprocess.Popen(command, cwd=ROOT, env=environment)
    url = f"http://127.0.0.1:{port}"
    try:
        deadline = time.monotonic() + 240
        while not _answers(url):
            assert process.poll() is None, "the app ended"
            assert time.monotonic() < deadline, "the app did not answer in time"
            time.sleep(0.2)
        yield url
    finally:
        process.terminate()
        process.wait(60)


def _answers(url: str) -> bool:
    with contextlib.suppress(urllib.error.URLError, ConnectionError):
        return bool(urllib.request.urlopen(url, timeout=5).status == 200)
    return False


def open_tab(page: Page, name: re.Pattern[str]) -> None:
    page.get_by_role("tab", name=name).click()


def stop_workers(workspace: Path) -> None:
    """Ends what the app has started and what outlives it by design."""
    from trainer.runs import find_owner, is_alive

    for folder in [workspace / "preview", *(workspace / "runs").glob("*")]:
        owner = find_owner(folder) if folder.is_dir() else None
        if owner is not None and is_alive(owner):
            psutil.Process(owner.pid).kill()
