"""Optimisers by name."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch.optim import AdamW, Optimizer

from trainer.config import OptimizerConfig
from trainer.optim.groups import Group


def make_adamw(groups: list[dict[str, Any]], config: OptimizerConfig) -> Optimizer:
    """Returns AdamW (Loshchilov and Hutter, arXiv:1711.05101) over all tensors at once."""
    fused = all(p.device.type in {"cpu", "cuda"} for group in groups for p in group["params"])
    return AdamW(
        groups,
        lr=0.0,
        betas=(config.beta1, config.beta2),
        weight_decay=config.weight_decay,
        fused=fused,
    )


OPTIMIZERS: dict[str, Callable[[list[dict[str, Any]], OptimizerConfig], Optimizer]] = {
    "adamw": make_adamw
}


def make_optimizer(groups: Sequence[Group], config: OptimizerConfig) -> torch.optim.Optimizer:
    """Returns the optimiser of a config; each group carries its name and its full learning rate."""
    rows = [
        {
            "params": group.parameters,
            "lr": group.learning_rate,
            "part": group.part,
            "full_lr": group.learning_rate,
        }
        for group in groups
    ]
    return OPTIMIZERS[config.kind](rows, config)
