"""A device that runs out of memory outside of a training step: what takes less, and the message."""

import contextlib
from collections.abc import Callable, Iterator
from typing import TypeVar

import torch
from torch import Tensor

from trainer.config import RunConfig, change_settings
from trainer.device import free_memory, is_out_of_memory
from trainer.device_kinds import DEVICE_KINDS, find_kind
from trainer.models import Family
from trainer.models.family import LatentDistribution
from trainer.runs import RunError, RunFolder, save_config
from trainer.training.progress import warn

Settings = dict[str, int | float | bool]
Result = TypeVar("Result")


class MemoryShortageError(RunError):
    """A device ran out of memory in a phase of a run.

    Args:
        phase: What the run was doing: "encoding images".
        remedy: What to do, a sentence.
    """

    def __init__(self, phase: str, remedy: str) -> None:
        super().__init__(f"The device ran out of memory while {phase}. {remedy}")
        self.phase, self.remedy = phase, remedy


@contextlib.contextmanager
def name_shortage(phase: str, remedy: str) -> Iterator[None]:
    """Raises MemoryShortageError, with the phase's name, where the block runs out of memory.

    Args:
        phase: What the run is doing: "encoding images".
        remedy: What helps where nothing leaner is left, a sentence.
    """
    try:
        yield
    except RuntimeError as error:
        if not is_out_of_memory(error):
            raise
        raise MemoryShortageError(phase, remedy) from error


def retry_leaner(run: RunFolder, attempt: Callable[[], Result]) -> Result:
    """Sets a run up, again and again with settings that take less, until it fits.

    The settings are saved in the run's config, and all of them leave the result as it is but for
    rounding: the run ends as one that had them from the start. Images and captions that were
    encoded are in the cache and not encoded again.

    Raises:
        MemoryShortageError: nothing that takes less is left.
    """
    while True:
        try:
            return attempt()
        except MemoryShortageError as error:
            phase, remedy = error.phase, error.remedy
        # Behind the handler: the error holds what was loaded.
        free_memory(torch.device(find_kind(run.config.train.device)))
        change_to_leaner(run, MemoryShortageError(phase, remedy))


def change_to_leaner(run: RunFolder, error: MemoryShortageError) -> None:
    """Saves settings that take less in a run's config, with a warning.

    Raises:
        MemoryShortageError: the one given, where nothing that takes less is left.
    """
    settings = find_leaner_setup(run.config, find_kind(run.config.train.device))
    if settings is None:
        raise error
    assignments = ", ".join(f"{name} = {str(value).lower()}" for name, value in settings.items())
    warn_of_retry(run, error.phase, assignments)
    save_config(run, change_settings(run.config, settings))


def warn_of_retry(run: RunFolder, phase: str, change: str) -> None:
    """Warns that a device ran out of memory, and of what takes less from then on."""
    warn(
        run,
        f"The device ran out of memory while {phase}, which is done again: {change} from here on.",
    )


def encode_within_memory(run: RunFolder, family: Family, pixels: Tensor) -> LatentDistribution:
    """Returns an image's latents, by a VAE that works on strips where the whole does not fit."""
    try:
        return family.encode_images(pixels)
    except RuntimeError as error:
        if not is_out_of_memory(error):
            raise
    # Behind the handler: the error holds activations.
    free_memory(family.device)
    if family.save_vae_memory():
        warn_of_retry(run, "encoding an image", "the VAE works on strips")
    return family.encode_images(pixels)


def find_leaner_setup(config: RunConfig, kind: str) -> Settings | None:
    """Returns settings that take less while models are loaded, placed and used without gradients.

    First models that wait in main memory until they are needed, then blocks that wait there, too,
    with the checkpointing that such blocks need. Neither frees anything where the device's memory
    is the main memory.

    Args:
        config: Of the run.
        kind: Of its device, a key of `DEVICE_KINDS`.
    """
    if not config.train.offload and not DEVICE_KINDS[kind].shares_memory:
        return {"train.offload": True}
    if can_offload_blocks(config, kind):
        return {
            "base_model.offload_fraction": 1.0,
            "train.gradient_checkpointing": True,
            "train.checkpointing_fraction": 1.0,
        }
    return None


def can_offload_blocks(config: RunConfig, kind: str) -> bool:
    """Whether more blocks could wait in main memory; packed weights of 4 bits cannot."""
    base, apart = config.base_model, not DEVICE_KINDS[kind].shares_memory
    return apart and base.offload_fraction < 1 and base.quantize != "nf4"
