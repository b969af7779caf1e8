"""Which models of a base model are on the device; the others wait in main memory."""

import contextlib
from collections.abc import Collection, Iterator, Mapping, Sequence

import torch
from torch import nn

from trainer.models.family import EVERY_MODEL, Model


class Placement:
    """Moves a base model's models between the device and main memory.

    Args:
        models: VAE, text encoders and UNet.
        device: Where they work.
        fixed: Models that are never moved away.
    """

    def __init__(
        self,
        models: Mapping[Model, Sequence[nn.Module]],
        device: torch.device,
        fixed: Collection[Model] = (),
    ) -> None:
        self._models, self._device, self._fixed = models, device, frozenset(fixed)
        self._kept: frozenset[Model] = EVERY_MODEL

    def keep(self, models: Collection[Model]) -> None:
        """Keeps these models on the device; the others wait in main memory until needed."""
        self._kept = frozenset(models)
        self._move(self._kept)

    @contextlib.contextmanager
    def needing(self, model: Model) -> Iterator[None]:
        """Has a model on the device while the block runs; one that waited comes alone.

        Beside a UNet the text encoders of SDXL would take more than a training step.
        """
        if model in self._kept:
            yield
            return
        with self.alone(model):
            yield

    @contextlib.contextmanager
    def alone(self, model: Model) -> Iterator[None]:
        """Where models wait, all but this one do while the block runs."""
        if self._kept == EVERY_MODEL:
            yield
            return
        self._move({model})
        try:
            yield
        finally:
            self._move(self._kept)

    @contextlib.contextmanager
    def offloading_all(self) -> Iterator[None]:
        """Every model waits in main memory while the block runs, whatever was kept."""
        try:
            self._move(())
            yield
        finally:
            self._move(self._kept)

    def _move(self, present: Collection[Model]) -> None:
        # First those that leave, to free memory for those that come.
        for name in sorted(self._models, key=lambda each: each in present):
            if name in self._fixed and name not in present:
                continue
            for model in self._models[name]:
                model.to(self._device if name in present else "cpu")
