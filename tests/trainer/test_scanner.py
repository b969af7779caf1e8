"""A run under Windows' file rules, with a polled page and a virus scanner beside it."""

import contextlib
import http.client
import subprocess
import sys
import threading
import time
from urllib.parse import quote, urlencode

import pytest

from tests.ports import hold_port
from tests.windows.environment import ROOT, make_environment, needs_linux
from tests.windows.scanner import OPEN_SECONDS
from trainer.runs import RunFolder, list_runs, read_status

pytestmark = [pytest.mark.slow, needs_linux, pytest.mark.timeout(1800)]

POLLS_A_SECOND = 5
CHANGES = [
    "train.steps=12",
    "output.checkpoint_every_steps=2",
    "output.keep_checkpoints=2",
    "samples.every_steps=4",
    "optimizer.ema_decay=0.9",
]


def call(environment, *arguments, **options):
    command = [sys.executable, "-m", "app.cli", *map(str, arguments)]
    return subprocess.Popen(command, cwd=ROOT, env=environment, **options)


@contextlib.contextmanager
def scanning(folder):
    """Runs the scanner on a folder; yields a list that gets the number of files it opened."""
    command = [sys.executable, "-m", "tests.windows.scanner", str(folder)]
    process = subprocess.Popen(command, cwd=ROOT, stdin=-1, stdout=-1, text=True)
    opened = []
    try:
        yield opened
    finally:
        opened.append(int(process.communicate()[0]))


@contextlib.contextmanager
def serving(environment, workspace):
    """Runs the app; yields its port."""
    with hold_port() as port:
        process = call(environment, "app", f"--workspace={workspace}", f"--port={port}")
        try:
            while not fetch(port, "/ui/js/page.js"):
                assert process.poll() is None, "the app ended"
                time.sleep(0.2)
            yield port
        finally:
            process.terminate()
            process.wait(60)


def fetch(port, address, known=""):
    """Returns the status of an answer; 0 where there is none."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    try:
        connection.request("GET", address, headers={"if-none-match": known})
        answer = connection.getresponse()
        answer.read()
        return answer.status
    except ConnectionError:
        return 0
    finally:
        connection.close()


def make_address(runs):
    """Returns the address that asks for everything that shows a run, as the page does."""
    from app.web.page import list_views

    run = next(iter(list_runs(runs)), None)
    item = quote(run.id, safe="") if run else "-"
    return "/changes?" + urlencode(
        [("of", f"/view/{name}/{item}?first=run") for name in list_views()]
    )


@contextlib.contextmanager
def polling(port, runs):
    """Polls the page's state; yields the answers' statuses."""
    statuses, stop = [], threading.Event()

    def poll():
        while not stop.wait(1 / POLLS_A_SECOND):
            statuses.append(fetch(port, make_address(runs)))

    thread = threading.Thread(target=poll)
    thread.start()
    try:
        yield statuses
    finally:
        stop.set()
        thread.join()


def list_contents(run):
    """Returns what a run made, by path; the checkpoints too, but not the times of its events."""
    files = [*run.path.glob("*.safetensors"), *run.checkpoints_path.rglob("*")]
    files += run.samples_path.rglob("*")
    return {
        path.relative_to(run.path).as_posix(): path.read_bytes() for path in files if path.is_file()
    }


def test_page_and_scanner_leave_every_byte_as_it_is(tmp_path, make_run):
    plain = make_run(*CHANGES, folder="plain/runs")
    dated = {"SOURCE_DATE_EPOCH": "1700000000", "OMP_WAIT_POLICY": "PASSIVE"}
    assert call(make_environment(**dated), "train", plain.path).wait() == 0
    workspace, log = tmp_path / "workspace", tmp_path / "refusals.txt"
    (workspace / "runs").mkdir(parents=True)
    # The scanner beside it may come late where the computer is busy; the one in the rules does not.
    scan = {"LORASMITH_WINDOWS_SCAN_SECONDS": str(OPEN_SECONDS)}
    rules = make_environment(workspace, LORASMITH_WINDOWS_LOG=str(log), **scan, **dated)
    settings = ("train", f"--workspace={workspace}", f"--config={plain.config_path}")
    with (
        serving(rules, workspace) as port,
        scanning(workspace) as opened,
        polling(port, workspace / "runs") as statuses,
    ):
        assert call(rules, *settings).wait() == 0
    run = RunFolder(next((workspace / "runs").glob("*_pico")))
    assert read_status(run.path).state == "finished"
    assert list_contents(run) == list_contents(plain)
    assert sorted(path.name for path in run.path.iterdir() if path.name.endswith(".tmp")) == []
    # The test is none if nobody looked, or nothing was ever refused.
    assert opened[0] >= 20
    assert set(statuses) == {200}
    assert len(statuses) >= 10
    held = [line.split("\t")[1] for line in log.read_text().splitlines() if line[:4] == "held"]
    assert len(held) >= 20
    for place in ("checkpoints", "samples"):
        assert any(f"/{place}/" in path for path in held)


@pytest.mark.parametrize("attempt", range(3))
def test_a_run_is_created_while_a_scanner_opens_its_files(tmp_path, make_run, attempt):
    plain = make_run(folder="plain/runs")
    workspace = tmp_path / "workspace"
    (workspace / "runs").mkdir(parents=True)
    with scanning(workspace) as opened:
        process = call(
            make_environment(workspace),
            "train", "--create-only", f"--workspace={workspace}", f"--config={plain.config_path}",
        )  # fmt: skip
        assert process.wait() == 0
        time.sleep(0.2)
    (run,) = list_runs(workspace / "runs")
    assert read_status(run.path).state == "queued"
    assert run.config == plain.config
    assert sorted(path.name for path in run.path.iterdir()) == ["config.toml", "events.jsonl"]
    assert opened[0] >= 2
