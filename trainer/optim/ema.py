"""A running average of weights."""

import contextlib
from collections.abc import Iterator, Mapping

import torch
from torch import Tensor, nn


class Average:
    """Exponential moving average: average = decay * average + (1 - decay) * weight, in fp32."""

    def __init__(self, parameters: Mapping[str, nn.Parameter], decay: float) -> None:
        self.parameters = dict(parameters)
        self.decay = decay
        self.values = {name: p.detach().clone() for name, p in self.parameters.items()}

    @torch.no_grad()
    def update(self, step: int) -> None:
        """Takes in the weights after an update; early on the average follows faster."""
        decay = min(self.decay, (1 + step) / (10 + step))
        for name, parameter in self.parameters.items():
            self.values[name].lerp_(parameter.detach(), 1 - decay)

    @contextlib.contextmanager
    def swapped_in(self) -> Iterator[None]:
        """Replaces the weights by the averages while the block runs."""
        originals = {name: p.detach().clone() for name, p in self.parameters.items()}
        self._write(self.values)
        try:
            yield
        finally:
            self._write(originals)

    @torch.no_grad()
    def _write(self, values: Mapping[str, Tensor]) -> None:
        for name, parameter in self.parameters.items():
            parameter.copy_(values[name])
