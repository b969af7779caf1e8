"""A stand-in for the trainer: real events, real requests, pictures of one colour, no learning.

It takes no time. Where a test closes a gate it waits: before a step at `step-N`, with the pictures
of a preview half made at `preview`.

fake_trainer.py train RUN_FOLDER            fake_trainer.py preview-worker FOLDER
fake_trainer.py queue work --workspace=...  the worker of the queue, with real locks
fake_trainer.py queue devices --json        those in TEST_DEVICES, else one CPU
fake_trainer.py models PATH --json          and the other words of fake_jobs.py
"""

import json
import os
import sys
import time
from collections.abc import Mapping
from pathlib import Path

from PIL import Image

from datasets_tools.files import write_atomically
from tests.app.fake_jobs import JOBS
from tests.gates import wait_at
from trainer.config import MAX_PROMPTS
from trainer.runs import (
    PreviewFolder,
    RunFolder,
    append_event,
    clear_requests,
    own_folder,
    read_request_lines,
    read_requests,
)
from trainer.runs.previews import list_requests
from trainer.runs.queue import own_devices, serve_queue

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
        append_event(events, "started", from_step=first, steps=steps)
        report_data(run)
        reason, step = "finished", first
        if first == 0:
            make_samples(run, 0)
        for step in range(first + 1, steps + 1):
            wait_at(f"step-{step}")
            if config.name == "dies" and step == 20:
                print("RuntimeError: out of memory", flush=True)
                os._exit(1)
            report_step(run, step)
            if is_due(step, config.samples.every_steps, steps):
                make_samples(run, step)
            if is_due(step, config.output.checkpoint_every_steps, steps) or step == steps:
                save_checkpoint(run, step)
            if not obey(run, step) and step < steps:
                reason = "stopped"
                break
        export(run, step, f"{config.name}.safetensors")
        append_event(events, "ended", reason=reason, message="", step=step)


def report_data(run: RunFolder) -> None:
    total = 3
    for done in range(1, total + 1):
        append_event(run.events_path, "cache", what="images", done=done, total=total)
    facts = {"device": "cpu", "precision": "fp32", "processes": 1, "layers": 2, "parameters": 64}
    append_event(run.events_path, "data", examples=total, buckets={"128x128": total}, **facts)


def report_step(run: RunFolder, step: int) -> None:
    """Every step is reported, whatever train.log_every_steps is."""
    steps, rates = run.config.train.steps, run.config.optimizer.learning_rates
    append_event(
        run.events_path,
        "step",
        step=step,
        steps=steps,
        loss=0.4 / step**0.3 + 0.05 * (step * 7919 % 13) / 13,
        learning_rates={part: rates[part] for part in ("unet", "conv", "text")},
        steps_per_second=1 / max(SECONDS_PER_STEP, 0.001),
        seconds_left=(steps - step) * SECONDS_PER_STEP,
        memory_bytes=0,
    )


def is_due(step: int, every: int, steps: int) -> bool:
    return every > 0 and (step % every == 0 or step == steps)


def obey(run: RunFolder, step: int) -> bool:
    asked = read_requests(run.path)
    if "sample" in asked:
        own = read_request_lines(run.path, "sample")
        make_samples(run, step, dict(enumerate(own, MAX_PROMPTS)))
        clear_requests(run.path, "sample")
    if "save" in asked:
        save_checkpoint(run, step)
        export(run, step, f"{run.config.name}-{step:06d}.safetensors")
        clear_requests(run.path, "save")
    if "pause" in asked and "stop" not in asked:
        save_checkpoint(run, step)
        append_event(run.events_path, "paused", step=step)
        while not {"resume", "stop"} & read_requests(run.path):
            time.sleep(0.05)
        clear_requests(run.path, "pause", "resume")
        append_event(run.events_path, "resumed", step=step)
        asked = read_requests(run.path)
    if "stop" not in asked:
        return True
    save_checkpoint(run, step)
    clear_requests(run.path)
    return False


def save_checkpoint(run: RunFolder, step: int) -> None:
    if any(one.step == step for one in run.list_checkpoints()):
        return
    folder = run.checkpoints_path / f"step-{step:06d}"
    folder.mkdir(parents=True, exist_ok=True)
    write_adapter(folder / "adapter.safetensors")
    (folder / "meta.json").write_text("{}")
    append_event(run.events_path, "checkpoint", step=step, folder=f"checkpoints/{folder.name}")


def export(run: RunFolder, step: int, name: str) -> None:
    size = write_adapter(run.path / name)
    proof = {"modules": 2, "max_relative_error": 0.0, "sha256": "0" * 64}
    append_event(run.events_path, "exported", step=step, file=name, bytes=size, **proof)


def make_samples(run: RunFolder, step: int, own: Mapping[int, str] | None = None) -> None:
    """Own prompts of one request have columns of their own, by number."""
    samples = run.config.samples
    if samples.every_steps == 0 and own is None:
        return
    prompts = own or dict(enumerate(samples.prompts or ["a cat", "a ${alert(1)} dog"]))
    folder = run.samples_path / f"step-{step:06d}"
    folder.mkdir(parents=True, exist_ok=True)
    for index, prompt in prompts.items():
        colour = (40 + step % 200, 90 * index % 255, 160)
        Image.new("RGB", (128, 128), colour).save(folder / f"{index:02d}.png")
        append_event(
            run.events_path,
            "sample",
            step=step,
            index=index,
            prompt=prompt,
            seed=samples.seed + index,
            weight=samples.weight,
            file=f"samples/{folder.name}/{index:02d}.png",
        )


def write_adapter(path: Path) -> int:
    return path.write_bytes(b"\x02\0\0\0\0\0\0\0{}")


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


def answer_queue(what, option):
    if what == "devices":
        print(json.dumps(os.environ.get("TEST_DEVICES", "cpu").split(",")))
        return
    serve_queue(Path(option.removeprefix("--workspace=")), (sys.executable, __file__))


if __name__ == "__main__":
    what, *rest = sys.argv[1:]
    if what == "train" and len(rest) > 1:
        folder, on = Path(rest[0]), rest[1].removeprefix("--on=").split(",")
        with own_devices(folder.parents[1], on):
            train(folder)
    elif what == "train":
        train(Path(rest[0]))
    elif what == "queue":
        answer_queue(*rest)
    elif what == "preview-worker":
        serve_previews(PreviewFolder(Path(rest[0])))
    else:
        JOBS[what](rest)
