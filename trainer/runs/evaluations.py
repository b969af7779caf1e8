"""`evaluation.json` of a run: what `lorasmith evaluate` measured, read by everyone.

| key | content |
|---|---|
| version | 1 |
| settings | prompts (text, base_text, seed), weights, inference_steps, guidance, features |
| seconds | how long the last call took |
| timesteps | the middle of each range of the losses, out of 1000 |
| base | style (distance to the training images), losses (training, held_out) |
| cells | per checkpoint and weight: step, weight, style, closed, content, outlines, structure, \
fragments, dirt, blur, missing, damage, copies, score |
| checkpoints | per checkpoint: step, verdict, evidence, weight, score, losses (training, \
held_out, forgetting) |
| copies | threshold, most_false_alarms, warnings (step, weight, prompt, training, likeness) |
| suggestion | step, weight, score, sheet (relative to the run) |
"""

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from datasets_tools.bounded_json import UnreadableError, read_table

FILE = "evaluation.json"
VERSION = 1

# What an evaluation generates where nothing else is chosen.
WEIGHTS = (0.5, 0.75, 1.0, 1.25)
PROMPTS = 8
INFERENCE_STEPS = 12


@dataclass(frozen=True)
class Suggestion:
    """The checkpoint and the weight that an evaluation suggests.

    Attributes:
        step: Of the checkpoint.
        weight: Of the adapter.
        sheet: The contact sheet.
    """

    step: int
    weight: float
    sheet: Path


def read_evaluation(run: Path) -> dict[str, Any] | None:
    """Returns what was measured of a run; None where nothing was, or another version wrote it."""
    try:
        data = read_table(run / FILE)
    except (OSError, UnreadableError):
        return None
    return data if data.get("version") == VERSION else None


def read_suggestion(run: Path) -> Suggestion | None:
    """Returns what an evaluation of a run suggests; None where there is none."""
    data = read_evaluation(run)
    try:
        chosen = data["suggestion"] if data else None
        if not data or not chosen:
            return None
        sheet = run / str(chosen["sheet"])
        return Suggestion(int(chosen["step"]), float(chosen["weight"]), sheet)
    except (KeyError, TypeError, ValueError):
        return None


def read_best_weight(run: Path, step: int) -> float | None:
    """Returns the weight at which a checkpoint scored best; None where it was not evaluated."""
    rows = (read_evaluation(run) or {}).get("checkpoints")
    for row in rows if isinstance(rows, list) else ():
        if isinstance(row, dict) and row.get("step") == step:
            weight = row.get("weight")
            if isinstance(weight, int | float) and math.isfinite(weight):
                return float(weight)
    return None
