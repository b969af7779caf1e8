"""Memory: what a run will take, told before the start or measured with two steps."""

import argparse
import json

from app.commands.arguments import Words, add_run_or_settings, add_word, find_models, read_settings


def add_words(words: Words) -> None:
    """Adds `estimate` and `probe`."""
    estimate = add_word(words, "estimate", run_estimate, "tell the memory that a run will take")
    add_run_or_settings(estimate)
    estimate.add_argument(
        "--device",
        choices=["cpu", "cuda", "mps"],
        default="",
        help="a kind of device, which need not be here; left out, the run's own",
    )
    estimate.add_argument(
        "--free", type=float, default=0.0, metavar="GB", help="its free memory; 0 asks the device"
    )
    estimate.add_argument("--json", action="store_true", help="print the tables as JSON")
    estimate.epilog = "Nothing is loaded. The exit code is 1 where the run does not fit."
    probe = add_word(words, "probe", run_probe, "measure memory and time with two real steps")
    add_run_or_settings(probe)
    probe.add_argument("--json", action="store_true", help="print what was measured as JSON")
    probe.epilog = "The steps run on noise in a folder of their own; nothing of them stays."


def run_estimate(args: argparse.Namespace) -> int:
    """Tells the memory of a run and what would make it fit."""
    config = read_settings(args)
    from trainer.commands import estimate_run

    report = estimate_run(config, find_models(args), args.device, round(args.free * 1e9))
    if args.json:
        print(json.dumps(report.to_dict(), indent=1, ensure_ascii=False))
    else:
        print(report.to_text())
    return 0 if report.fits else 1


def run_probe(args: argparse.Namespace) -> int:
    """Measures the memory and the time of a run's steps."""
    config = read_settings(args)
    from trainer.commands import probe_run

    found = probe_run(config, find_models(args))
    if args.json:
        print(json.dumps(found, indent=1))
        return 0
    print(
        f"{found['device']}: {found['peak_bytes'] / 1e9:.2f} GB at the peak of a step, "
        f"{found['seconds_per_step']:.2f} seconds a step; the whole process took "
        f"{found['resident_bytes'] / 1e9:.2f} GB of main memory."
    )
    return 0
