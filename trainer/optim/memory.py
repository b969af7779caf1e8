"""What an optimiser remembers, as named tensors and plain numbers: a checkpoint without pickle."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from trainer.optim.optimizers import OPTIMIZERS

Numbers = dict[str, Any]  # what JSON can hold


def pack_optimizer(
    kind: str, optimizer: Optimizer, parameters: Mapping[str, nn.Parameter]
) -> tuple[dict[str, Tensor], Numbers]:
    """Returns tensors as `WEIGHT.KEY`, and the numbers per weight and per group."""
    tensors: dict[str, Tensor] = {}
    weights: dict[str, Numbers] = {}
    for name, parameter in parameters.items():
        for key, value in optimizer.state.get(parameter, {}).items():
            if isinstance(value, Tensor):
                tensors[f"{name}.{key}"] = value
            else:
                weights.setdefault(name, {})[key] = value
    saved_numbers = OPTIMIZERS[kind].saved_numbers
    groups = [
        {key: _to_number(group[key]) for key in saved_numbers if key in group}
        for group in optimizer.param_groups
    ]
    return tensors, {"weights": weights, "groups": groups}


def restore_optimizer(
    optimizer: Optimizer,
    parameters: Mapping[str, nn.Parameter],
    tensors: Mapping[str, Tensor],
    numbers: Numbers,
) -> None:
    """Restores what `pack_optimizer` returned.

    Raises:
        ValueError: the groups or the weights are others.
    """
    saved_groups, groups = numbers["groups"], optimizer.param_groups
    if len(saved_groups) != len(groups):
        msg = (
            f"{len(saved_groups)} groups of weights were saved, not {len(groups)}: with other "
            "settings, or by a version of Lorasmith that let the lengths of DoRA decay"
        )
        raise ValueError(msg)
    known = {name: dict(numbers["weights"].get(name, {})) for name in parameters}
    for full, value in tensors.items():
        name, _, key = full.rpartition(".")
        if name not in known:
            msg = f"the optimizer state contains {name}, which is not trained"
            raise ValueError(msg)
        # The fused kernel wants its step counter, too, where the weights are.
        known[name][key] = value.to(parameters[name].device)
    for name, parameter in parameters.items():
        if known[name]:
            optimizer.state[parameter] = known[name]
    for group, saved in zip(groups, saved_groups, strict=True):
        group.update(saved)


def _to_number(value: object) -> object:
    return value.item() if isinstance(value, torch.Tensor) else value
