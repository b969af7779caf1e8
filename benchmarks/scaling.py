"""How time and memory of a run grow with its images and its steps.

    python benchmarks/scaling.py [--images N …] [--steps N …] [--results FILE]

Each row is a run on the starter model at 64 pixels in a process of its own. Time is the process's
CPU time, into which other processes do not count. Memory is what the process holds
after a fifth of its steps, and at the end.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

STARTER_MODEL = ROOT / "examples" / "starter-model"
RESULTS = ROOT / "benchmarks" / "results" / "scaling-cpu.json"
FEW_IMAGES, FEW_STEPS = 10, 100
_SIDE = 64


def main() -> None:
    """Runs every row and prints it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=int, nargs="*", default=[10, 100, 1000, 10_000])
    parser.add_argument("--steps", type=int, nargs="*", default=[100, 1000, 10_000])
    parser.add_argument("--results", type=Path, default=RESULTS)
    parser.add_argument("--inside", type=int, nargs=2, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.inside:
        with tempfile.TemporaryDirectory() as folder:
            print(json.dumps(measure(*args.inside, Path(folder))))
        return
    cases = [(images, FEW_STEPS) for images in args.images]
    cases += [(FEW_IMAGES, steps) for steps in args.steps if (FEW_IMAGES, steps) not in cases]
    rows = []
    print(f"{'images':>7} {'steps':>7} {'ms/image':>9} {'ms/step':>8} {'MB then':>8} {'MB end':>7}")
    for images, steps in cases:
        row = run_apart(images, steps)
        rows.append(row)
        print(
            f"{images:7} {steps:7} {row['seconds_per_image'] * 1e3:9.1f} "
            f"{row['seconds_per_step'] * 1e3:8.1f} {row['early_bytes'] / 1e6:9.0f} "
            f"{row['end_bytes'] / 1e6:7.0f}",
            flush=True,
        )
    result = {"command": "python benchmarks/scaling.py", "pixels": _SIDE, "rows": rows}
    args.results.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


def run_apart(images: int, steps: int) -> dict[str, Any]:
    """Returns the result of `measure`, from a process of its own."""
    command = [sys.executable, __file__, "--inside", str(images), str(steps)]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return result


def measure(images: int, steps: int, folder: Path) -> dict[str, Any]:
    """Returns CPU seconds per image and per step, and the bytes held early and at the end."""
    from trainer.commands import quiet_model_libraries
    from trainer.config import layer_config
    from trainer.runs import create_run
    from trainer.training.loop import read_batches
    from trainer.training.session import open_session
    from trainer.training.step import take_step

    quiet_model_libraries()
    write_images(folder / "images", images)
    settings: dict[str, Any] = {
        "base_model": {"path": str(STARTER_MODEL)},
        "dataset": {"path": str(folder / "images"), "resolution": _SIDE, "shuffle_tags": True},
        "adapter": {"rank": 4, "conv_rank": 0, "text_rank": 0},
        "train": {"batch_size": 1, "steps": steps},
        "samples": {"every_steps": 0},
    }
    run = create_run(folder / "runs", layer_config(settings=settings))
    start = time.process_time()
    session = open_session(run, folder / "cache")
    opened = time.process_time() - start
    session.state.start_learning()
    batches = read_batches(session)
    early, start = 0, time.process_time()
    for step in range(1, steps + 1):
        take_step(session, batches)
        if step == steps // 5:
            early = read_held_bytes()
    return {
        "images": images,
        "steps": steps,
        "seconds_per_image": opened / images,
        "seconds_per_step": (time.process_time() - start) / steps,
        "early_bytes": early,
        "end_bytes": read_held_bytes(),
    }


def write_images(folder: Path, count: int) -> None:
    """Writes images of noise with tags, each another one."""
    import numpy as np
    from PIL import Image

    folder.mkdir()
    generator = np.random.default_rng(0)
    for number in range(count):
        pixels = generator.integers(0, 256, (_SIDE, _SIDE, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{number:05d}.png")
        tags = ", ".join(f"tag{each}" for each in generator.integers(0, 100, 6))
        (folder / f"{number:05d}.txt").write_text(tags, encoding="utf-8")


def read_held_bytes() -> int:
    """Returns the bytes of main memory that this process holds."""
    import psutil

    held: int = psutil.Process(os.getpid()).memory_info().rss
    return held


if __name__ == "__main__":
    main()
