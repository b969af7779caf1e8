"""Compares the memory estimate with measurements: every setting is estimated, then really run.

    python benchmarks/memory.py [--only NAME ...] [--device cpu|cuda] [--results FILE]
    python benchmarks/memory.py --full-size

Each setting runs in a process of its own on the starter model: the base model is loaded, the
dataset encoded, two steps are done and a sample is generated. Measurements come from PyTorch's
allocator (trainer/memory/measure.py), not from anything that the estimate uses. With --full-size
nothing is measured: the table of benchmarks/memory_full_size.py is estimated.
"""

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

# The path must be set above.
from benchmarks.measured_pages import write_between  # noqa: E402
from benchmarks.memory_full_size import write_full_size  # noqa: E402

STARTER_MODEL = ROOT / "examples" / "starter-model"
DATASET = ROOT / "examples" / "openmoji-style" / "images"
RESULTS = ROOT / "benchmarks" / "results" / "memory-{device}.json"
PAGE = ROOT / "docs" / "memory.md"
START, END = "<!-- memory table -->", "<!-- end of the memory table -->"

# Name of a setting to its assignments, as for `--set`.
SETTINGS: dict[str, tuple[str, ...]] = {
    "as it comes": (),
    "batch 1": ("train.batch_size=1",),
    "batch 8": ("train.batch_size=8",),
    "batch 8, checkpointing": ("train.batch_size=8", "train.gradient_checkpointing=true"),
    "64 pixels": ("dataset.resolution=64",),
    "256 pixels": ("dataset.resolution=256",),
    "rank 4": ("adapter.rank=4", "adapter.conv_rank=4", "adapter.text_rank=4"),
    "rank 128": (
        "adapter.rank=128",
        "adapter.conv_rank=64",
        "adapter.text_rank=64",
        'adapter.blocks=[{pattern = "*.resnets.*", rank = 64}]',  # which are no larger
    ),
    "no convolutions": ("adapter.conv_rank=0",),
    "frozen text encoder": ("adapter.text_rank=0",),
    "UNet attention only, checkpointing": (
        "adapter.conv_rank=0",
        "adapter.text_rank=0",
        "train.gradient_checkpointing=true",
    ),
    "bf16, batch 4": ("base_model.precision=bf16", "train.batch_size=4"),
    "bf16, batch 8, checkpointing": (
        "base_model.precision=bf16",
        "train.batch_size=8",
        "train.gradient_checkpointing=true",
    ),
    "4 bits": ("base_model.quantize=nf4", "train.batch_size=4"),
    "fp8, bf16": ("base_model.quantize=fp8", "base_model.precision=bf16", "train.batch_size=4"),
    "int8, checkpointing": ("base_model.quantize=int8", "train.gradient_checkpointing=true"),
    "batch 8, activations again": ("train.batch_size=8", "train.recompute=activations"),
    "bf16, batch 8, feed-forward again": (
        "base_model.precision=bf16",
        "train.batch_size=8",
        "train.recompute=feed_forward",
    ),
    "fp8, batch 8, feed-forward again": (
        "base_model.quantize=fp8",
        "train.batch_size=8",
        "train.recompute=feed_forward",
    ),
    "all blocks wait in main memory": (
        "base_model.offload_fraction=1.0",
        "train.gradient_checkpointing=true",
        "train.batch_size=4",
    ),
    "half of the blocks wait, fp8": (
        "base_model.offload_fraction=0.5",
        "base_model.quantize=fp8",
        "adapter.text_rank=0",
    ),
    "accumulate 4": ("train.accumulate=4", "train.batch_size=4"),
    "EMA, dropout, flips": (
        "optimizer.ema_decay=0.99",
        "adapter.dropout=0.1",
        "dataset.flip=true",
    ),
    "DoRA": ("adapter.kind=dora",),
    "LoHa": ("adapter.kind=loha",),
    "AdamW in 8 bits": ("optimizer.kind=adamw8bit",),
    "everything stays on the device": ("train.offload=false", "train.batch_size=4"),
}


