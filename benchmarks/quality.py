"""Measures whether a LoRA learns the style: trains the demo's preset, generates unseen subjects.

    python benchmarks/quality.py [--seeds N] [--only NAME ... [--add]] [--keep FOLDER]
        [--results FILE]

The runs of `quality_variants.VARIANTS` are trained through the command line in a workspace of their
own: the preset as it is, and what else the program offers with settings that suit it. Each is also
asked what it costs. `docs/quality.md` explains what is measured and contains the tables, which a
complete benchmark writes again, and `--only NAME --add`, which puts rows beside the stored ones.
"""

import argparse
import json
import os
import platform
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
# The benchmark measures this checkout, whatever version may be installed.
sys.path.insert(0, str(ROOT))

import torch  # noqa: E402 - needs the path set above

from benchmarks.flow_model import make_flow_model  # noqa: E402
from benchmarks.images import (  # noqa: E402
    STARTER_MODEL,
    GenerationSettings,
    Sets,
    generate_sets,
    pass_through_vae,
    read_held_out,
    read_prompts,
)
from benchmarks.prompt_retrieval import Array, describe_content, retrieve_prompts  # noqa: E402
from benchmarks.quality_controls import make_controls, measure_floor, measure_through  # noqa: E402
from benchmarks.quality_page import PAGE, Report, render_tables, write_page  # noqa: E402
from benchmarks.quality_training import DATASET, load_model, train_variant  # noqa: E402
from benchmarks.quality_variants import VARIANTS  # noqa: E402
from benchmarks.stored_rows import StoredRows  # noqa: E402
from benchmarks.style_distance import StyleRuler  # noqa: E402
from datasets_tools.captions import add_trigger  # noqa: E402
from datasets_tools.examples import scan_folder  # noqa: E402
from trainer.commands import quiet_model_libraries  # noqa: E402
from trainer.device import open_device_context  # noqa: E402
from trainer.inference.sampling import weighted  # noqa: E402
from trainer.models import Family  # noqa: E402
from trainer.training.attach import attach_file  # noqa: E402
from trainer.training.measurement import measure_base_model  # noqa: E402

RESULTS = ROOT / "benchmarks" / "results" / "quality-cpu.json"
# How far the base model's distance may be from the stored one for rows to be put beside others.
_SAME_BASE = 0.01


class Yardsticks:
    """The two references that sets of images are held against."""

    def __init__(self, family: Family) -> None:
        self.family = family
        self.held_out = read_held_out()
        self.decoded = pass_through_vae(family, self.held_out)
        self.style = StyleRuler(self.decoded)
        self.untouched = StyleRuler(self.held_out)

    def measure(self, sets: Sets) -> dict[str, Any]:
        """Returns the mean distances of the sets, one set per seed."""
        per_seed = [self.style.measure(images) for images in sets]
        untouched = [self.untouched.measure(images) for images in sets]
        return {
            "distance": sum(per_seed) / len(per_seed),
            "per_seed": per_seed,
            "untouched": sum(untouched) / len(untouched),
        }


def measure_quality(
    seeds: Sequence[int], names: Sequence[str], keep: Path | None, steps: int
) -> Report:
    """Trains, generates and measures; returns everything for the page and the results file."""
    quiet_model_libraries()
    started = time.monotonic()
    prompts = read_prompts()
    settings = vars(GenerationSettings()) | {
        "steps": steps or "as in the preset",
        "prompts": len(prompts),
        "seeds": list(seeds),
        "weight": 1.0,
    }
    family = load_model()
    yardsticks = Yardsticks(family)
    print(f"generating {len(prompts) * len(seeds)} images with the base model")
    base_sets = generate_sets(family, prompts, seeds)
    content = describe_content(family, base_sets)
    base = yardsticks.measure(base_sets) | vars(retrieve_prompts(content, content))
    stored_rows = StoredRows(keep, settings)
    variants = {}
    before = 0.0
    for name in names:
        row = stored_rows.read(name)
        if row:
            print(f"{name} was measured before")
            before += row["seconds"]
        else:
            row = measure_variant(name, seeds, steps, yardsticks, (base, content), keep)
            stored_rows.write(name, row)
        variants[name] = asdict(VARIANTS[name]) | row | compare(row, row.get("base", base))
    return {
        "date": datetime.now(UTC).date().isoformat(),
        "command": " ".join(["python", "benchmarks/quality.py", *sys.argv[1:]]),
        "machine": describe_computer(),
        "seconds": time.monotonic() - started + before,
        "settings": settings | {"held_out": len(yardsticks.held_out)},
        "floor": measure_floor(yardsticks.style.reference),
        "untouched_through_vae": measure_through(yardsticks.untouched, yardsticks.decoded),
        "controls": {
            name: yardsticks.style.measure(images)
            for name, images in make_controls(base_sets[0], yardsticks.decoded).items()
        },
        "base": base,
        "variants": variants,
    }


