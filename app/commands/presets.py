"""Presets: their names, and which one fits."""

import argparse

from app.commands.arguments import BASE_MODEL_HELP, Subparsers, add_command, find_model
from trainer.config import (
    Guess,
    guess_kind,
    list_care,
    list_choices,
    list_goals,
    list_kinds,
    list_presets,
    suggest_preset,
)
from trainer.runs import RunError

_GB = 1_000_000_000


def add_commands(commands: Subparsers) -> None:
    """Adds `presets`."""
    presets = add_command(
        commands, "presets", _run_presets, "list the presets, or suggest one with the reasons"
    )
    presets.add_argument("--base-model", default="", metavar="MODEL", help=BASE_MODEL_HELP)
    presets.add_argument(
        "--kind", choices=list_kinds(), help="of base model, where its file does not show it"
    )
    presets.add_argument("--goal", choices=list_goals(), default="", help="what is learned")
    presets.add_argument(
        "--memory", type=float, default=0.0, metavar="GB", help="of the device; 0 asks it"
    )
    presets.add_argument(
        "--care", choices=list_care(), default="balanced", help="how long, and how gently"
    )
    presets.epilog = "With a base model or its kind one preset is suggested, else all are listed."


def _run_presets(args: argparse.Namespace) -> int:
    if not (args.base_model or args.kind):
        _list_names()
        return 0
    from trainer.commands import describe_model, read_device_bytes

    if args.kind:
        base = Guess(args.kind, "that was given")
    else:
        model = describe_model(find_model(args, args.base_model))
        if not model.family:
            raise RunError(model.message)
        base = guess_kind(model.name, model.family, model.prediction)
    memory = round(args.memory * _GB) or read_device_bytes()
    suggestion = suggest_preset(base, args.goal, memory, args.care)
    name = suggestion.choice.name
    print(f"{name}: {list_presets()[name]}\n{suggestion.reason}")
    return 0


def _list_names() -> None:
    described, choices = list_presets(), list_choices()
    for name, text in described.items():
        if name not in choices or choices[name].care == "balanced":
            print(f"{name}: {text}")
    for care, text in list_care().items():
        if care != "balanced":
            print(f"…gb-{care}: the same with {text}, for each name that ends in gb.")
