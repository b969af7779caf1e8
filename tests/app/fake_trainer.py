"""A stand-in for the trainer: real events, real requests, pictures of one colour, no learning.

It takes no time. Where a test closes a gate it waits: before a step at `step-N`, with the pictures
of a preview half made at `preview`.

fake_trainer.py train RUN_FOLDER            fake_trainer.py preview-worker FOLDER
fake_trainer.py models PATH --json          and the other words of fake_jobs.py
"""

import json
import os
import sys
import time
from pathlib import Path

from PIL import Image

from datasets_tools.files import write_atomically
from tests.app.fake_jobs import JOBS
from tests.gates import wait_at
from trainer.runs import (
    PreviewFolder,
    RunFolder,
    append_event,
    clear_requests,
    own_folder,
    read_requests,
)
from trainer.runs.previews import list_requests

SECONDS_PER_STEP = 0.1  # what it says; the steps themselves take no time


def train(folder: Path) -> None:
    run = RunFolder(folder)
    config = run.config
    events = run.events_path
    print("fake trainer starts", flush=True)
    if config.name == "dies-before":
        sys.exit("RuntimeError: no memory for this")
    with own_folder(folder):
        first = max((one.step for one in run.list_checkpoints()), default=0)
        steps = config.train.steps
        append_event(events, "started", from_step=first, steps=steps, device="fake")
        append_event(events, "data", examples=3, buckets={"128x128": 3})
        if first == 0:
            make_samples(run, 0)
        for step in range(first + 1, steps + 1):
            wait_at(f"step-{step}")
            if config.name == "dies" and step == 20:
                print("RuntimeError: out of memory", flush=True)
                os._exit(1)
            loss = 0.4 / step**0.3 + 0.05 * (step * 7919 % 13) / 13
            left = (steps - step) * SECONDS_PER_STEP
            append_event(events, "step", step=step, steps=steps, loss=loss, seconds_left=left)
            if not obey(run, step):
                append_event(events, "ended", reason="stopped", message="", step=step)
                return
            if config.samples.every_steps and step % config.samples.every_steps == 0:
                make_samples(run, step)
        write_adapter(folder / f"{config.name}.safetensors")
        append_event(events, "exported", file=f"{config.name}.safetensors", bytes=8)
        append_event(events, "ended", reason="finished", message="", step=steps)


def obey(run: RunFolder, step: int) -> bool:
    asked = read_requests(run.path)
    for what in asked & {"sample", "save"}:  # called without a name, it would clear all
        clear_requests(run.path, what)
    if "sample" in asked:
        make_samples(run, step)
    if asked & {"save", "stop"}:
        folder = run.checkpoints_path / f"step-{step:06d}"
        folder.mkdir(parents=True, exist_ok=True)
        write_adapter(folder / "adapter.safetensors")
        (folder / "meta.json").write_text("{}")
        append_event(run.events_path, "checkpoint", step=step, folder=f"checkpoints/{folder.name}")
    if "stop" in asked:
        clear_requests(run.path)
        return False
    if "pause" in asked:
        append_event(run.events_path, "paused", step=step)
        while not {"resume", "stop"} & (now := read_requests(run.path)) and "pause" in now:
            time.sleep(0.05)
        clear_requests(run.path, "pause", "resume")
        append_event(run.events_path, "resumed", step=step)
    return True


def make_samples(run: RunFolder, step: int) -> None:
    folder = run.samples_path / f"step-{step:06d}"
    folder.mkdir(parents=True, exist_ok=True)
    for index, prompt in enumerate(run.config.samples.prompts or ["a cat", "a ${alert(1)} dog"]):
        colour = (40 + step % 200, 90 * index % 255, 160)
        Image.new("RGB", (128, 128), colour).save(folder / f"{index:02d}.png")
        file = f"samples/{folder.name}/{index:02d}.png"
        append_event(
            run.events_path, "sample", step=step, index=index, prompt=prompt, seed=1, file=file
        )


def write_adapter(path: Path) -> None:
    path.write_bytes(b"\x02\0\0\0\0\0\0\0{}")


def serve_previews(folder: PreviewFolder) -> None:
    folder.prepare()
    loads, idle = 0, time.monotonic()
    with own_folder(folder.path):
        while time.monotonic() - idle < 30:
            for request_id, wanted in list_requests(folder):
                loads = loads or 1
                result = folder.results_path / request_id
                result.mkdir(exist_ok=True)
                weight = wanted.adapters[0].weight
                Image.new("RGB", (256, 256), (120, 120, 120)).save(result / "without.png")
                shade = min(255, int(120 * weight))
                Image.new("RGB", (256, 256), (shade, 80, 200)).save(result / "with.png")
                wait_at("preview")
                answer = json.dumps({"seconds": 0.3, "base_loads": loads})
                write_atomically(result / "result.json", answer)
                (folder.requests_path / f"{request_id}.json").unlink(missing_ok=True)
                idle = time.monotonic()
            time.sleep(0.05)


if __name__ == "__main__":
    what, *rest = sys.argv[1:]
    if what == "train":
        train(Path(rest[0]))
    elif what == "preview-worker":
        serve_previews(PreviewFolder(Path(rest[0])))
    else:
        JOBS[what](rest)
