"""Evaluating a run: images of each checkpoint at each weight, losses, verdicts, a suggestion.

Images and losses are stored as they are made, so that an evaluation that was stopped goes on where
it was, and one with a weight more generates only what is new. All measures are computed anew.
"""

import contextlib
import json
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

from PIL import Image

from datasets_tools.bounded_json import UnreadableError, read_table
from datasets_tools.files import explain_os_error, write_atomically
from trainer.evaluation import images as stored
from trainer.evaluation.features import describe_by_latents, load_features
from trainer.evaluation.images import FOLDER, ImageStore
from trainer.evaluation.losses import TIMESTEPS, measure_forgetting, measure_losses
from trainer.evaluation.measuring import CellRuler, MeasuredCell
from trainer.evaluation.plan import (
    EvaluationSettings,
    Prompt,
    choose_prompts,
    make_key,
    make_request,
)
from trainer.evaluation.probes import Probes, make_probes
from trainer.evaluation.sheets import write_copy_sheet, write_suggestion_sheet
from trainer.evaluation.subject import Subject
from trainer.evaluation.verdict import Judgement, choose_best, judge_checkpoints
from trainer.inference.sampling import generate_all, weighted
from trainer.models.family import GenerationRequest
from trainer.runs import Checkpoint, RunError, append_event
from trainer.runs.evaluations import FILE, VERSION

_BASE = "base"  # names what is stored of the base model
_TOGETHER = 8  # images between two looks at whether to stop

Report = Callable[[int, int, str], None]


class EvaluationStopped(RunError):  # noqa: N818 - it is no fault
    """An evaluation was asked to stop; what was generated is stored."""


@dataclass
class Evaluation:
    """An evaluation under way.

    Attributes:
        subject: The run in memory.
        settings: What was chosen.
        checkpoints: Those to evaluate, the earliest first.
        prompts: Of the images.
        store: Of the images.
        report: Called with images done, of how many, and what is being done.
        should_stop: Asked before each image.
    """

    subject: Subject
    settings: EvaluationSettings
    checkpoints: Sequence[Checkpoint]
    prompts: Sequence[Prompt]
    store: ImageStore
    report: Report
    should_stop: Callable[[], bool]
    done: int = 0

    @property
    def total(self) -> int:
        """How many images there are in all."""
        cells = 1 + len(self.checkpoints) * len(self.settings.weights)
        return cells * len(self.prompts)

    def generate(
        self, checkpoint: Checkpoint | None, weight: float, name: str
    ) -> list[Image.Image]:
        """Returns a cell's images: the stored ones, and new ones of the adapters as loaded.

        Args:
            checkpoint: The one that is loaded; None for the base model.
            weight: Of the adapters.
            name: Under which the images are stored.

        Raises:
            EvaluationStopped: a stop was asked for.
            OSError: one cannot be stored.
        """
        subject = self.subject
        images = [self.store.read(name, index) for index in range(len(self.prompts))]
        missing = [index for index, image in enumerate(images) if image is None]
        for start in range(0, len(missing), _TOGETHER):
            if self.should_stop():
                msg = "The evaluation was stopped. The same command continues it."
                raise EvaluationStopped(msg)
            places = missing[start : start + _TOGETHER]
            requests = [self._make_request(place, base=checkpoint is None) for place in places]
            with weighted([subject.adapters], [weight]):
                new = generate_all(subject.family, subject.context, requests)
            for place, image in zip(places, new, strict=True):
                images[place] = self.store.write(name, place, image)
        self.done += len(images)
        what = f"step {checkpoint.step} at weight {weight:g}" if checkpoint else "base model"
        self.report(self.done, self.total, what)
        return [image for image in images if image is not None]

    def _make_request(self, place: int, *, base: bool) -> GenerationRequest:
        config, family = self.subject.config, self.subject.family
        size = config.dataset.resolution or family.default_resolution
        return make_request(self.prompts[place], config, self.settings, size, base=base)


def start_evaluation(
    subject: Subject,
    settings: EvaluationSettings,
    checkpoints: Sequence[Checkpoint],
    report: Report,
    should_stop: Callable[[], bool],
) -> Evaluation:
    """Returns an evaluation of a run's checkpoints, with nothing generated yet.

    Raises:
        RunError: its folder cannot be written.
    """
    examples = [*subject.training, *subject.held_out]
    prompts = choose_prompts(subject.config, examples, settings)
    key = make_key(subject.config, prompts, settings, examples)
    try:
        store = ImageStore(subject.run.path / FOLDER, key)
    except OSError as error:
        msg = f"{subject.run.id} cannot be evaluated: {explain_os_error(error)}"
        raise RunError(msg) from error
    return Evaluation(subject, settings, checkpoints, prompts, store, report, should_stop)


