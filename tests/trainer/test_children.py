"""Processes that end with the one that started them."""

import subprocess
import sys
import time

import psutil
import pytest

from tests.trainer.conftest import ROOT
from trainer.runs.children import Child

OTHERS = "tests.trainer.children:"


@pytest.fixture
def start(tmp_path):
    children = []

    def begin(name, *arguments):
        children.append(Child(OTHERS + name, arguments, tmp_path / "log.txt"))
        return children[-1]

    yield begin
    for child in children:
        child.end()


def test_child_answers_and_its_end_is_described(start):
    child = start("answer", 7)
    child.send(6)
    assert child.receive() == 42
    assert not child.has_ended()
    child.send(0)
    with pytest.raises(EOFError):
        child.receive()
    assert child.has_ended(within=60)
    child.send(1)  # nobody hears it
    assert child.describe_end() == "ended with exit code 2: It was asked for nothing."


def test_child_is_ended_in_the_middle_of_something(start, tmp_path):
    child = start("sleep", str(tmp_path / "pid"))
    while not (tmp_path / "pid").exists():
        time.sleep(0.05)
    process = psutil.Process(child.pid)
    assert child.describe_end() == "does not answer"
    child.end()
    assert not process.is_running()


STARTER = """
import sys, time
from pathlib import Path
from trainer.runs.children import Child
if __name__ == "__main__":
    child = Child(sys.argv[1], [sys.argv[2]], Path(sys.argv[2] + ".log"))
    time.sleep(3600)
"""


def test_child_ends_when_its_starter_is_killed(tmp_path):
    path = tmp_path / "pid"
    command = [sys.executable, "-c", STARTER, f"{OTHERS}sleep", str(path)]
    starter = subprocess.Popen(command, cwd=ROOT)
    try:
        while not (path.exists() and path.read_text()):
            assert starter.poll() is None
            time.sleep(0.05)
        child = psutil.Process(int(path.read_text()))
    finally:
        starter.kill()
        starter.wait()
    assert psutil.wait_procs([child], timeout=60)[1] == []
