"""The budget of AdaLoRA: ranks go where they matter most."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from trainer.adapters.adalora import AdaLoRA

_PARTS = ("right", "values", "left")


@dataclass(frozen=True)
class BudgetPlan:
    """When how many ranks are left (section 3.3 of the paper).

    Attributes:
        steps: Of the whole run.
        warmup_steps: In which nothing is taken away.
        final_steps: At the end, in which the ranks stay as they are.
        every_steps: Between two allocations.
        kept_share: Of all ranks, those that are left at the end.
        orthogonality: Weight of the penalty.
        beta1: Memory of the importance.
        beta2: Memory of its uncertainty.
    """

    steps: int
    warmup_steps: int
    final_steps: int
    every_steps: int = 10
    kept_share: float = 0.5
    orthogonality: float = 0.1
    beta1: float = 0.85
    beta2: float = 0.85

    @property
    def last_allocation_step(self) -> int:
        """The step from which the ranks stay as they are."""
        return self.steps - self.final_steps

    def count_left(self, step: int, ranks: int) -> int:
        """Returns how many of all ranks may be left after a step: a cubic decline."""
        target = round(ranks * self.kept_share)
        if step <= self.warmup_steps:
            return ranks
        if step >= self.last_allocation_step:
            return target
        done = (step - self.warmup_steps) / (self.last_allocation_step - self.warmup_steps)
        return int((ranks - target) * (1 - done) ** 3 + target)


class RankAllocator:
    """Takes ranks from layers where they matter little (Zhang et al. 2023, arXiv:2303.10512).

    A weight's importance is |weight * gradient|, smoothed, times its smoothed uncertainty (eq. 8 to
    10); a rank's is that of its value plus the means of its two vectors (eq. 7). At an allocation
    the values of the least important ranks of the *whole model* are set to zero. They keep their
    vectors and may come back, until the last allocation.

    Args:
        adapters: By layer.
        plan: When how many ranks are left.
    """

    def __init__(self, adapters: Mapping[str, AdaLoRA], plan: BudgetPlan) -> None:
        self._adapters, self._plan = dict(adapters), plan
        self._ranks = sum(adapter.rank for adapter in adapters.values())
        self._vectors = _sort_by_shape(adapters.values())
        self._importance, self._uncertainty = (
            {name: torch.zeros_like(value) for name, value in self._weights()} for _ in range(2)
        )

    def penalty(self) -> Tensor:
        """Returns the weighted mean of |P Pᵀ - I| over all singular vectors (eq. 4)."""
        norms = []
        for parameters, along in self._vectors:  # one product for all of a shape
            vectors = torch.stack(parameters).transpose(1, along)  # [n, rank, size]
            product = vectors @ vectors.mT
            eye = torch.eye(product.shape[1], dtype=product.dtype, device=product.device)
            norms.append(torch.linalg.vector_norm(product - eye, dim=(1, 2)))
        return torch.cat(norms).mean() * self._plan.orthogonality

    @torch.no_grad()
    def after_step(self, step: int) -> None:
        """Measures importance and, when it is time, allocates the budget anew."""
        plan = self._plan
        if step > plan.last_allocation_step:
            return
        if step < plan.last_allocation_step:
            self._measure()
        due = plan.warmup_steps < step and step % plan.every_steps == 0
        if due or step == plan.last_allocation_step:
            self._allocate(
                plan.count_left(step, self._ranks), final=step == plan.last_allocation_step
            )

    def memory(self) -> dict[str, Tensor]:
        """Returns the smoothed importance and uncertainty of every weight."""
        return {
            f"{name}.{what}": value
            for what, values in (
                ("importance", self._importance), ("uncertainty", self._uncertainty)
            )
            for name, value in values.items()
        }  # fmt: skip

    def ranks(self) -> dict[str, int]:
        """Returns how many ranks each layer has now."""
        return {
            name: int((adapter.values * adapter.kept).count_nonzero())
            for name, adapter in self._adapters.items()
        }

    def _weights(self) -> Iterator[tuple[str, nn.Parameter]]:
        for name, adapter in self._adapters.items():
            for part in _PARTS:
                yield f"{name}.{part}", getattr(adapter, part)

    def _measure(self) -> None:
        # A layer whose output is unused (the last one of SDXL's text encoders) learns nothing
        # but the penalty, and is worth nothing.
        learning = {name for name, a in self._adapters.items() if a.values.grad is not None}
        names, weights, gradients = [], [], []
        for name, weight in self._weights():
            if name.rpartition(".")[0] in learning and weight.grad is not None:
                names.append(name)
                weights.append(weight.detach())
                gradients.append(weight.grad)
        if not names:
            return
        importance = [self._importance[name] for name in names]
        uncertainty = [self._uncertainty[name] for name in names]
        now = torch._foreach_mul(weights, gradients)
        torch._foreach_abs_(now)
        for value in now:  # where fp16 overflowed, the update was skipped and nothing was learned
            value.nan_to_num_(0, posinf=0)
        torch._foreach_lerp_(importance, now, 1 - self._plan.beta1)
        torch._foreach_sub_(now, importance)
        torch._foreach_abs_(now)
        torch._foreach_lerp_(uncertainty, now, 1 - self._plan.beta2)

    def _score(self, name: str) -> Tensor:
        return self._importance[name] * self._uncertainty[name]

    def _allocate(self, left: int, *, final: bool) -> None:
        """Zeroes the values of all but the `left` most important ranks."""
        gone = self._ranks - left
        for adapter in self._adapters.values():
            adapter.kept.fill_(1)  # a run that was extended allocates ranks again
        if gone == 0:
            return
        scores = {
            name: self._score(f"{name}.values")
            + self._score(f"{name}.right").mean(dim=1)
            + self._score(f"{name}.left").mean(dim=0)
            for name in self._adapters
        }
        threshold = torch.cat(list(scores.values())).kthvalue(gone).values
        for name, adapter in self._adapters.items():
            unimportant = scores[name] <= threshold
            adapter.values.masked_fill_(unimportant, 0)
            if final:
                adapter.kept.masked_fill_(unimportant, 0)


def _sort_by_shape(adapters: Iterable[AdaLoRA]) -> list[tuple[list[Tensor], int]]:
    """Returns the singular vectors, those of one shape together, and the axis of their ranks."""
    groups: dict[tuple[object, ...], tuple[list[Tensor], int]] = {}
    for adapter in adapters:
        for side, parameter, axis in (("right", adapter.right, 1), ("left", adapter.left, 2)):
            key = (side, *parameter.shape)
            groups.setdefault(key, ([], axis))[0].append(parameter)
    return list(groups.values())
