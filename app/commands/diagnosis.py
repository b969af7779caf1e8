"""`doctor`: what of this computer suits training, and the remedies."""

import argparse
import json
import sys

from app.commands.application import STARTER_MODEL
from app.commands.arguments import Subparsers, add_command


def add_commands(commands: Subparsers) -> None:
    """Adds `doctor`."""
    doctor = add_command(
        commands, "doctor", _run_doctor, "check whether this computer is ready for training"
    )
    doctor.add_argument("--quick", action="store_true", help="leave out the training of one step")
    doctor.add_argument(
        "--json", action="store_true",
        help="print all of it as JSON without paths, for a bug report",
    )  # fmt: skip
    doctor.epilog = (
        "Python, PyTorch, GPU, memory, disk, optional parts and versions are checked, and a "
        "training of one step on the starter model. The exit code is 1 where something must be "
        "fixed."
    )


def _run_doctor(args: argparse.Namespace) -> int:
    # Not through trainer.commands: that imports PyTorch, which may be what is broken.
    from trainer.doctor import check_computer

    command = (sys.executable, "-m", "app.cli")
    report = check_computer(args.workspace, command, STARTER_MODEL, quick=args.quick)
    if args.json:
        print(json.dumps(report.to_dict(), indent=1, ensure_ascii=False))
    else:
        print(report.to_text())
    return 0 if report.passed else 1