def main() -> None:
    """Measures the settings one after the other and prints the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", nargs="+", choices=SETTINGS, help="settings to measure")
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    parser.add_argument("--results", type=Path, help="where to write; with --only nothing is")
    parser.add_argument("--full-size", action="store_true", help="estimate full-size models")
    parser.add_argument("--inside", action="store_true", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.inside:
        with tempfile.TemporaryDirectory() as folder:
            print(json.dumps(compare(args.only[0], args.device, Path(folder))))
        return
    if args.full_size:
        write_full_size(PAGE)
        return
    rows = []
    print(f"{'setting':36} {'estimate':>9} {'measured':>9} {'error':>7} {'step':>7} {'process':>9}")
    for name in args.only or SETTINGS:
        rows.append(run_apart(name, args.device))
        print_row(rows[-1])
    worst = max(rows, key=lambda row: abs(row["error"]))
    print(f"worst: {worst['error']:+.1%} ({worst['setting']})")
    if args.results or not args.only:
        write_results(rows, args)


def run_apart(name: str, device: str) -> dict[str, Any]:
    """Returns the result of `compare`, from a process without leftovers of other settings."""
    command = [sys.executable, __file__, "--inside", "--only", name, "--device", device]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    row: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return row


def compare(name: str, device: str, folder: Path) -> dict[str, Any]:
    """Returns estimate and measurement of a setting, in bytes."""
    from trainer.commands import quiet_model_libraries
    from trainer.memory import estimate_memory

    quiet_model_libraries()
    config = make_config(SETTINGS[name], device)
    estimate = estimate_memory(config)
    phases = {phase.name: phase.peak_bytes for phase in estimate.phases}
    measured = measure_run(config, folder)
    return {
        "setting": name,
        "assignments": SETTINGS[name],
        "estimate_bytes": estimate.peak.peak_bytes,
        "measured_bytes": measured["peak"],
        "error": estimate.peak.peak_bytes / measured["peak"] - 1,
        "phase": estimate.peak.name,
        "step_estimate_bytes": phases["training step"],
        "step_measured_bytes": measured["training step"],
        "step_error": phases["training step"] / measured["training step"] - 1,
        "process_bytes": measured["process"],
        "total_bytes": estimate.total_bytes,
    }


def make_config(assignments: tuple[str, ...], device: str, dataset: Path = DATASET) -> Any:
    """Returns the config of a setting on the starter model."""
    from trainer.config import layer_config

    settings: dict[str, Any] = {
        "base_model": {"path": str(STARTER_MODEL)},
        "dataset": {"path": str(dataset)},
        "train": {"device": device, "steps": 10},
        "samples": {"inference_steps": 2, "prompts": ["a red apple"]},
    }
    return layer_config(settings=settings, assignments=assignments)


def measure_run(config: Any, folder: Path) -> dict[str, int]:
    """Returns the peak of the whole run, of a later step, and of the process, in bytes."""
    from trainer.memory.measure import measure_peak, peak_resident_bytes
    from trainer.runs import create_run
    from trainer.training.artifacts import make_samples
    from trainer.training.loop import read_batches
    from trainer.training.session import Session, open_session
    from trainer.training.step import take_step

    sessions: list[Session] = []

    def start() -> None:
        session = open_session(create_run(folder / "runs", config), folder / "cache")
        session.state.start_learning()
        sessions.append(session)

    device = __import__("torch").device(config.train.device)
    loading = measure_peak(start, device)
    session = sessions[0]
    batches = read_batches(session)
    first = measure_peak(lambda: take_step(session, batches), device)
    second = measure_peak(lambda: take_step(session, batches), device)
    sampling = measure_peak(lambda: make_samples(session), device)
    return {
        "peak": max(loading, first, second, sampling),
        "loading": loading,
        "training step": second,
        "generating samples": sampling,
        "process": peak_resident_bytes(),
    }


def print_row(row: dict[str, Any]) -> None:
    """Prints a line of the table, in megabytes."""
    print(
        f"{row['setting']:36} {row['estimate_bytes'] / 1e6:9.1f} {row['measured_bytes'] / 1e6:9.1f}"
        f" {row['error']:+7.1%} {row['step_error']:+7.1%} {row['process_bytes'] / 1e6:9.0f}",
        flush=True,
    )


def write_results(rows: list[dict[str, Any]], args: argparse.Namespace) -> None:
    """Keeps the table with what it was measured on."""
    results = {
        "command": "python benchmarks/memory.py",
        "date": datetime.now(UTC).strftime("%Y-%m-%d"),
        "device": args.device,
        "machine": platform.machine(),
        "cores": os.cpu_count(),
        "versions": {name: version(name) for name in ("torch", "diffusers", "transformers")},
        "worst_error": max(abs(row["error"]) for row in rows),
        "worst_step_error": max(abs(row["step_error"]) for row in rows),
        "settings": rows,
    }
    path = args.results or Path(str(RESULTS).format(device=args.device))
    path.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    if path == Path(str(RESULTS).format(device="cpu")):
        write_between(PAGE, (START, END), render_table(results))


def render_table(results: dict[str, Any]) -> str:
    """Returns the marked part of docs/memory.md."""
    lines = [
        f"On {results['device']}, PyTorch {results['versions']['torch']}, {results['date']}; in MB",
        "",
        "| setting | estimate | measured | error | error of the step | whole process |",
        "|---|---|---|---|---|---|",
    ]
    for row in results["settings"]:
        sizes = (row["estimate_bytes"], row["measured_bytes"], row["process_bytes"])
        estimated, real, process = (f"{size / 1e6:.0f}" for size in sizes)
        errors = f"{row['error']:+.1%} | {row['step_error']:+.1%}"
        lines.append(f"| {row['setting']} | {estimated} | {real} | {errors} | {process} |")
    return "\n".join([*lines, "", f"Largest error: {results['worst_error']:.1%}."])


if __name__ == "__main__":
    main()
