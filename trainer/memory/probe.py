"""Two real steps on the run's device: their memory and time; nothing is kept."""

import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from datasets_tools.disk import temporary_folder
from trainer.config import RunConfig, layer_config
from trainer.data import read_training_examples
from trainer.memory.measure import measure_peak, peak_resident_bytes
from trainer.memory.workload import Workload, read_workload
from trainer.models import check_config
from trainer.runs import create_run
from trainer.runs.base_models import locate_base_model
from trainer.training.loop import read_batches
from trainer.training.session import open_session
from trainer.training.step import take_step


@dataclass(frozen=True)
class Probe:
    """The measurements of two real steps.

    Attributes:
        device: Where they ran.
        peak_bytes: The peak memory of tensors during the second step.
        resident_bytes: The peak main memory of the process, everything included.
        seconds_per_step: Of the second step; on a CPU slightly more than without measuring.
    """

    device: str
    peak_bytes: int
    resident_bytes: int
    seconds_per_step: float


def probe_memory(config: RunConfig, models: Path = Path()) -> Probe:
    """Trains two steps on an image of noise as large as the dataset's largest.

    Everything happens in a folder that is removed afterwards; the dataset, the cache and the
    workspace are not touched.

    Args:
        config: The run's settings.
        models: The workspace's folder of base models, where hub ids are looked up.

    Raises:
        ConfigError, ModelError, DatasetError, RunError: the run could not start either.
        torch.OutOfMemoryError: it does not fit.
    """
    examples = read_training_examples(config.dataset)[0] if config.dataset.path else ()
    base = locate_base_model(config.base_model, models)
    workload = read_workload(config.dataset, check_config(base), examples)
    with temporary_folder() as folder:
        _write_noise_example(folder / "images", workload)
        changes: dict[str, dict[str, Any]] = {
            "dataset": {"path": str(folder / "images"), "trigger": ""},
            "samples": {"every_steps": 0},
        }
        overlaid = _overlay(config.model_copy(update={"base_model": base}), changes)
        run = create_run(folder / "runs", overlaid)
        session = open_session(run, folder / "cache")
        session.state.start_learning()
        batches = read_batches(session)
        device = session.context.device
        take_step(session, batches)  # allocates the optimizer state, and warms up
        seconds = 0.0

        def step() -> None:
            nonlocal seconds
            start = time.perf_counter()
            take_step(session, batches)
            if device.type == "cuda":
                torch.cuda.synchronize(device)
            seconds = time.perf_counter() - start

        peak = measure_peak(step, device)
        if session.config.train != overlaid.train:
            msg = "the step was computed in smaller parts, because the whole did not fit"
            raise torch.OutOfMemoryError(msg)
    return Probe(str(device), peak, peak_resident_bytes(), seconds)


def _overlay(config: RunConfig, changes: Mapping[str, Mapping[str, Any]]) -> RunConfig:
    tree = config.model_dump()
    for section, values in changes.items():
        tree[section] |= values
    return layer_config(settings=tree)


def _write_noise_example(folder: Path, workload: Workload) -> None:
    """Writes one example; its content does not matter, its size and its caption do."""
    folder.mkdir()
    shape = (workload.height, workload.width, 3)
    pixels = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    Image.fromarray(pixels).save(folder / "noise.png")
    (folder / "noise.txt").write_text(workload.caption or "noise", encoding="utf-8")
