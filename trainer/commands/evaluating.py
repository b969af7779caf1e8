"""Evaluating the checkpoints of a run."""

from functools import partial
from pathlib import Path
from typing import Any

from trainer.commands.libraries import quiet_model_libraries
from trainer.evaluation.evaluate import EvaluationStopped, evaluate, start_evaluation
from trainer.evaluation.plan import EvaluationSettings
from trainer.evaluation.subject import open_subject
from trainer.runs import Checkpoint, RunError, RunFolder, clear_requests, own_folder, read_requests
from trainer.runs import request as ask
from trainer.runs.systems import stop_on_signals

__all__ = ["EvaluationSettings", "EvaluationStopped", "evaluate_run"]


def evaluate_run(
    run: RunFolder, cache: Path, settings: EvaluationSettings, report: Any
) -> dict[str, Any]:
    """Evaluates a run's checkpoints; returns what is in its `evaluation.json` then.

    Args:
        run: The run.
        cache: Folder of encoded images.
        settings: Prompts, weights, steps.
        report: Called with images done, of how many, and what is being done.

    Raises:
        EvaluationStopped: it was stopped; the same call goes on.
        ConfigError, DatasetError, ModelError, RunError: with what to do.
    """
    checkpoints = _choose_checkpoints(run, settings)
    if not settings.weights or any(not 0 < weight <= 4 for weight in settings.weights):
        msg = "The weights of an evaluation must be above 0 and at most 4."
        raise RunError(msg)
    quiet_model_libraries()
    with own_folder(run.path):
        clear_requests(run.path)
        with stop_on_signals(partial(ask, run.path, "stop")):
            evaluation = start_evaluation(
                open_subject(run, checkpoints[-1]),
                settings,
                checkpoints,
                report,
                lambda: "stop" in read_requests(run.path),
            )
            try:
                return evaluate(evaluation, cache)
            finally:
                clear_requests(run.path)


def _choose_checkpoints(run: RunFolder, settings: EvaluationSettings) -> list[Checkpoint]:
    known = run.list_checkpoints()
    if not known:
        msg = f"{run.id} has no checkpoint to evaluate. Train it first."
        raise RunError(msg)
    chosen = [run.find_checkpoint(step) for step in sorted(settings.checkpoints)]
    return chosen or known