def evaluate(evaluation: Evaluation, cache: Path) -> dict[str, Any]:
    """Generates, measures and judges; writes `evaluation.json` and returns its content.

    Args:
        evaluation: As `start_evaluation` returns it.
        cache: Folder of encoded images.

    Raises:
        EvaluationStopped: a stop was asked for; the same call goes on.
        DatasetError, ModelError, RunError: with what to do.
    """
    started, subject = time.monotonic(), evaluation.subject
    base = evaluation.generate(None, 0.0, _BASE)
    ruler, training = _make_ruler(evaluation, base)
    probes = make_probes(subject, cache, base, evaluation.prompts)
    measured: list[MeasuredCell] = []
    sets: dict[tuple[int, float], list[Image.Image]] = {}
    losses: dict[int, dict[str, Any]] = {}
    for checkpoint in evaluation.checkpoints:
        subject.load(checkpoint)
        name = stored.name_checkpoint(checkpoint)
        for weight in evaluation.settings.weights:
            images = evaluation.generate(checkpoint, weight, f"{name}_weight-{weight:g}")
            sets[checkpoint.step, weight] = images
            measured.append(ruler.measure(checkpoint.step, weight, images))
        losses[checkpoint.step] = _load_or_measure(evaluation, name, probes, 1.0)
    base_losses = _load_or_measure(evaluation, _BASE, probes, 0.0)
    best = choose_best([each.cell for each in measured])
    last = evaluation.checkpoints[-1].step
    folder, cell = subject.run.path / FOLDER, (best.step, best.weight)
    sheet = write_suggestion_sheet(folder, evaluation.prompts, base, sets, cell, last)
    warnings = _list_copies(evaluation, ruler, measured)
    write_copy_sheet(folder, warnings, sets, training)
    data = {
        **_describe_settings(evaluation),
        "seconds": round(time.monotonic() - started, 1),
        "timesteps": list(TIMESTEPS),
        "base": {"style": round(ruler.base_style, 4), "losses": base_losses},
        "cells": [each.to_dict() for each in measured],
        "checkpoints": [
            _describe(each, losses[each.step])
            for each in judge_checkpoints([each.cell for each in measured])
        ],
        "copies": {
            "threshold": round(ruler.copies.threshold, 4),
            "most_false_alarms": round(ruler.copies.most_false_alarms, 4),
            "warnings": [
                {key: value for key, value in each.items() if key not in {"index", "place"}}
                for each in warnings
            ],
        },
        "suggestion": {
            "step": best.step,
            "weight": best.weight,
            "score": round(best.score, 4),
            "sheet": f"{FOLDER}/{sheet.name}",
        },
    }
    _save(subject, data)
    return data


def _describe_settings(evaluation: Evaluation) -> dict[str, Any]:
    settings = evaluation.settings
    return {
        "version": VERSION,
        "settings": {
            "prompts": [asdict(each) for each in evaluation.prompts],
            "weights": list(settings.weights),
            "inference_steps": settings.inference_steps,
            "guidance": evaluation.subject.config.samples.guidance,
            "features": settings.features,
        },
    }


def _make_ruler(
    evaluation: Evaluation, base: Sequence[Image.Image]
) -> tuple[CellRuler, list[Image.Image]]:
    """Returns what measures cells, and the training images as the VAE shows them."""
    subject = evaluation.subject
    family, device = subject.family, subject.context.device
    encode = partial(stored.encode, family)

    def show(examples: Sequence[Any]) -> list[Image.Image]:
        images = stored.read_training_images(examples)
        return stored.decode(family, encode(images), device) if images else []

    features = evaluation.settings.features
    describe = load_features(Path(features), device) if features else describe_by_latents(encode)
    training = show(subject.training)
    return CellRuler(training, show(subject.held_out), base, encode, describe), training


def _load_or_measure(
    evaluation: Evaluation, name: str, probes: Probes, weight: float
) -> dict[str, Any]:
    """Returns the losses of the adapters as loaded, by what they are measured on."""
    path = evaluation.store.path / f"losses-{name}.json"
    # Where they are cut off they are measured again.
    with contextlib.suppress(FileNotFoundError, UnreadableError):
        return read_table(path)
    model = evaluation.subject.model
    losses: dict[str, Any] = {"training": measure_losses(model, probes.training, weight)}
    if probes.held_out:
        losses["held_out"] = measure_losses(model, probes.held_out, weight)
    if weight:
        losses["forgetting"] = measure_forgetting(model, probes.base, weight)
    rounded = {key: [round(each, 6) for each in values] for key, values in losses.items()}
    write_atomically(path, json.dumps(rounded))
    return rounded


def _list_copies(
    evaluation: Evaluation, ruler: CellRuler, measured: Sequence[MeasuredCell]
) -> list[dict[str, Any]]:
    """Returns one entry for each image that repeats a training image, at the weight of 1 or next.

    Only there: an image that is a copy at one weight is mostly one at the next, too.
    """
    weights = evaluation.settings.weights
    usual = min(weights, key=lambda weight: abs(weight - 1))
    return [
        {
            "step": each.cell.step,
            "weight": usual,
            "prompt": evaluation.prompts[index].text,
            "index": index,
            "place": nearest.index,
            "training": evaluation.subject.training[nearest.index].path.name,
            "likeness": round(nearest.likeness, 4),
        }
        for each in measured
        if each.cell.weight == usual
        for index, nearest in enumerate(each.nearest)
        if nearest.likeness > ruler.copies.threshold
    ]


def _describe(judgement: Judgement, losses: dict[str, Any]) -> dict[str, Any]:
    return asdict(judgement) | {"score": round(judgement.score, 4), "losses": losses}


def _save(subject: Subject, data: dict[str, Any]) -> None:
    path = subject.run.path / FILE
    try:
        write_atomically(path, json.dumps(data, indent=1, ensure_ascii=False) + "\n")
    except OSError as error:
        msg = f"{path} cannot be written: {explain_os_error(error)}"
        raise RunError(msg) from error
    for row in data["checkpoints"]:
        append_event(
            subject.run.events_path,
            "evaluation",
            checkpoint=row["step"],
            verdict=row["verdict"],
            weight=row["weight"],
            score=row["score"],
            losses=row["losses"],
        )
