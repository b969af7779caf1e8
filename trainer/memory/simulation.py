"""A simulated run: every phase of training on fake tensors, to measure its memory."""

from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor

from datasets_tools.buckets import Bucket, Placement
from datasets_tools.disk import temporary_folder
from datasets_tools.examples import Example
from trainer.config import RunConfig
from trainer.data import (
    LIMIT_BYTES,
    BatchPlan,
    EncodedExample,
    LatentStore,
    Source,
    TensorCache,
    TensorStore,
)
from trainer.memory.fake_accelerator import Device, emulate_autocast, open_fake_context
from trainer.memory.fake_models import make_fake_family
from trainer.memory.fake_tensors import Meter
from trainer.memory.workload import Workload, read_workload
from trainer.models import EVERY_MODEL, BaseModelInfo, Family, Geometry, Model, Parts
from trainer.models.family import list_prompts
from trainer.runs import RunFolder
from trainer.training.loop import read_batches
from trainer.training.sample_requests import find_largest, list_sample_requests
from trainer.training.session import Session, assemble_session
from trainer.training.step import take_step


@dataclass(frozen=True)
class Phase:
    """A part of a run.

    Attributes:
        name: Of the phase.
        peak_bytes: The peak memory on the device.
    """

    name: str
    peak_bytes: int


@dataclass(frozen=True)
class SimulatedRun:
    """The memory of a simulated run, in bytes on the device.

    Attributes:
        phases: In the order of a run.
        base_model_bytes: Frozen weights during a step.
        adapter_bytes: Trained weights.
        optimizer_bytes: Optimizer state, and what else is stored per weight: the running average,
            and the state of the adapters' rules, such as AdaLoRA's importance.
        resolution: Side of the square bucket, which is that of samples, in pixels.
    """

    phases: tuple[Phase, ...]
    base_model_bytes: int
    adapter_bytes: int
    optimizer_bytes: int
    resolution: int


def simulate(
    info: BaseModelInfo, config: RunConfig, examples: Sequence[Example], device: Device
) -> SimulatedRun:
    """Simulates a run on fake tensors.

    Args:
        info: The base model; none of its weights are read.
        config: The run's settings.
        examples: The dataset; where there are none yet, a typical one is assumed.
        device: The simulated device.

    Raises:
        ModelError, RunError, DatasetError: the config cannot be run.
    """
    simulation = _Simulation(config, device)
    with emulate_autocast(device), temporary_folder() as folder:
        simulation.load(info, examples)
        with simulation.meter:
            simulation.encode_image()
            simulation.assemble(folder)
            simulation.take_step()
            if config.samples.every_steps:
                simulation.generate_sample()
    return simulation.summarise()


@dataclass(frozen=True)
class _Run(RunFolder):
    """A run whose config is not on the disk."""

    settings: RunConfig = field(kw_only=True)

    @property
    def config(self) -> RunConfig:
        return self.settings


class _NoCache(TensorCache):
    """An empty cache, so that the simulation encodes what a first run would."""

    def __init__(self) -> None:
        super().__init__(Path())

    def get(self, *key: object) -> dict[str, Tensor] | None:
        del key
        return None

    def put(self, tensors: dict[str, Tensor], *key: object) -> None:
        del tensors, key


class _Simulation:
    """The state of a simulation between its phases."""

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
        """Loads the base model as it is before the first image is encoded."""
        offload = self.config.train.offload
        present: Collection[Model] = {"image"} if offload else EVERY_MODEL
        with self._phase("loading the base model"):
            self.family, self.parts = make_fake_family(
                info, self.config.base_model, self.device, self.meter, present
            )
        self.workload = read_workload(self.config.dataset, info, examples)

    def encode_image(self) -> None:
        """Encodes one image of the largest bucket."""
        with self._phase("encoding images"):
            pixels = torch.empty(1, 3, self.workload.height, self.workload.width)
            distribution = self.family.encode_images(pixels)
        self.latents = LatentStore(TensorStore(_NoCache(), self.device.place))
        for flipped in (False, True) if self.config.dataset.flip else (False,):
            tensors = {"mean": distribution.mean[0].clone(), "std": distribution.std[0].clone()}
            self.latents.add(0, flipped, tensors)

    def assemble(self, folder: Path) -> None:
        """Encodes captions, attaches adapters and allocates the optimizer state."""
        run = _Run(folder, settings=self.config)
        context = open_fake_context(self.device)
        examples = [self._make_example()]
        plan = BatchPlan(examples, self.config.dataset, self.config.train.batch_size, 0)
        source = Source(examples, self.latents, plan)
        prior = source if self.config.objective.prior == "images" else None
        with self._phase("encoding captions"):
            self.session = assemble_session(run, context, self.family, (source, prior), _NoCache())
        self.adapter_bytes = sum(map(_size_of, self.session.adapters.named_parameters().values()))
        lasting = sum(map(_size_of, _list_lasting(self.session)))
        self.base_model_bytes = self.meter.now - self.adapter_bytes - lasting
        self._count_other_examples()
        self.optimizer_bytes = lasting + self._allocate_optimizer_state()

    def take_step(self) -> None:
        """Does one update, with the code of a real run."""
        with self._phase("training step"):
            take_step(self.session, read_batches(self.session))

    def generate_sample(self) -> None:
        """Generates one sample: captions, one step of the denoiser, the image."""
        session, side = self.session, self.session.resolution
        request = find_largest(list_sample_requests(self.config, session.examples, side))
        prompts = list_prompts(request)
        count = len(prompts)
        size, factor = (request.width, request.height), self.family.latent_factor
        geometry = Geometry(size, (0, 0), size)
        channels, cells = self.family.latent_channels, [side // factor for side in size]
        session.adapters.train(mode=False)
        with self._phase("generating samples"), torch.no_grad(), session.state.shown():
            latents = torch.empty(1, channels, cells[1], cells[0])
            with session.context.accelerator.autocast():
                text = self.family.join_conditioning(self.family.encode_prompts(prompts))
                sizes = self.family.describe_sizes([geometry] * count)
                batch = torch.cat([latents] * count)
                self.family.predict(batch, torch.zeros(count, dtype=torch.long), text | sizes)
            self.family.decode(latents)

    def summarise(self) -> SimulatedRun:
        """Returns the measured memory."""
        return SimulatedRun(
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

    def _allocate_optimizer_state(self) -> int:
        """Updates with zero gradients, so that the step has the optimizer state of a later one."""
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
        return EncodedExample("simulated", "", self.workload.caption, size, placement)

    def _count_other_examples(self) -> None:
        """Adds the latents and the encoded captions of all examples but the simulated one."""
        factor = self.family.latent_factor
        cells = (self.workload.width // factor) * (self.workload.height // factor)
        others = self.workload.examples - 1
        latents = cells * self.family.latent_channels * 2 * 4 * (1 + self.config.dataset.flip)
        lasting = min(others * latents, LIMIT_BYTES)
        if not self.session.adapters.changes_text and not self.config.dataset.variation.changes:
            row = self.session.encode_captions([self.workload.caption])
            lasting += min(others * sum(map(_size_of, row.values())), LIMIT_BYTES)
        self.meter.add(lasting)


def _list_lasting(session: Session) -> list[Tensor]:
    """Returns what is stored beside the trained weights: buffers, the rules' state, the average."""
    adapters, average = session.adapters, session.state.average
    lasting = [buffer for each in adapters.adapters.values() for buffer in each.buffers()]
    lasting += adapters.memory().values()
    return lasting + list(average.values.values()) if average else lasting


def _size_of(tensor: Tensor) -> int:
    return tensor.numel() * tensor.element_size()
