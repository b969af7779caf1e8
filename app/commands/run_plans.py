"""A run before it starts: what its steps are shown, and the memory that it takes."""

import argparse
import json
from pathlib import Path

from app.commands.arguments import (
    Subparsers,
    add_command,
    add_run_or_settings,
    find_models,
    read_settings,
)


def add_commands(commands: Subparsers) -> None:
    """Adds `batches`, `estimate` and `probe`."""
    _add_batches(commands)
    estimate = add_command(
        commands, "estimate", _run_estimate, "estimate the memory that a run will take"
    )
    add_run_or_settings(estimate)
    estimate.add_argument(
        "--device", choices=["cpu", "cuda", "mps"], default="",
        help="a kind of device, which need not be here; left out, the run's own",
    )  # fmt: skip
    estimate.add_argument(
        "--free", "--memory", type=_read_gigabytes, default=0.0, metavar="GB",
        help="its free memory, such as 8 or 8GB; 0 asks the device",
    )  # fmt: skip
    estimate.add_argument("--json", action="store_true", help="print the tables as JSON")
    estimate.epilog = "Nothing is loaded. The exit code is 1 where the run does not fit."
    probe = add_command(
        commands, "probe", _run_probe, "measure memory and time with two real steps"
    )
    add_run_or_settings(probe)
    probe.add_argument("--json", action="store_true", help="print what was measured as JSON")
    probe.epilog = "The steps run on noise in a folder of their own; nothing of them stays."


def _add_batches(commands: Subparsers) -> None:
    batches = add_command(
        commands, "batches", _run_batches, "show what a run's steps are shown: cuts and captions"
    )
    add_run_or_settings(batches)
    batches.add_argument("--steps", type=int, default=4, help="how many steps")
    batches.add_argument("--first", type=int, default=1, help="the first of these steps")
    batches.add_argument(
        "--to", type=Path, metavar="FOLDER",
        help="write each image as the VAE gets it, batches.png with all, and batches.json",
    )  # fmt: skip
    batches.add_argument("--json", action="store_true", help="print the list as JSON")
    batches.epilog = "Nothing is loaded but the images; the run sees exactly these."


def _read_gigabytes(text: str) -> float:
    return float(text.strip().upper().removesuffix("GB"))


def _run_batches(args: argparse.Namespace) -> int:
    config = read_settings(args)
    from trainer.commands import describe_batches, list_batches, write_batches

    rows = list_batches(config, find_models(args), (args.first, args.steps))
    entries = write_batches(rows, args.to) if args.to else [row.to_dict("") for row in rows]
    if args.json:
        print(json.dumps(entries, indent=1, ensure_ascii=False))
    else:
        print(describe_batches(rows))
    return 0


def _run_estimate(args: argparse.Namespace) -> int:
    config = read_settings(args)
    from trainer.commands import estimate_run

    report = estimate_run(config, find_models(args), args.device, round(args.free * 1e9))
    if args.json:
        print(json.dumps(report.to_dict(), indent=1, ensure_ascii=False))
    else:
        print(report.to_text())
    return 0 if report.fits else 1


def _run_probe(args: argparse.Namespace) -> int:
    config = read_settings(args)
    from trainer.commands import probe_run

    measured = probe_run(config, find_models(args))
    if args.json:
        print(json.dumps(measured, indent=1))
        return 0
    print(
        f"{measured['device']}: {measured['peak_bytes'] / 1e9:.2f} GB at the peak of a step, "
        f"{measured['seconds_per_step']:.2f} seconds a step; the whole process took "
        f"{measured['resident_bytes'] / 1e9:.2f} GB of main memory."
    )
    return 0
