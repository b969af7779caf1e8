"""Setting a run up: from its folder to everything that the loop works with."""

import time
from collections import Counter
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from torch import Tensor

from trainer.adapters import AdapterSet
from trainer.attach import attach_new
from trainer.config import RunConfig
from trainer.data import (
    BatchPlan,
    CaptionEncoder,
    EncodedExample,
    LatentStore,
    TensorCache,
    bucket_step_for,
    encode_examples,
    read_training_examples,
)
from trainer.device import Machine, open_machine
from trainer.diffusion import NoiseSchedule, make_schedule
from trainer.export import ExportFacts
from trainer.models import FAMILIES, Family, check_base_model
from trainer.optim import Average, group_parameters, make_optimizer
from trainer.runs import Checkpoint, RunError, RunFolder, append_event, read_events
from trainer.state import TrainState, load_checkpoint


@dataclass
class Session:
    """A run in memory: frozen model, data on the device, and the state that learns."""

    run: RunFolder
    config: RunConfig
    machine: Machine
    family: Family
    schedule: NoiseSchedule
    examples: list[EncodedExample]
    latents: LatentStore
    encode_captions: CaptionEncoder
    plan: BatchPlan
    state: TrainState
    optimizer: Any  # accelerate's wrapper, which skips an update whose fp16 gradients overflowed
    resolution: int

    @property
    def adapters(self) -> AdapterSet:
        """The weights that learn."""
        return self.state.adapters

    @property
    def contents(self) -> dict[str, str]:
        """Content per image name: what a resumed run compares."""
        return {example.name: example.content for example in self.examples}

    def facts(self) -> ExportFacts:
        """Returns what an exported file tells beyond the config."""
        started = [e["time"] for e in read_events(self.run.events_path) if e["event"] == "started"]
        return ExportFacts(
            family=self.family.name,
            prediction=self.family.prediction,
            base_model_name=Path(self.config.base_model.path).name,
            captions=[example.caption for example in self.examples],
            resolution=self.resolution,
            buckets=count_buckets(self.examples),
            step=self.state.step,
            started=float(started[0]) if started else time.time(),
        )


def open_session(run: RunFolder, cache: Path, checkpoint: Checkpoint | None = None) -> Session:
    """Loads the base model, encodes the dataset, and restores a checkpoint.

    Args:
        run: The run.
        cache: Folder of encoded images and captions.
        checkpoint: Which one; None takes the last, or starts afresh where there is none.

    Raises:
        ConfigError, DatasetError, ModelError, RunError: what is wrong and what to do.
    """
    config = run.config
    # Cheap checks first: a wrong folder is told in a moment, not after a minute of loading.
    read_training_examples(config.dataset)
    base = config.base_model
    info = check_base_model(Path(base.path), base.family, base.prediction)
    machine = open_machine(config.train.device, base.precision)
    family: Family = FAMILIES[info.family](
        info.path, machine.device, machine.dtype, base.family, base.prediction
    )
    resolution = config.dataset.resolution or family.default_resolution
    examples, latents = _encode_dataset(
        run, config, machine, family, TensorCache(cache), resolution
    )
    adapters = attach_new(family, config.adapter, config.train.seed, machine.device)
    if config.train.gradient_checkpointing:
        family.enable_gradient_checkpointing()
    state, optimizer = _make_state(config, machine, adapters)
    frozen_text = config.adapter.text_rank == 0
    session = Session(
        run=run,
        config=config,
        machine=machine,
        family=family,
        schedule=make_schedule(**family.schedule_config()).to(machine.device),
        examples=examples,
        latents=latents,
        encode_captions=CaptionEncoder(
            family.encode_captions,
            family.text_fingerprint(),
            TensorCache(cache) if frozen_text else None,
            machine.device,
        ),
        plan=BatchPlan(examples, config.dataset, config.train.batch_size, config.train.seed),
        state=state,
        optimizer=optimizer,
        resolution=resolution,
    )
    found = checkpoint or next(reversed(run.list_checkpoints()), None)
    if found:
        load_checkpoint(found, state, session.contents)
    return session


def count_buckets(examples: list[EncodedExample]) -> dict[tuple[int, int], int]:
    """Returns how many examples each size has."""
    return dict(Counter((each.bucket.width, each.bucket.height) for each in examples))


def _encode_dataset(
    run: RunFolder,
    config: RunConfig,
    machine: Machine,
    family: Family,
    cache: TensorCache,
    resolution: int,
) -> tuple[list[EncodedExample], LatentStore]:
    found, findings = read_training_examples(config.dataset)
    for finding in findings:
        append_event(run.events_path, "warning", message=finding.message)
    step = bucket_step_for(config.dataset.bucket_step, family.size_step)
    if resolution < step:
        msg = (
            f"dataset.resolution is {resolution}, but this base model needs at least {step} pixels."
        )
        raise RunError(msg)

    def encode(pixels: Tensor) -> tuple[Tensor, Tensor]:
        moments = family.encode_images(pixels)
        return moments.mean, moments.std

    encoded, latents = encode_examples(
        found,
        config.dataset,
        step,
        resolution,
        (family.image_fingerprint(), encode),
        cache,
        machine.device,
        partial(_report_cache, run),
    )
    return encoded, latents


def _report_cache(run: RunFolder, done: int, total: int) -> None:
    append_event(run.events_path, "cache", what="images", done=done, total=total)


def _make_state(
    config: RunConfig, machine: Machine, adapters: AdapterSet
) -> tuple[TrainState, Any]:
    groups = group_parameters(config.optimizer, adapters.parameters_of)
    if not groups:
        msg = "No layer would be trained: raise adapter.rank or adapter.text_rank."
        raise RunError(msg)
    raw = make_optimizer(groups, config.optimizer)
    decay = config.optimizer.ema_decay
    average = Average(adapters.named_parameters(), decay) if decay else None
    optimizer = machine.accelerator.prepare(raw)
    state = TrainState(adapters, raw, average, machine.accelerator.scaler)
    return state, optimizer
