"""What an open page costs while nobody touches it: requests, bytes, and processor time.

    python benchmarks/idle_page.py [--tree OTHER_CHECKOUT] [--seconds 60]

Starts the app of a checkout on an empty workspace, and again on one where a run writes five steps a
second (a process of this script writes the events; nothing trains), opens the page on the Train tab
in Chromium, and counts for a minute. Processor time is of the server's and of the renderers'
processes, as a share of one core. Compare two checkouts on one machine, in turns.
"""

import argparse
import contextlib
import json
import multiprocessing
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
from playwright.sync_api import Page, sync_playwright

ROOT = Path(__file__).resolve().parents[1]
_WARM_UP_SECONDS = 15
_STEP_SECONDS = 0.2
_BROWSERS = ("chromium", "chromium-browser", "google-chrome")


def main() -> None:
    """Measures and prints one line of JSON for each case."""
    parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False)
    parser.add_argument("--tree", type=Path, default=ROOT, help="the checkout to measure")
    parser.add_argument("--seconds", type=float, default=60.0, help="how long to count")
    args = parser.parse_args()
    for case in ("idle", "running"):
        with tempfile.TemporaryDirectory() as folder:
            figures = measure(args.tree.resolve(), Path(folder), case, args.seconds)
        print(json.dumps({"case": case, **figures}), flush=True)


def measure(tree: Path, folder: Path, case: str, seconds: float) -> dict[str, float]:
    """Returns what the page costs in one case, per second and as shares of a core."""
    workspace = folder / "workspace"
    with contextlib.ExitStack() as stack:
        if case == "running":
            stack.enter_context(write_steps(workspace))
        server, url = stack.enter_context(serve(tree, workspace))
        page, browser = stack.enter_context(open_browser(f"{url}/?tab=train"))
        page.wait_for_timeout(_WARM_UP_SECONDS * 1000)
        counted = count_requests(page)
        before = read_seconds(server), read_renderer_seconds(browser)
        started = time.monotonic()
        page.wait_for_timeout(seconds * 1000)
        passed = time.monotonic() - started
        after = read_seconds(server), read_renderer_seconds(browser)
    return {
        "requests_per_second": round(counted["requests"] / passed, 2),
        "bytes_per_second": round(counted["bytes"] / passed),
        "server_share": round((after[0] - before[0]) / passed, 4),
        "renderer_share": round((after[1] - before[1]) / passed, 4),
    }


@contextlib.contextmanager
def write_steps(workspace: Path) -> Iterator[None]:
    """Has another process own a run of the workspace and write its steps."""
    ready = multiprocessing.Event()
    writer = multiprocessing.Process(target=_write_steps, args=(workspace, ready), daemon=True)
    writer.start()
    ready.wait(60)
    try:
        yield
    finally:
        writer.kill()
        writer.join()


def _write_steps(workspace: Path, ready: Any) -> None:
    from trainer.config import layer_config
    from trainer.runs import append_event, create_run, own_folder

    images = workspace / "datasets" / "openmoji"
    shutil.copytree(ROOT / "examples" / "openmoji-style" / "images", images)
    model = str(ROOT / "examples" / "starter-model")
    settings = {"name": "busy", "base_model": {"path": model}, "dataset": {"path": str(images)}}
    run = create_run(workspace / "runs", layer_config(settings=settings))
    steps = 100_000
    with own_folder(run.path):
        append_event(run.events_path, "started", from_step=0, steps=steps)
        ready.set()
        for step in range(1, steps):
            time.sleep(_STEP_SECONDS)
            append_event(run.events_path, "step", step=step, steps=steps, loss=0.1 + 1 / step)


@contextlib.contextmanager
def serve(tree: Path, workspace: Path) -> Iterator[tuple[psutil.Process, str]]:
    """Runs a checkout's app on a free port; yields its process and its address."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "app.cli", "app", f"--workspace={workspace}", f"--port={port}"]
    environment = {**os.environ, "PYTHONPATH": str(tree)}
    process = subprocess.Popen(command, cwd=tree, env=environment, start_new_session=True)
    url = f"http://127.0.0.1:{port}"
    try:
        for _ in range(300):
            with contextlib.suppress(OSError):
                if urllib.request.urlopen(url, timeout=5).status == 200:
                    break
            time.sleep(0.2)
        yield psutil.Process(process.pid), url
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        process.wait(20)


@contextlib.contextmanager
def open_browser(url: str) -> Iterator[tuple[Page, psutil.Process]]:
    """Opens a page in Chromium; yields it and the browser's process."""
    path = next(filter(None, map(shutil.which, _BROWSERS)), None)
    before = {one.pid for one in psutil.Process().children(recursive=True)}
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 1280, "height": 900})
        page.goto(url)
        mine = [one for one in psutil.Process().children(recursive=True) if one.pid not in before]
        yield page, next(one for one in mine if "--headless" in " ".join(one.cmdline()))
        browser.close()


def count_requests(page: Page) -> dict[str, int]:
    """Returns a tally that goes on counting the page's requests and what they bring."""
    counted = {"requests": 0, "bytes": 0}
    session = page.context.new_cdp_session(page)
    session.on("Network.requestWillBeSent", lambda _: _add(counted, "requests", 1))
    session.on("Network.loadingFinished", lambda e: _add(counted, "bytes", e["encodedDataLength"]))
    session.send("Network.enable")
    return counted


def _add(counted: dict[str, int], name: str, number: float) -> None:
    counted[name] += int(number)


def read_seconds(process: psutil.Process) -> float:
    """Returns the processor time that a process itself has used."""
    times = process.cpu_times()
    return float(times.user + times.system)


def read_renderer_seconds(browser: psutil.Process) -> float:
    """Returns the processor time of a browser's renderer processes."""
    total = 0.0
    for one in browser.children(recursive=True):
        with contextlib.suppress(psutil.Error):
            if "--type=renderer" in " ".join(one.cmdline()):
                total += read_seconds(one)
    return total


if __name__ == "__main__":
    main()
