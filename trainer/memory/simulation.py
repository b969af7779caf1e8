"""A run without content: every phase of training on ghosts, to see how much memory it takes."""

import tempfile
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from datasets_tools.buckets import Bucket, Placement
from datasets_tools.examples import Example
from trainer.config import RunConfig
from trainer.data import BatchPlan, EncodedExample, LatentStore, Source, TensorCache
from trainer.memory.fake_accelerator import Device, casting_like, open_stand_in
from trainer.memory.fake_models import summon_family
from trainer.memory.fake_tensors import Meter
from trainer.memory.workload import Workload, read_workload
from trainer.models import EVERY_MODEL, BaseModelInfo, Family, Geometry, Model, Parts
from trainer.runs import RunFolder
from trainer.training.loop import read_batches, take_step
from trainer.training.session import Session, assemble_session


@dataclass(frozen=True)
class Phase:
    """A part of a run.

    Attributes:
        name: What is done.
        peak_bytes: The most that lives on the device while it is.
    """

    name: str
    peak_bytes: int


@dataclass(frozen=True)
class Rehearsal:
    """What a run without content showed, in bytes on the device.

    Attributes:
        phases: In the order of a run.
        base_model_bytes: Frozen weights during a step.
        adapter_bytes: Trained weights.
        optimizer_bytes: Moments, and what else is kept per weight: the running average, and what
            the adapters' rules remember, as AdaLoRA's importance.
        resolution: Side of the square bucket, which is that of samples, in pixels.
    """

    phases: tuple[Phase, ...]
    base_model_bytes: int
    adapter_bytes: int
    optimizer_bytes: int
    resolution: int


def rehearse(
    info: BaseModelInfo, config: RunConfig, examples: Sequence[Example], device: Device
) -> Rehearsal:
    """Goes through a run on ghosts.

    Args:
        info: The base model; none of its weights are read.
        config: The run's settings.
        examples: The dataset; where there are none yet, a usual one is thought of.
        device: What it would run on.

    Raises:
        ModelError, RunError, DatasetError: the config asks for what cannot be done.
    """
    stage = _Stage(config, device)
    with casting_like(device), tempfile.TemporaryDirectory() as folder:
        stage.load(info, examples)
        with stage.meter:
            stage.encode_image()
            stage.assemble(Path(folder))
            stage.take_step()
            if config.samples.every_steps:
                stage.draw()
    return stage.tell()


@dataclass(frozen=True)
class _Run(RunFolder):
    """A run whose config is not on the disk."""

    settings: RunConfig

    @property
    def config(self) -> RunConfig:
        return self.settings


class _NoCache(TensorCache):
    """Finds nothing and keeps nothing, so that the rehearsal encodes what a first run would."""

    def __init__(self) -> None:
        super().__init__(Path())

    def get(self, *key: object) -> dict[str, Tensor] | None:
        del key
        return None

    def put(self, tensors: dict[str, Tensor], *key: object) -> None:
        del tensors, key


