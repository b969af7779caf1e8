"""What an evaluation works on: the base model with a checkpoint on it, images, latents, probes."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from datasets_tools.examples import Example
from trainer.adapters import AdapterSet
from trainer.config import RunConfig
from trainer.data import (
    TensorCache,
    choose_sizes,
    encode_examples,
    split_examples,
)
from trainer.device import DeviceContext, open_device_context
from trainer.diffusion import PROCESSES
from trainer.evaluation.losses import Model, Probe
from trainer.models import Family, load_family
from trainer.runs import Checkpoint, RunError, RunFolder
from trainer.runs.base_models import locate_base_model
from trainer.training.attach import attach_checkpoint
from trainer.training.checkpoint import read_weights
from trainer.training.sources import describe_geometry, make_encoder

_MOST_PROBES = 8  # images whose loss is measured; more change the mean little and cost much


@dataclass
class Subject:
    """A run's base model in memory, with the adapters of one checkpoint at a time.

    Attributes:
        run: The run.
        config: Its settings.
        context: Device and precision.
        family: The base model.
        adapters: Of the checkpoint that was loaded last.
        training: The examples that were trained on.
        held_out: Those that were not.
    """

    run: RunFolder
    config: RunConfig
    context: DeviceContext
    family: Family
    adapters: AdapterSet
    training: list[Example]
    held_out: list[Example]

    def load(self, checkpoint: Checkpoint) -> None:
        """Puts another checkpoint's weights into the adapters.

        Raises:
            RunError: it is damaged or does not fit.
        """
        try:
            self.adapters.load_state(read_weights(checkpoint.path))
        except ValueError as error:
            msg = f"The checkpoint {checkpoint.path.name} does not fit the run's config: {error}."
            raise RunError(msg) from error

    @property
    def model(self) -> Model:
        """What losses are measured with."""
        make = PROCESSES[self.family.noise]
        process = make(self.family.schedule_config(), self.family.prediction, self.context.device)
        return Model(self.family, self.context, process, self.adapters)

    def make_probes(self, examples: Sequence[Example], cache: Path) -> list[Probe]:
        """Returns examples as losses are measured on them, evenly chosen where there are many."""
        chosen = examples[:: max(1, len(examples) // _MOST_PROBES)][:_MOST_PROBES]
        if not chosen:
            return []
        family, device = self.family, self.context.device
        dataset = self.config.dataset.model_copy(update={"flip": False, "masks": "off"})
        encoded, latents = encode_examples(
            chosen,
            dataset,
            choose_sizes(dataset, family),
            (family.image_fingerprint(), make_encoder(self.run, family)),
            TensorCache(cache),
            device,
            lambda _done, _total: None,
        )
        probes = []
        for index, example in enumerate(encoded):
            mean = latents.mean(index)
            geometry = describe_geometry(example, flipped=False)
            probes.append(Probe(example.content, mean, example.caption, geometry))
        return probes


def open_subject(run: RunFolder, checkpoint: Checkpoint) -> Subject:
    """Loads a run's base model and puts a checkpoint on it.

    Raises:
        ConfigError, DatasetError, ModelError, RunError: what is wrong and what to do.
    """
    config = run.config
    training, held_out, _ = split_examples(config.dataset)
    if len(training) < 2:
        msg = "One training image is too few to evaluate by: a style is measured on two or more."
        raise RunError(msg)
    base = locate_base_model(config.base_model, run.models_path)
    context = open_device_context(config.train.device, base.precision)
    family = load_family(base, context.device, context.dtype)
    adapters = attach_checkpoint(family, checkpoint.path, context.device)
    return Subject(run, config, context, family, adapters, training, held_out)
