"""`lorasmith evaluate`: which checkpoint of a run to use, at which weight."""

import argparse
import json
import sys
from typing import Any

from app.commands.arguments import Subparsers, add_command, find_run, find_workspace_of
from trainer.runs.evaluations import INFERENCE_STEPS, PROMPTS, WEIGHTS


def add_commands(commands: Subparsers) -> None:
    """Adds `evaluate`."""
    evaluate = add_command(
        commands, "evaluate", _run_evaluate, "suggest a checkpoint and a weight of a run"
    )
    evaluate.add_argument("run", help="a run's folder or id")
    evaluate.add_argument(
        "--prompts", type=int, default=PROMPTS, metavar="N",
        help="how many prompts at most; their number times weights times checkpoints is the time",
    )  # fmt: skip
    evaluate.add_argument(
        "--prompt", action="append", default=[], metavar="TEXT",
        help="a prompt of your own; repeat for more; left out, the run's sample prompts",
    )  # fmt: skip
    evaluate.add_argument(
        "--weights", type=float, nargs="+", default=WEIGHTS, metavar="WEIGHT",
        help="weights of the adapter to try",
    )  # fmt: skip
    evaluate.add_argument(
        "--steps", type=int, default=INFERENCE_STEPS, help="denoising steps per image"
    )
    evaluate.add_argument(
        "--checkpoints", type=int, nargs="+", default=[], metavar="STEP",
        help="only those of these steps; all if left out",
    )  # fmt: skip
    evaluate.add_argument(
        "--features", default="", metavar="DIR",
        help="folder of a CLIP or DINOv2 model (transformers) that copies are recognised by",
    )  # fmt: skip
    evaluate.add_argument("--json", action="store_true", help="print evaluation.json instead")
    evaluate.epilog = (
        "Ctrl+C stops it; the same command continues. The result is evaluation.json in the run's "
        "folder, with a contact sheet in evaluation/."
    )


def _run_evaluate(args: argparse.Namespace) -> int:
    run = find_run(args)
    from trainer.commands import EvaluationSettings, evaluate_run

    settings = EvaluationSettings(
        prompts=tuple(args.prompt),
        count=max(1, args.prompts),
        weights=tuple(sorted(set(args.weights))),
        inference_steps=max(1, args.steps),
        checkpoints=tuple(args.checkpoints),
        features=args.features,
    )
    data = evaluate_run(run, find_workspace_of(run) / "cache", settings, _report)
    if args.json:
        print(json.dumps(data, indent=1, ensure_ascii=False))
        return 0
    print("\n".join(render_table(data)))
    print(f"sheet: {run.path / data['suggestion']['sheet']}")
    return 0


def _report(done: int, total: int, what: str) -> None:
    """Prints progress to stderr, so that --json alone goes to stdout."""
    print(f"image {done}/{total}: {what}", file=sys.stderr, flush=True)


def render_table(data: dict[str, Any]) -> list[str]:
    """Returns the lines that a person reads of an evaluation."""
    base = data["base"]["style"]
    lines = [
        f"style distance of the base model: {base:.2f}",
        "  step weight  style structure damage copies score",
    ]
    lines += [
        f"{cell['step']:>6} {cell['weight']:>6g} {cell['closed']:>6.0%} "
        f"{cell['structure']:>9.0%} {cell['damage']:>6.0%} {cell['copies']:>6} "
        f"{cell['score']:>5.2f}"
        for cell in data["cells"]
    ]
    for row in data["checkpoints"]:
        losses = ", ".join(
            f"{name.replace('_', ' ')} {sum(values) / len(values):.4f}"
            for name, values in row["losses"].items()
        )
        lines.append(f"step {row['step']}: {row['verdict']}, {row['evidence']} ({losses})")
    for warning in data["copies"]["warnings"]:
        lines.append(
            f"copy: “{warning['prompt']}” at step {warning['step']} repeats "
            f"{warning['training']} ({warning['likeness']:.2f})"
        )
    chosen = data["suggestion"]
    lines.append(f"suggestion: step {chosen['step']} at weight {chosen['weight']:g}")
    lines.append(f"seconds: {data['seconds']:g}")
    return lines
