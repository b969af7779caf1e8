"""The app, the worker behind its previews, the demo, and the pages of documentation."""

import argparse
import os
import subprocess
import sys
from pathlib import Path

from app.commands.arguments import Subparsers, add_command, add_set, find_workspace
from datasets_tools.shipped import DOCS, EXAMPLES, is_checkout
from trainer.config import layer_config
from trainer.runs import PreviewFolder, RunError, create_run
from trainer.runs.workspace import check_workspace

STARTER_MODEL = EXAMPLES / "starter-model"
# Subjects that are not in the training set. No trigger: the style is to come with the weight alone.
DEMO_PROMPTS = ["a cat face", "a panda", "a frog", "a wolf", "an owl", "a butterfly"]


def add_commands(commands: Subparsers) -> None:
    """Adds `app`, `demo`, `docs` and `preview-worker`."""
    app = add_command(commands, "app", _run_app, "open the app in the browser")
    app.add_argument("--host", default="127.0.0.1", help="address to listen on")
    app.add_argument("--port", type=int, default=7860, help="port to listen on")
    app.add_argument(
        "--password", default="",
        help="asked for by the app; needed for any --host but this computer; "
        "LORASMITH_PASSWORD in the environment does the same",
    )  # fmt: skip
    app.add_argument(
        "--host-name", action="append", default=[], metavar="NAME",
        help="a name by which a proxy lets browsers in, as in the page's address; repeat for more; "
        "LORASMITH_HOST_NAME in the environment does the same",
    )  # fmt: skip
    app.add_argument(
        "--root-path", default="", metavar="PATH",
        help="the path in front of the app's own, where a proxy passes it on",
    )  # fmt: skip
    app.add_argument("--open", action="store_true", help="open a browser window, too")
    demo = add_command(commands, "demo", _run_demo, "train the example style on the starter model")
    add_set(demo)
    docs = add_command(commands, "docs", _run_docs, "list the pages of documentation, or print one")
    docs.add_argument("page", nargs="?", default="", help="its name, for example guide")
    worker = add_command(
        commands, "preview-worker", _run_preview_worker, "answer the app's preview requests"
    )
    worker.add_argument("folder", type=Path, help="where requests and results lie")
    worker.add_argument(
        "--idle-seconds", type=float, default=900.0, help="end after so long without a request"
    )


def _run_app(args: argparse.Namespace) -> int:
    from app.core.workspace import Workspace
    from app.web.server import launch

    models = (STARTER_MODEL.resolve(),) if STARTER_MODEL.is_dir() else ()
    launch(
        Workspace(args.workspace.resolve(), models),
        host=args.host,
        port=args.port,
        password=args.password or os.environ.get("LORASMITH_PASSWORD", ""),
        open_browser=args.open and _has_display(),
        host_names=args.host_name or os.environ.get("LORASMITH_HOST_NAME", "").split(),
        root_path=args.root_path,
    )
    return 0


def _has_display() -> bool:
    """Whether a browser can show a window; without a screen Linux would start one for terminals."""
    return not sys.platform.startswith("linux") or any(
        os.environ.get(name) for name in ("DISPLAY", "WAYLAND_DISPLAY", "BROWSER")
    )


def _run_docs(args: argparse.Namespace) -> int:
    pages = {path.stem: path for path in sorted(DOCS.glob("*.md"))}
    if args.page:
        name = args.page.rpartition("/")[2].removesuffix(".md")
        if name not in pages:
            raise RunError(f"There is no page {args.page}. `lorasmith docs` lists them.")
        print(pages[name].read_text(encoding="utf-8"))
        return 0
    for name, path in pages.items():
        print(f"{name}: {path.read_text(encoding='utf-8').partition(chr(10))[0].lstrip('# ')}")
    print(f"\n`lorasmith docs NAME` prints a page; the files are in {DOCS}")
    return 0


def _run_preview_worker(args: argparse.Namespace) -> int:
    from trainer.commands import serve_previews

    check_workspace(args.folder.resolve().parent)
    serve_previews(PreviewFolder(args.folder), args.idle_seconds)
    return 0


def _run_demo(args: argparse.Namespace) -> int:
    settings = {
        "name": "openmoji-style",
        "base_model": {"path": str(STARTER_MODEL)},
        "dataset": {"path": str(EXAMPLES / "openmoji-style" / "images")},
        "samples": {"prompts": DEMO_PROMPTS[:3]},
    }
    if not STARTER_MODEL.is_dir():
        raise RunError(
            f"The starter model is not in {STARTER_MODEL}. It comes along with Lorasmith: "
            "install it again."
        )
    config = layer_config("starter-style", settings=settings, assignments=args.set)
    run = create_run(find_workspace(args, create=True) / "runs", config)
    print(f"Training {config.train.steps} steps on 16 images; follow it here or in the app.")
    command = [sys.executable, "-m", "app.cli"]
    # A process of its own, as the app starts it: its memory is free again for the grid.
    code = subprocess.run([*command, "train", str(run.path)], check=False).returncode
    exports = run.list_exports()
    if code != 0 or not exports:
        return code or 1
    grid = run.path / "grid.png"
    prompts = [f"--prompt={prompt}" for prompt in DEMO_PROMPTS]
    options = [f"--base-model={STARTER_MODEL}", f"--to={grid}", "--guidance=4", "--steps=25"]
    code = subprocess.run(
        [*command, "grid", str(exports[0]), *prompts, *options], check=False
    ).returncode
    print(
        f"\nThe LoRA file:    {exports[0]}\nWeights 0 to 1.5: {grid}\nThe whole run:    {run.path}"
        "\n\nThe starter model is a tour on tiny emoji images, not a model for real work."
        f"\nNext: `{_name_app_command(args.workspace)}` opens the app on this workspace; its "
        f"Preview tab loads {exports[0].name}."
        "\nFor real work put an SD 1.x, SD 2.x or SDXL model into "
        f"{args.workspace / 'models'} (or `lorasmith download` one) and choose it in the app."
    )
    return code


def _name_app_command(workspace: Path) -> str:
    """Returns what to type for the app on a workspace, as the demo was started."""
    if is_checkout() and workspace == Path("workspace"):
        return "make app"
    return f"lorasmith app --open --workspace {workspace}"
