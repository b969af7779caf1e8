"""Setting a run up: from its folder to everything that the loop works with."""

import time
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from trainer.adapters import AdapterSet
from trainer.config import BaseModelConfig, ConfigError, RunConfig, change_settings
from trainer.data import (
    CaptionEncoder,
    EncodedExample,
    Source,
    TensorCache,
)
from trainer.device import DeviceContext, open_device_context
from trainer.diffusion import PROCESSES, NoiseProcess
from trainer.export import ExportFacts, name_base_model
from trainer.models import EVERY_MODEL, Family, Model, load_family
from trainer.models.family import list_prompts
from trainer.models.weights import hash_tensors
from trainer.optim import Average, group_parameters, make_optimizer
from trainer.runs import Checkpoint, RunError, RunFolder, read_events, save_config
from trainer.runs.base_models import locate_base_model
from trainer.runs.evaluations import read_best_weight
from trainer.seeds import derive_seed
from trainer.training.attach import attach_adapters, keep_start, make_rules
from trainer.training.checkpoint import TrainState, load_checkpoint
from trainer.training.group import ProcessGroup
from trainer.training.measurement import measure_for_run, needs_measurement
from trainer.training.origin import Origin, hash_base_model, list_settings
from trainer.training.sample_requests import list_sample_requests
from trainer.training.shortage import name_shortage
from trainer.training.sources import (
    Scans,
    count_buckets,
    list_captions,
    open_sources,
    report_long_captions,
    scan_datasets,
)
from trainer.training.trigger_embedding import add_trigger_embedding

_OTHERS = "Close other programs that use the device"
LOAD_REMEDY = f"{_OTHERS}, or set base_model.quantize to fp8, which halves the UNet's weights."
MEASURE_REMEDY = f"{_OTHERS}, or set base_model.prediction, so that nothing has to be measured."
IMAGES_REMEDY = f"{_OTHERS}, or lower dataset.resolution."
CAPTIONS_REMEDY = f"{_OTHERS}, or lower base_model.max_windows."


@dataclass
class Session:
    """A run in memory: frozen model, data on the device, and the state that learns."""

    run: RunFolder
    config: RunConfig
    context: DeviceContext
    family: Family
    noise: NoiseProcess
    source: Source
    prior: Source | None
    encode_captions: CaptionEncoder
    state: TrainState
    optimizer: Any  # accelerate's wrapper, which skips an update whose fp16 gradients overflowed
    needed_models: frozenset[Model]  # by a training step
    base_model: dict[str, str] = field(default_factory=dict)  # a hash by part, for checkpoints
    group: ProcessGroup = field(default_factory=ProcessGroup)
    samples_stamp: int = 0  # of the config.toml from which the samples' settings were read last

    @property
    def adapters(self) -> AdapterSet:
        """The weights that learn."""
        return self.state.adapters

    @property
    def examples(self) -> list[EncodedExample]:
        """What is learned from."""
        return self.source.examples

    @property
    def resolution(self) -> int:
        """Side of the square bucket, in pixels."""
        return self.config.dataset.resolution or self.family.default_resolution

    @property
    def origin(self) -> Origin:
        """What decides the result: what a resumed run compares."""
        contents = {example.name: example.content for example in self.examples}
        if self.prior:
            contents |= {f"prior/{each.name}": each.content for each in self.prior.examples}
        return Origin(contents, list_settings(self.config), self.base_model)

    def change_settings(self, settings: Mapping[str, int | float | bool]) -> None:
        """Changes settings, by dotted path, of the session and of the run on the disk."""
        self.config = change_settings(self.config, settings)
        if self.group.is_first:
            save_config(self.run, change_settings(self.run.config, settings))

    def read_samples(self) -> None:
        """Takes over what somebody has changed about the samples in the run's config.toml."""
        try:
            stamp = self.run.config_path.stat().st_mtime_ns
            if stamp == self.samples_stamp:
                return
            samples = self.run.config.samples
        except (ConfigError, OSError):
            return  # as they were; somebody may be writing it
        self.samples_stamp = stamp
        self.config = self.config.model_copy(update={"samples": samples})

    def fingerprint(self) -> int:
        """Returns 63 bits of the settings, the images, the step and the weights.

        Processes that compute steps together must start from equal ones.
        """
        contents = sorted(self.origin.examples.items())
        settings = self.config.model_dump_json()
        weights = hash_tensors(self.adapters.state())
        return derive_seed(self.state.step, settings, str(contents), weights)

    def facts(self) -> ExportFacts:
        """Returns the facts of an exported file beyond the config."""
        noise = self.family.schedule_config()
        started = [e["time"] for e in read_events(self.run.events_path) if e["event"] == "started"]
        return ExportFacts(
            family=self.family.name,
            prediction=self.family.prediction,
            base_model_name=name_base_model(self.config.base_model.path),
            captions=[example.caption for example in self.examples],
            resolution=self.resolution,
            buckets=count_buckets(self.examples),
            step=self.state.step,
            started=float(started[0]) if started else time.time(),
            zero_snr=bool(noise.get("zero_snr")),
            precision=self.context.precision,
            class_images=len(self.prior.examples) if self.prior else 0,
            flow_shift=float(noise.get("shift", 0.0)),
            best_weight=read_best_weight(self.run.path, self.state.step),
        )


