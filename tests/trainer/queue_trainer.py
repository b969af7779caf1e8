"""A trainer whose file depends on every step, and the commands that the worker of a queue needs.

It takes no time. What happens is appended to ORDER_FILE of the workspace. A plan kills processes at
steps: PLAN_FILE is a list of [run's name, step, victims], each of which happens once.

queue_trainer.py train RUN --on=DEVICE[,DEVICE]
queue_trainer.py queue devices --json        the names in TEST_DEVICES
queue_trainer.py queue work --workspace=FOLDER
"""

import contextlib
import hashlib
import json
import os
import signal
import sys
from pathlib import Path

import psutil

from tests.gates import wait_at
from trainer.runs import RunFolder, append_event, find_owner, own_folder
from trainer.runs.queue import own_devices, serve_queue, worker

COMMAND = (sys.executable, str(Path(__file__).resolve()))
DEVICES = "TEST_DEVICES"
ORDER_FILE, PLAN_FILE = "order.jsonl", "plan.json"


def compute_file(name, steps):
    """Returns what the file of a run holds."""
    state = name.encode()
    for step in range(1, steps + 1):
        state = advance(state, step)
    return state


def advance(state, step):
    return hashlib.sha256(state + str(step).encode()).digest()


def train(folder, devices):
    run, root = RunFolder(folder), folder.parents[1]
    name, steps = run.config.name, run.config.train.steps
    every = run.config.output.checkpoint_every_steps
    if name.startswith("refused"):
        sys.exit("lorasmith: this run cannot begin.")
    with own_devices(root, devices), own_folder(folder):
        report(root, "begin", run.id, devices)
        last = run.list_checkpoints()[-1:]
        state = (last[0].path / "state").read_bytes() if last else name.encode()
        first = last[0].step if last else 0
        append_event(run.events_path, "started", from_step=first, steps=steps)
        for step in range(first + 1, steps + 1):
            wait_at(f"{name}-{step}")
            if name.startswith("fails") and step == 2:
                append_event(run.events_path, "ended", reason="failed", message="No memory.")
                sys.exit(2)
            if name.startswith("dies") and step == 2:
                os.kill(os.getpid(), signal.SIGKILL)
            state = advance(state, step)
            kill_as_planned(root, name, step)
            if step % every == 0 or step == steps:
                save(run, step, state)
        (folder / f"{name}.safetensors").write_bytes(state)
        append_event(run.events_path, "ended", reason="finished", message="", step=steps)
        report(root, "end", run.id, devices)


def save(run, step, state):
    folder = run.checkpoints_path / f"step-{step:06d}"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "state").write_bytes(state)
    (folder / "meta.json").write_text("{}")
    append_event(run.events_path, "checkpoint", step=step)


def report(root, what, run_id, devices):
    """Appends what happens, and who else is alive that began on one of these devices."""
    path = root / ORDER_FILE
    others = [
        line["run"]
        for line in read_order(root)
        if what == "begin" and set(line["devices"]) & set(devices) and is_running(line)
    ]
    about = {"what": what, "run": run_id, "devices": devices, "pid": os.getpid(), "beside": others}
    about["started"] = psutil.Process().create_time()
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    os.write(handle, json.dumps(about).encode() + b"\n")
    os.close(handle)


def read_order(root):
    path = root / ORDER_FILE
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def is_running(line):
    with contextlib.suppress(psutil.Error):
        process = psutil.Process(line["pid"])
        same = abs(process.create_time() - line["started"]) < 1
        return same and process.status() != psutil.STATUS_ZOMBIE
    return False


def kill_as_planned(root, name, step):
    path = root / PLAN_FILE
    plan = json.loads(path.read_text()) if path.exists() else []
    for number, (victim_name, victim_step, victims) in enumerate(plan):
        if (victim_name, victim_step) != (name, step):
            continue
        with contextlib.suppress(FileExistsError):
            (root / f"killed-{number}").touch(exist_ok=False)
            kill(root, victims)


def kill(root, victims):
    if "worker" in victims:
        owner = find_owner(worker.find_worker_folder(root))
        if owner is not None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(owner.pid, signal.SIGKILL)
    if "trainer" in victims:
        os.kill(os.getpid(), signal.SIGKILL)


def main(words):
    match words:
        case ["train", folder, on]:
            train(Path(folder), on.removeprefix("--on=").split(","))
        case ["queue", "devices", "--json"]:
            print(json.dumps(os.environ[DEVICES].split(",")))
        case ["queue", "work", option]:
            worker.POLL_SECONDS = worker._PAUSE_SECONDS = 0.02
            serve_queue(Path(option.removeprefix("--workspace=")), COMMAND)


if __name__ == "__main__":
    main(sys.argv[1:])