def measure_variant(
    name: str,
    seeds: Sequence[int],
    steps: int,
    yardsticks: Yardsticks,
    base: tuple[dict[str, Any], Array],
    keep: Path | None,
) -> dict[str, Any]:
    """Trains a variant, generates with it and returns the measurements.

    Args:
        name: Of `VARIANTS`.
        seeds: One set of images each.
        steps: Of the training; 0 are the preset's.
        yardsticks: What the images are held against.
        base: The starter model's measurements, and its images as `describe_content` has them.
        keep: A folder for a base model that is made for the row, too.

    Raises:
        RuntimeError: the training failed.
    """
    started, variant = time.monotonic(), VARIANTS[name]
    own: dict[str, Any] = {}
    _, content = base
    with tempfile.TemporaryDirectory(prefix="lorasmith-quality-") as folder:
        model = STARTER_MODEL
        if variant.flow:
            model = make_flow_model((keep or Path(folder)) / "flow-model")
            own["base"], content = measure_own_base(model, seeds, yardsticks)
        run = train_variant(name, Path(folder), steps, model)
        adapted = load_model(model)
        attached = attach_file(adapted, run.file, torch.device("cpu"))
    prompts = [add_trigger(prompt, variant.trigger) for prompt in read_prompts()]
    print(f"generating {len(prompts) * len(seeds)} images with {run.file.name}")
    with weighted([attached], [1.0]):
        sets = generate_sets(adapted, prompts, seeds)
    measured = own | yardsticks.measure(sets)
    measured |= vars(retrieve_prompts(describe_content(yardsticks.family, sets), content))
    measured |= {"training_seconds": run.seconds} | run.cost
    return measured | {"seconds": time.monotonic() - started}


def measure_own_base(
    model: Path, seeds: Sequence[int], yardsticks: Yardsticks
) -> tuple[dict[str, Any], Array]:
    """Returns the measurements of another base model, what it predicts, and its content."""
    family = load_model(model)
    sets = generate_sets(family, read_prompts(), seeds)
    content = describe_content(yardsticks.family, sets)
    row = yardsticks.measure(sets) | vars(retrieve_prompts(content, content))
    examples = scan_folder(DATASET)[0]
    measurement = measure_base_model(family, open_device_context("cpu", "fp32"), examples)
    return row | {"measured": measurement.to_dict()}, content


def compare(measured: dict[str, Any], base: dict[str, Any]) -> dict[str, float]:
    """Returns the shares of the base model's distance that are closed.

    The root of an energy distance is a metric, so its share is the stricter reading of the two.
    """
    rest = measured["distance"] / base["distance"]
    return {
        "closed": 1 - rest,
        "closed_root": 1 - max(rest, 0.0) ** 0.5,
        "closed_untouched": 1 - measured["untouched"] / base["untouched"],
    }


def add_rows(report: Report, stored: Report) -> Report:
    """Returns the stored report with the new rows in it, each with its own date and command.

    Raises:
        RuntimeError: the base model or the settings differ, so that rows cannot be compared.
    """
    ours, theirs = report["settings"], stored["settings"]
    same = all(ours[key] == theirs[key] for key in ours if key != "steps")
    far = abs(report["base"]["distance"] - stored["base"]["distance"])
    if not same or far > _SAME_BASE * stored["base"]["distance"]:
        msg = (
            "The stored rows were measured with other settings or on another base model (distance "
            f"{stored['base']['distance']:.3f}, now {report['base']['distance']:.3f}). Measure all."
        )
        raise RuntimeError(msg)
    origin = {"date": report["date"], "command": report["command"]}
    new = {name: row | origin for name, row in report["variants"].items()}
    return stored | {"variants": stored["variants"] | new}


def describe_computer() -> dict[str, Any]:
    """Returns what the times depend on."""
    return {
        "system": f"{platform.system()} {platform.machine()}",
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "python": platform.python_version(),
        "torch": version("torch"),
        "diffusers": version("diffusers"),
    }


def main() -> int:
    """Runs the benchmark and returns the exit status."""
    parser = argparse.ArgumentParser(description="Measure whether a LoRA learns the style.")
    parser.add_argument("--seeds", type=int, default=4, help="sets of images; at least 2")
    parser.add_argument("--first-seed", type=int, default=1, help="tune with other seeds than 1")
    parser.add_argument("--only", nargs="+", choices=list(VARIANTS), help="train some of the runs")
    parser.add_argument(
        "--add", action="store_true", help="with --only: put the rows beside the stored ones"
    )
    parser.add_argument("--steps", type=int, default=0, help="fewer, to try the benchmark itself")
    parser.add_argument(
        "--keep", type=Path, help="a folder for rows, to go on after an interruption"
    )
    parser.add_argument("--results", type=Path, default=RESULTS, help="the JSON file to write")
    args = parser.parse_args()
    if args.seeds < 2:
        parser.error("--seeds must be at least 2: prompts are found among other seeds' images.")
    seeds = range(args.first_seed, args.first_seed + args.seeds)
    try:
        report = measure_quality(seeds, args.only or list(VARIANTS), args.keep, args.steps)
        if args.add:
            report = add_rows(report, json.loads(args.results.read_text(encoding="utf-8")))
    except RuntimeError as error:
        print(f"quality: {error}", file=sys.stderr)
        return 1
    args.results.parent.mkdir(parents=True, exist_ok=True)
    args.results.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    print(f"\n{render_tables(report)}\nresults: {args.results}")
    # The page shows a complete benchmark on the reported seeds, never half of one.
    complete = (args.add or not args.only) and not args.steps
    if complete and args.first_seed == 1 and args.results.resolve() == RESULTS:
        write_page(report)
        print(f"page: {PAGE}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
