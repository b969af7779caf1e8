"""Compares what `lorasmith evaluate` suggests with the best of all checkpoints and weights.

    python benchmarks/suggestion.py [--workspace DIR] [--styles NAME ...]

One run per style of `suggestion_styles` is trained (160 steps of `starter-style`, a checkpoint each
40) and evaluated through the command line; a run that is there already is not trained again. The
best cell is found by what the suggestion does not know: the style distance to 48 images that no run
was trained on, closed in relation to the base model's, times the squared cosine of content.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from PIL import Image

ROOT = Path(__file__).resolve().parents[1]
# The benchmark measures this checkout, whatever version may be installed.
sys.path.insert(0, str(ROOT))

from benchmarks.images import STARTER_MODEL, pass_through_vae  # noqa: E402
from benchmarks.quality_training import load_model  # noqa: E402
from benchmarks.suggestion_styles import (  # noqa: E402
    CHOSEN_ON,
    STYLES,
    make_held_out,
    write_dataset,
)
from trainer.commands import quiet_model_libraries  # noqa: E402
from trainer.evaluation.style import close_distance, make_ruler  # noqa: E402

STEPS, EVERY = 160, 40
_SETTINGS = (
    "samples.every_steps=0",
    f"train.steps={STEPS}",
    f"output.checkpoint_every_steps={EVERY}",
)


def prepare_run(style: str, workspace: Path) -> Path:
    """Returns the run of a style, trained and evaluated.

    Raises:
        CalledProcessError: a command failed; its output is on the terminal.
    """
    runs = sorted((workspace / "runs").glob(f"*_{style}"))
    if not runs:
        dataset = write_dataset(style, workspace / "styles" / style)
        words = ["train", "--preset=starter-style", f"--name={style}"]
        words += [f"--base-model={STARTER_MODEL}", f"--dataset={dataset}"]
        _run_command(workspace, [*words, *(f"--set={each}" for each in _SETTINGS)])
        runs = sorted((workspace / "runs").glob(f"*_{style}"))
    _run_command(workspace, ["evaluate", runs[-1].name])
    return runs[-1]


def compare(style: str, run: Path, family: Any) -> dict[str, Any]:
    """Returns the suggestion of a run, and the best cell by images that it was not trained on."""
    evaluation = json.loads((run / "evaluation.json").read_text(encoding="utf-8"))
    folder = next((run / "evaluation").glob("images-*"))
    ruler = make_ruler(pass_through_vae(family, make_held_out(style)))
    base = ruler.measure(_read_cell(folder / "base"))
    truth = {}
    for cell in evaluation["cells"]:
        (place,) = folder.glob(f"step-{cell['step']:06d}-*_weight-{cell['weight']:g}")
        closed = close_distance(ruler.measure(_read_cell(place)), base)
        truth[cell["step"], cell["weight"]] = closed * max(0.0, cell["content"]) ** 2
    best = max(truth, key=lambda key: truth[key])
    chosen = evaluation["suggestion"]["step"], evaluation["suggestion"]["weight"]
    named = {"chosen": chosen, "last at 1": (STEPS, 1.0), "last at 0.75": (STEPS, 0.75)}
    return {
        "style": style,
        "best": list(best),
        "suggestion": list(chosen),
        "below_best": {name: round(1 - truth[key] / truth[best], 3) for name, key in named.items()},
        "verdicts": {each["step"]: each["verdict"] for each in evaluation["checkpoints"]},
        "cells": {f"{step} {weight:g}": round(each, 4) for (step, weight), each in truth.items()},
    }


def _read_cell(folder: Path) -> list[Image.Image]:
    return [Image.open(path).convert("RGB") for path in sorted(folder.glob("*.png"))]


def _run_command(workspace: Path, words: list[str]) -> None:
    command = [sys.executable, "-m", "app.cli", words[0], f"--workspace={workspace}", *words[1:]]
    subprocess.run(command, cwd=ROOT, check=True)


def main() -> None:
    """Runs the benchmark and prints a row per style."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--styles", nargs="+", choices=STYLES, default=list(STYLES))
    parser.add_argument("--workspace", type=Path, help="keeps the runs, to go on later")
    parser.add_argument("--results", type=Path, help="a JSON file to write")
    args = parser.parse_args()
    quiet_model_libraries()
    with tempfile.TemporaryDirectory() as folder:
        workspace = (args.workspace or Path(folder)).resolve()
        runs = {style: prepare_run(style, workspace) for style in args.styles}
        family = load_model()
        rows = [compare(style, run, family) for style, run in runs.items()]
    for row in rows:
        kind = "chosen on" if row["style"] in CHOSEN_ON else "reported"
        below = ", ".join(f"{name} {each:.0%}" for name, each in row["below_best"].items())
        print(f"{row['style']} ({kind}): best {row['best']}, suggestion {row['suggestion']}")
        print(f"    below the best: {below}; {row['verdicts']}")
    if args.results:
        args.results.write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
