"""Base models: fetching one from the hub, and what lies in the workspace."""

import argparse
import json
from dataclasses import asdict
from pathlib import Path

from app.commands.arguments import Subparsers, add_command, find_model, find_workspace
from trainer.runs.workspace import open_workspace


def add_commands(commands: Subparsers) -> None:
    """Adds `download` and `models`."""
    download = add_command(commands, "download", _run_download, "fetch a base model from the hub")
    download.add_argument(
        "id", help="OWNER/NAME, OWNER/NAME@REVISION or OWNER/NAME/FILE.safetensors"
    )
    download.add_argument(
        "--precision", choices=["half", "full"], default="half",
        help="which weights to take where both are offered; half (the default) is half the bytes",
    )  # fmt: skip
    download.add_argument(
        "--json", action="store_true", help="print how far it is as lines of JSON"
    )
    download.epilog = (
        "It goes into the workspace's folder models; a broken download continues with the same "
        "command. A gated or private model needs a token: set HF_TOKEN, or keep it in the keyring "
        "with `keyring set lorasmith hub-token` (extra: keyring)."
    )
    models = add_command(commands, "models", _run_models, "list the base models of the workspace")
    models.add_argument(
        "path", nargs="*", type=Path, help="only these files, folders or hub ids; of any place"
    )
    models.add_argument("--json", action="store_true", help="print the list as JSON")


def inspect_base_model(args: argparse.Namespace) -> int:
    """Prints what a base model is and, where asked for, what it predicts by measurement."""
    from trainer.commands import describe_model, measure_model

    path = find_model(args, str(args.file))
    model = describe_model(path)
    report = _print_measured if args.progress else None
    measured = measure_model(path, args.images, report) if args.measure and model.family else None
    if measured:
        save_measured(args.workspace, path, measured.measurement.prediction, measured.message)
    entry = asdict(model) | ({"measured": measured.to_dict()} if measured else {})
    if args.progress:
        print(json.dumps({"event": "done", **entry}, ensure_ascii=False))
    elif args.json:
        print(json.dumps(entry, indent=1, ensure_ascii=False))
    else:
        print(model)
        if measured:
            print(measured.to_text())
    return 0 if model.family else 1


def _print_measured(done: int, total: int) -> None:
    print(json.dumps({"event": "measure", "done": done, "total": total}), flush=True)


def save_measured(workspace: Path, path: Path, prediction: str, message: str) -> None:
    """Saves what was measured where the app looks for it; nothing outside a workspace.

    Raises:
        RunError: the workspace is of a newer version.
    """
    if not workspace.is_dir():
        return
    open_workspace(workspace)
    from app.core.base_models import save_measurement
    from app.core.workspace import Workspace

    save_measurement(Workspace(workspace), path, prediction, message)


def _run_download(args: argparse.Namespace) -> int:
    from trainer.commands import describe_model, download_model

    def print_progress(done: int, total: int) -> None:
        print(json.dumps({"event": "download", "done": done, "total": total}))

    report = print_progress if args.json else None
    half = args.precision == "half"
    path = download_model(args.id, find_workspace(args, create=True) / "models", report, half=half)
    model = describe_model(path)
    if args.json:
        print(json.dumps({"event": "done", **asdict(model)}, ensure_ascii=False))
    else:
        print(f"base model: {path}\n{model}")
    return 0 if model.family else 1


def _run_models(args: argparse.Namespace) -> int:
    from trainer.commands import describe_model, list_models, read_device_bytes

    places = [find_model(args, str(path)) for path in args.path]
    folder = args.workspace / "models" if places else find_workspace(args) / "models"
    models = [describe_model(path) for path in places] if places else list_models(folder)
    if args.json:
        device = {"device_bytes": read_device_bytes()}
        print(json.dumps([asdict(each) | device for each in models], indent=1, ensure_ascii=False))
        return 0
    if not models:
        print(f"There are no base models in {folder} yet: `lorasmith download` fetches one.")
    for model in models:
        print(model)
    return 0
