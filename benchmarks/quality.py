"""Measures whether a LoRA learns the style: trains the demo's preset, generates unseen subjects.

    python benchmarks/quality.py [--seeds N] [--only NAME ...] [--keep FOLDER] [--results FILE]

The runs of `quality_variants.VARIANTS` are trained through the command line in a workspace of their
own: the preset as it is, and what else the program offers with settings that suit it. Each is also
asked what it costs. `docs/quality.md` explains what is measured and contains the tables, which a
complete benchmark writes again.
"""

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
# The benchmark measures this checkout, whatever version may be installed.
sys.path.insert(0, str(ROOT))

import torch  # noqa: E402 - needs the path set above

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
from benchmarks.quality_cost import measure_cost  # noqa: E402
from benchmarks.quality_page import PAGE, Report, render_tables, write_page  # noqa: E402
from benchmarks.quality_variants import VARIANTS  # noqa: E402
from benchmarks.stored_rows import StoredRows  # noqa: E402
from benchmarks.style_distance import StyleRuler  # noqa: E402
from datasets_tools.captions import add_trigger  # noqa: E402
from trainer.commands import quiet_model_libraries  # noqa: E402
from trainer.config import BaseModelConfig  # noqa: E402
from trainer.inference.sampling import weighted  # noqa: E402
from trainer.models import Family, load_family  # noqa: E402
from trainer.training.attach import attach_file  # noqa: E402

RESULTS = ROOT / "benchmarks" / "results" / "quality-cpu.json"


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


@dataclass(frozen=True)
class Trained:
    """A trained variant: its file, how long it took with all around it, and what it costs."""

    file: Path
    seconds: float
    cost: dict[str, Any]


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
    family = load_starter()
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
            row = measure_variant(name, seeds, steps, yardsticks, content)
            stored_rows.write(name, row)
        variants[name] = asdict(VARIANTS[name]) | row | compare(row, base)
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
    name: str, seeds: Sequence[int], steps: int, yardsticks: Yardsticks, content: Array
) -> dict[str, Any]:
    """Trains a variant, generates with it and returns the measurements.

    Args:
        name: Of `VARIANTS`.
        seeds: One set of images each.
        steps: Of the training; 0 are the preset's.
        yardsticks: What the images are held against.
        content: The base model's images as `describe_content` has them.

    Raises:
        RuntimeError: the training failed.
    """
    started = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="lorasmith-quality-") as folder:
        run = train_variant(name, Path(folder), steps)
        adapted = load_starter()
        attached = attach_file(adapted, run.file, torch.device("cpu"))
    prompts = [add_trigger(prompt, VARIANTS[name].trigger) for prompt in read_prompts()]
    print(f"generating {len(prompts) * len(seeds)} images with {run.file.name}")
    with weighted([attached], [1.0]):
        sets = generate_sets(adapted, prompts, seeds)
    measured = yardsticks.measure(sets)
    measured |= vars(retrieve_prompts(describe_content(yardsticks.family, sets), content))
    measured |= {"training_seconds": run.seconds} | run.cost
    return measured | {"seconds": time.monotonic() - started}


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


def train_variant(name: str, workspace: Path, steps: int) -> Trained:
    """Trains a run as a person would; `steps` of 0 are the preset's.

    Raises:
        RuntimeError: the training failed; its output is on the terminal.
    """
    variant = VARIANTS[name]
    run_name = name.replace("+", "-plus")
    changes = ["samples.every_steps=0", *variant.changes]  # samples would only cost time
    changes += [f"train.steps={steps}"] if steps else []
    changes += [f"dataset.trigger={variant.trigger}"] if variant.trigger else []
    command = [sys.executable, "-m", "app.cli", "train", f"--workspace={workspace}"]
    command += [f"--preset={variant.preset}", f"--name={run_name}"]
    command += [f"--base-model={STARTER_MODEL}"]
    command += [f"--dataset={ROOT / 'examples' / 'openmoji-style' / 'images'}"]
    command += [f"--set={change}" for change in changes]
    started = time.monotonic()
    done = subprocess.run(command, cwd=ROOT, check=False)
    seconds = time.monotonic() - started
    files = sorted((workspace / "runs").glob(f"*/{run_name}.safetensors"))
    if done.returncode != 0 or not files:
        msg = f"The training of {name} ended with exit code {done.returncode}; its output is above."
        raise RuntimeError(msg)
    return Trained(files[-1], seconds, measure_cost(files[-1].parent))


def load_starter() -> Family:
    """Returns a fresh starter model on the CPU."""
    config = BaseModelConfig(path=str(STARTER_MODEL))
    return load_family(config, torch.device("cpu"), torch.float32)


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
    except RuntimeError as error:
        print(f"quality: {error}", file=sys.stderr)
        return 1
    args.results.parent.mkdir(parents=True, exist_ok=True)
    args.results.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    print(f"\n{render_tables(report)}\nresults: {args.results}")
    # The page shows a complete benchmark on the reported seeds, never half of one.
    complete = not args.only and not args.steps
    if complete and args.first_seed == 1 and args.results.resolve() == RESULTS:
        write_page(report)
        print(f"page: {PAGE}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
