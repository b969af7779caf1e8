"""Training a variant of the quality benchmark, and loading what it is trained on."""

import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from benchmarks.images import ROOT, STARTER_MODEL
from benchmarks.quality_cost import measure_cost
from benchmarks.quality_variants import VARIANTS
from trainer.config import BaseModelConfig
from trainer.models import Family, load_family

DATASET = ROOT / "examples" / "openmoji-style" / "images"


@dataclass(frozen=True)
class Trained:
    """A trained variant: its file, how long it took with all around it, and what it costs."""

    file: Path
    seconds: float
    cost: dict[str, Any]


def train_variant(name: str, workspace: Path, steps: int, base_model: Path) -> Trained:
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
    command += [f"--base-model={base_model}", f"--dataset={DATASET}"]
    command += [f"--set={change}" for change in changes]
    started = time.monotonic()
    done = subprocess.run(command, cwd=ROOT, check=False)
    seconds = time.monotonic() - started
    files = sorted((workspace / "runs").glob(f"*/{run_name}.safetensors"))
    if done.returncode != 0 or not files:
        msg = f"The training of {name} ended with exit code {done.returncode}; its output is above."
        raise RuntimeError(msg)
    return Trained(files[-1], seconds, measure_cost(files[-1].parent))


def load_model(path: Path = STARTER_MODEL) -> Family:
    """Returns a fresh base model on the CPU."""
    config = BaseModelConfig(path=str(path))
    return load_family(config, torch.device("cpu"), torch.float32)
