"""What happens to a set of adapters beside following the gradient."""

from collections.abc import Mapping, Sequence
from typing import Protocol

import torch
from torch import Tensor

from trainer.adapters.base import Adapter


class Rule(Protocol):
    """A rule that the training keeps for a set of adapters."""

    def penalty(self) -> Tensor | None:
        """Returns what is added to the loss, a scalar; None for nothing."""
        ...

    def after_step(self, step: int) -> None:
        """Changes the weights after an update, while its gradients are still there.

        Args:
            step: Updates done, with this one.
        """
        ...

    def memory(self) -> dict[str, Tensor]:
        """Returns what it remembers by name, for checkpoints; the tensors themselves."""
        ...


class MaxNorm:
    """Keeps the norm of every adapter's change below a limit, as kohya's `scale_weight_norms`.

    Args:
        adapters: Whose changes.
        limit: Largest Frobenius norm.
    """

    def __init__(self, adapters: Sequence[Adapter], limit: float) -> None:
        self._adapters, self._limit = list(adapters), limit

    def penalty(self) -> None:
        """Adds nothing to the loss."""

    @torch.no_grad()
    def after_step(self, step: int) -> None:
        """Makes the changes smaller that are too large, without asking the device which."""
        del step
        for adapter in self._adapters:
            norm = adapter.norm().clamp_min(torch.finfo(torch.float32).tiny)
            adapter.shrink((self._limit / norm).clamp_max(1))

    def memory(self) -> dict[str, Tensor]:
        """Remembers nothing."""
        return {}


def restore_memory(rules: Sequence[Rule], saved: Mapping[str, Tensor]) -> None:
    """Restores the state of rules.

    Raises:
        ValueError: it is the state of other rules.
    """
    own = gather_memory(rules)
    wrong = sorted(set(own) ^ set(saved)) or [
        name for name in own if own[name].shape != saved[name].shape
    ]
    if wrong:
        msg = f"the memory of {wrong[0]} does not fit"
        raise ValueError(msg)
    for name, value in own.items():
        value.copy_(saved[name])


def gather_memory(rules: Sequence[Rule]) -> dict[str, Tensor]:
    """Returns what all rules remember."""
    return {name: value for rule in rules for name, value in rule.memory().items()}
