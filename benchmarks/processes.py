"""How fast is a training step in several processes, against one process on the same cores?

    python benchmarks/processes.py [--processes N] [--batch N] [--steps N] [--rounds N]
                                   [--base-model PATH] [--resolution PIXELS] [--results FILE]

Both train the same weights on the same images on the CPU. They take turns, so that a drift of the
computer's speed meets both; what counts is the ratio of a round's two times. While one process
computes alone, with a thread for each core, the others wait. Afterwards the weights of both are
compared: they have done the same updates. The computer must have nothing else to do.
"""

import argparse
import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

import torch  # noqa: E402 - needs the settings above

from trainer.commands import quiet_model_libraries  # noqa: E402
from trainer.config import layer_config  # noqa: E402
from trainer.runs import RunFolder, create_run  # noqa: E402
from trainer.training.loop import read_batches  # noqa: E402
from trainer.training.processes import start_processes  # noqa: E402
from trainer.training.session import Session, open_session  # noqa: E402
from trainer.training.step import take_step  # noqa: E402

STARTER_MODEL = ROOT / "examples" / "starter-model"
DATASET = ROOT / "examples" / "openmoji-style" / "images"
RESULTS = ROOT / "benchmarks" / "results" / "processes-cpu.json"


def main() -> None:
    """Times both in turns and prints the ratio."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--batch", type=int, default=8, help="images of an update")
    parser.add_argument("--steps", type=int, default=10, help="steps of each in a round")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--base-model", type=Path, default=STARTER_MODEL)
    parser.add_argument("--resolution", type=int, default=0, help="0 is the base model's own")
    parser.add_argument("--results", type=Path, default=RESULTS)
    args = parser.parse_args()
    quiet_model_libraries()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        alone = open_session(make_run(folder, args), folder / "cache")
        run = make_run(folder, args)
        with start_processes(run, folder / "cache", args.processes) as group:
            together = open_session(run, folder / "cache", group=group)
            group.open_sessions()
            group.connect(together.fingerprint, together.context.device)
            rounds = time_in_turns(alone, together, args)
            write_results(rounds, alone, together, args)


def make_run(folder: Path, args: argparse.Namespace) -> RunFolder:
    """Returns a run with the rates of the demo, which are large, at a constant schedule."""
    settings: dict[str, Any] = {
        "base_model": {"path": str(args.base_model.resolve())},
        "dataset": {"path": str(DATASET), "resolution": args.resolution},
        "train": {"device": "cpu", "batch_size": args.batch, "steps": 100_000},
        "optimizer": {"schedule": "constant", "warmup_steps": 0},
        "samples": {"every_steps": 0},
    }
    return create_run(folder / "runs", layer_config("starter-style", settings=settings))


def time_in_turns(
    alone: Session, together: Session, args: argparse.Namespace
) -> list[dict[str, float]]:
    """Returns the seconds per step of each round."""
    loops = {"one": prepare(alone), "several": prepare(together)}
    rounds = []
    for index in range(args.rounds + 1):
        row = {"one": measure(loops["one"], args.steps)}
        with together.group.sharing_cores():
            row["several"] = measure(loops["several"], args.steps)
        if index:  # the first one allocates and warms up
            rounds.append(row)
            print(f"{row['one']:.4f} s alone, {row['several']:.4f} s together", flush=True)
    return rounds


def prepare(session: Session) -> Callable[[], Any]:
    """Returns a function that does one step."""
    session.state.start_learning()
    batches = read_batches(session)
    return lambda: take_step(session, batches)


def measure(step: Callable[[], Any], steps: int) -> float:
    """Returns seconds per step."""
    start = time.perf_counter()
    for _ in range(steps):
        step()
    return (time.perf_counter() - start) / steps


def write_results(
    rounds: list[dict[str, float]], alone: Session, together: Session, args: argparse.Namespace
) -> None:
    """Prints the ratio and keeps it with what it was measured on."""
    ratios = [each["one"] / each["several"] for each in rounds]
    first, second = alone.adapters.state(), together.adapters.state()
    largest = max(float((first[name] - second[name]).abs().max()) for name in first)
    results = {
        "command": "python benchmarks/processes.py",
        "date": datetime.now(UTC).strftime("%Y-%m-%d"),
        "cores": os.cpu_count(),
        "threads": {"one": torch.get_num_threads(), "several": together.group.threads},
        "processes": args.processes,
        "torch": version("torch"),
        "work": f"{args.base_model.name}, batch {args.batch}, {len(first)} weights",
        "steps": alone.state.step,
        "seconds_per_step": {
            key: statistics.median(each[key] for each in rounds) for key in ("one", "several")
        },
        "one_over_several": {
            "median": statistics.median(ratios),
            "lowest": min(ratios),
            "highest": max(ratios),
        },
        "largest_difference_of_a_weight": largest,
    }
    args.results.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    print(json.dumps(results, indent=1))


if __name__ == "__main__":
    main()