class _Stage:
    """The rehearsal's state between its phases."""

    family: Family
    parts: Parts
    workload: Workload
    latents: LatentStore
    session: Session

    def __init__(self, config: RunConfig, device: Device) -> None:
        # More than two batches an update take no more memory than two.
        fewer = config.train.model_copy(update={"accumulate": min(config.train.accumulate, 2)})
        plain = config.base_model.model_copy(update={"attention": "sdpa"})
        self.config = config.model_copy(update={"train": fewer, "base_model": plain})
        self.device = device
        self.meter = Meter(device.block_bytes)
        self.phases: list[Phase] = []
        self.base_model_bytes = self.adapter_bytes = self.optimizer_bytes = 0

    def load(self, info: BaseModelInfo, examples: Sequence[Example]) -> None:
        """Brings the base model as it is held before the first image is encoded."""
        waiting = self.config.train.offload
        present: Collection[Model] = {"image"} if waiting else EVERY_MODEL
        with self._phase("loading the base model"):
            self.family, self.parts = summon_family(
                info, self.config.base_model, self.device, self.meter, present
            )
        self.workload = read_workload(self.config.dataset, info, examples)

    def encode_image(self) -> None:
        """Encodes one image of the largest bucket."""
        with self._phase("encoding images"):
            pixels = torch.empty(1, 3, self.workload.height, self.workload.width)
            moments = self.family.encode_images(pixels)
        self.latents = LatentStore()
        self.latents.add(0, False, moments.mean[0], moments.std[0])
        if self.config.dataset.flip:
            self.latents.add(0, True, moments.mean[0].clone(), moments.std[0].clone())

    def assemble(self, folder: Path) -> None:
        """Encodes captions, attaches adapters and makes the optimiser's moments."""
        run = _Run(folder, self.config)
        machine = open_stand_in(self.device)
        examples = [self._make_example()]
        plan = BatchPlan(examples, self.config.dataset, self.config.train.batch_size, 0)
        source = Source(examples, self.latents, plan)
        prior = source if self.config.objective.prior == "images" else None
        with self._phase("encoding captions"):
            self.session = assemble_session(run, machine, self.family, (source, prior), _NoCache())
        self.adapter_bytes = sum(map(_size_of, self.session.adapters.named_parameters().values()))
        kept = sum(map(_size_of, _list_kept(self.session)))
        self.base_model_bytes = self.meter.now - self.adapter_bytes - kept
        self._book_other_examples()
        self.optimizer_bytes = kept + self._make_moments()

    def take_step(self) -> None:
        """Does one update, with the code that does it in a run."""
        with self._phase("training step"):
            take_step(self.session, read_batches(self.session))

    def draw(self) -> None:
        """Does what drawing one sample does: captions, one step of the denoiser, the image."""
        samples, side = self.config.samples, self.session.resolution
        count = 2 if samples.guidance > 1 else 1
        geometry = Geometry((side, side), (0, 0), (side, side))
        channels, cells = self.family.latent_channels, side // self.family.latent_factor
        self.session.adapters.train(mode=False)
        with self._phase("drawing samples"), torch.no_grad(), self.session.state.shown():
            latents = torch.empty(1, channels, cells, cells)
            with self.session.machine.accelerator.autocast():
                text = self.family.encode_captions([self.workload.caption] * count)
                sizes = self.family.describe_sizes([geometry] * count)
                batch = torch.cat([latents] * count)
                self.family.predict(batch, torch.zeros(count, dtype=torch.long), text | sizes)
            self.family.decode(latents)

    def tell(self) -> Rehearsal:
        """Returns what was seen."""
        return Rehearsal(
            phases=tuple(self.phases),
            base_model_bytes=self.base_model_bytes,
            adapter_bytes=self.adapter_bytes,
            optimizer_bytes=self.optimizer_bytes,
            resolution=self.session.resolution,
        )

    @contextmanager
    def _phase(self, name: str) -> Iterator[None]:
        self.meter.restart()
        yield
        self.phases.append(Phase(name, self.meter.peak))

    def _make_moments(self) -> int:
        """Updates with gradients of zero, so that the step has the moments of a later one."""
        state, before = self.session.state, self.meter.now
        state.start_learning()
        for parameter in self.session.adapters.named_parameters().values():
            parameter.grad = torch.zeros_like(parameter)
        state.optimizer.step()
        state.optimizer.zero_grad(set_to_none=True)
        return self.meter.now - before

    def _make_example(self) -> EncodedExample:
        size = (self.workload.width, self.workload.height)
        placement = Placement(Bucket(*size), 1.0, size, (0, 0), False, 0.0)
        return EncodedExample("rehearsal", "", self.workload.caption, size, placement)

    def _book_other_examples(self) -> None:
        """Adds the latents and the encoded captions of all examples but the one that is played."""
        factor = self.family.latent_factor
        cells = (self.workload.width // factor) * (self.workload.height // factor)
        kept = cells * self.family.latent_channels * 2 * 4 * (1 + self.config.dataset.flip)
        if not self.session.adapters.changes_text:
            row = self.session.encode_captions([self.workload.caption])
            kept += sum(map(_size_of, row.values()))
        self.meter.book((self.workload.examples - 1) * kept)


def _list_kept(session: Session) -> list[Tensor]:
    """Returns what lasts beside the trained weights: buffers, the rules' memory, the average."""
    adapters, average = session.adapters, session.state.average
    kept = [buffer for each in adapters.adapters.values() for buffer in each.buffers()]
    kept += adapters.memory().values()
    return kept + list(average.values.values()) if average else kept


def _size_of(tensor: Tensor) -> int:
    return tensor.numel() * tensor.element_size()