def open_session(
    run: RunFolder,
    cache: Path,
    checkpoint: Checkpoint | None = None,
    scans: Scans | None = None,
    *,
    measure: bool = False,
    group: ProcessGroup | None = None,
) -> Session:
    """Loads the base model, encodes the dataset, and restores a checkpoint.

    Args:
        run: The run.
        cache: Folder of encoded images and captions.
        checkpoint: Which one; None takes the last, or starts afresh where there is none.
        scans: Of the run's folders; None reads them.
        measure: Before the first step, measures what the base model predicts where its file does
            not state it.
        group: The processes that compute the run's steps; None for this one alone.

    Raises:
        ConfigError, DatasetError, ModelError, RunError: what is wrong and what to do.
        MemoryShortageError: the device ran out of memory; nothing of the run was changed.
    """
    config = run.config
    # Cheap checks first: a wrong folder is reported at once, not after a minute of loading.
    scans = scans or scan_datasets(config)
    base = locate_base_model(config.base_model, run.models_path)
    group = group or ProcessGroup()
    context = open_device_context(config.train.device, base.precision, group.index)
    last = checkpoint or next(reversed(run.list_checkpoints()), None)
    family = _load_base(base, context, config)
    if measure and last is None and needs_measurement(base, family.info):
        assumed = family.prediction
        with name_shortage("measuring the base model", MEASURE_REMEDY):
            prediction = measure_for_run(run, family, context, scans.dataset.examples)
        if prediction != assumed:
            del family  # before it is loaded once more
            base = base.model_copy(update={"prediction": prediction})
            family = _load_base(base, context, config)
        family.keep_on_device(choose_models(config, {"image"}))
    with name_shortage("encoding images", IMAGES_REMEDY):
        sources = open_sources(run, scans, family, context.device, TensorCache(cache))
    report_long_captions(run, family, sources[0].examples)
    session = assemble_session(run, context, family, sources, TensorCache(cache))
    session.base_model = hash_base_model(family.info)
    session.group = group
    if last:
        load_checkpoint(last, session.state, session.origin)
    return session


def assemble_session(
    run: RunFolder,
    context: DeviceContext,
    family: Family,
    sources: tuple[Source, Source | None],
    cache: TensorCache,
) -> Session:
    """Puts adapters, optimiser and captions to a loaded base model and encoded images.

    The memory estimate simulates a run from here on, so nothing below may read the content of a
    tensor.
    """
    config, (source, prior) = run.config, sources
    adapter = keep_start(run.path, config.adapter)
    adapters = attach_adapters(family, adapter, config.train.seed, context.device)
    adapters.rules = make_rules(adapters, config)
    adapters.word = add_trigger_embedding(family, config, context.device)
    trains_text = adapters.changes_text
    repeats = not config.dataset.variation.changes
    encode_captions = CaptionEncoder(
        family.encode_captions,
        family.join_conditioning,
        "" if trains_text else family.text_fingerprint(),
        None if trains_text else cache,
        context.device,
        repeats=repeats,
    )
    if not trains_text:
        with name_shortage("encoding captions", CAPTIONS_REMEDY):
            family.keep_on_device(choose_models(config, {"text"}))
            _encode_texts(config, context, family, encode_captions, sources)
    rests = not trains_text and repeats
    needed: frozenset[Model] = frozenset({"unet"} if rests else {"unet", "text"})
    with name_shortage("loading the base model", LOAD_REMEDY):
        family.keep_on_device(choose_models(config, needed))
    if config.train.gradient_checkpointing:
        family.enable_gradient_checkpointing(config.train.checkpointing_fraction)
    if config.train.recompute != "nothing":
        # A second mask of dropout would be another one.
        inner = config.train.recompute == "feed_forward" and not adapter.uses_dropout
        family.enable_recomputation(feed_forward=inner)
    state, optimizer = _make_state(config, context, adapters)
    make_process = PROCESSES[family.noise]
    return Session(
        run=run,
        config=config,
        context=context,
        family=family,
        noise=make_process(family.schedule_config(), family.prediction, context.device),
        source=source,
        prior=prior,
        encode_captions=encode_captions,
        state=state,
        optimizer=optimizer,
        needed_models=needed,
    )


def _load_base(base: BaseModelConfig, context: DeviceContext, config: RunConfig) -> Family:
    with name_shortage("loading the base model", LOAD_REMEDY):
        return load_family(base, context.device, context.dtype, choose_models(config, {"image"}))


def choose_models(config: RunConfig, needed: Collection[Model]) -> Collection[Model]:
    """Returns the models that are on the device where some are needed."""
    return needed if config.train.offload else EVERY_MODEL


def _encode_texts(
    config: RunConfig,
    context: DeviceContext,
    family: Family,
    encode_captions: CaptionEncoder,
    sources: tuple[Source, Source | None],
) -> None:
    """Reads what a frozen text encoder makes of captions and prompts, so that it can wait."""
    if not config.dataset.variation.changes:
        encode_captions.prepare(list_captions(config, sources))
    if config.samples.every_steps:
        resolution = config.dataset.resolution or family.default_resolution
        for request in list_sample_requests(config, sources[0].examples, resolution):
            with context.accelerator.autocast():
                family.encode_prompts(list_prompts(request), remember=True)


def _make_state(
    config: RunConfig, context: DeviceContext, adapters: AdapterSet
) -> tuple[TrainState, Any]:
    groups = group_parameters(config.optimizer, adapters.sort_parameters())
    if not groups:
        msg = "No layer would be trained: raise adapter.rank or adapter.text_rank."
        raise RunError(msg)
    raw = make_optimizer(groups, config.optimizer)
    decay = config.optimizer.ema_decay
    average = Average(adapters.named_parameters(), decay) if decay else None
    optimizer = context.accelerator.prepare(raw)
    state = TrainState(adapters, config.optimizer.kind, raw, average, context.accelerator.scaler)
    return state, optimizer
