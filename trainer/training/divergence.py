"""Runs whose loss is no number any more, or far above all before, and how they go on."""

import math
import statistics
from typing import Any

import torch
from safetensors import SafetensorError

from datasets_tools.disk import remove_folder
from trainer.config import SMALLEST_PRODIGY_RATE, RunConfig
from trainer.runs import Checkpoint, RunError, RunFolder, append_event, read_events, save_config
from trainer.runs.checkpoints import find_damage
from trainer.tensor_file import load_tensors
from trainer.training.progress import warn

# One batch may be ten times as hard as another one, so that a single loss means nothing.
_FACTOR, _IN_A_ROW, _LEAST = 10.0, 5, 20
_SLOWER = 0.5


class DivergenceError(RunError):
    """The training diverged.

    Attributes:
        step: Where it was noticed.
        good_step: The last step whose loss was like those before.
    """

    def __init__(self, message: str, step: int, good_step: int) -> None:
        super().__init__(message)
        self.step, self.good_step = step, good_step


class LossHistory:
    """Looks at the losses of logged steps.

    Args:
        step: Where the training stands.
    """

    def __init__(self, step: int) -> None:
        self._losses: list[float] = []
        self._good_step = step

    def check(self, step: int, loss: float) -> None:
        """Looks at one more loss.

        Raises:
            DivergenceError: it is no number, or the last five are each above ten times the
                median of all, which are twenty at least.
        """
        what = ""
        if not math.isfinite(loss):
            what = f"became {loss}"
        else:
            self._losses.append(loss)
            limit = _FACTOR * statistics.median(self._losses)
            if loss <= limit:
                self._good_step = step
            if len(self._losses) >= _LEAST and min(self._losses[-_IN_A_ROW:]) > limit:
                what = f"rose to {loss:.3g}, more than ten times what it was,"
        if what:
            msg = (
                f"The loss {what} at step {step}: the training diverged. Halve the learning "
                "rates, or train in bf16 or fp32, and start from the last checkpoint."
            )
            raise DivergenceError(msg, step, self._good_step)


def prepare_recovery(run: RunFolder, error: DivergenceError) -> None:
    """Prepares a run that diverged to go on from its last good checkpoint, at half the rates.

    Later checkpoints are removed. Without a good one it will start again.

    Raises:
        DivergenceError: the given one, where the run went back as often as its settings allow.
    """
    done = sum(event["event"] == "diverged" for event in read_events(run.events_path))
    if done >= run.config.train.recoveries:
        raise error
    for checkpoint in reversed(run.list_checkpoints()):
        if checkpoint.step <= error.good_step and _is_finite(checkpoint):
            break
        remove_folder(checkpoint.path)
    last = next(reversed(run.list_checkpoints()), None)
    step = last.step if last else 0
    save_config(run, _lower_rates(run.config))
    append_event(run.events_path, "diverged", step=error.step, from_step=step)
    warn(
        run,
        f"{str(error).partition(':')[0]}: the run goes back to step {step} and on with half the "
        f"learning rates, for time {done + 1} of {run.config.train.recoveries}.",
    )


def _is_finite(checkpoint: Checkpoint) -> bool:
    if find_damage(checkpoint):
        return False
    try:
        tensors = [
            *load_tensors(checkpoint.path / "adapter.safetensors").values(),
            *load_tensors(checkpoint.path / "training.safetensors").values(),
        ]
    except (OSError, SafetensorError):
        return False
    return all(bool(torch.isfinite(each).all()) for each in tensors if each.is_floating_point())


def _lower_rates(config: RunConfig) -> RunConfig:
    optimizer = config.optimizer
    # Prodigy's rates are factors of what it finds, and cannot be any size.
    least = SMALLEST_PRODIGY_RATE if optimizer.kind == "prodigy" else 0.0
    rates: dict[str, Any] = {
        f"{part}_learning_rate": max(rate * _SLOWER, min(rate, least))
        for part, rate in optimizer.learning_rates.items()
    }
    return config.model_copy(update={"optimizer": optimizer.model_copy(update=rates)})
