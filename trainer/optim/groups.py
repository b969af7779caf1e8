"""One learning rate per part of the model."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from torch import nn

from trainer.config import OptimizerConfig

Part = Literal["unet", "conv", "text"]  # as in trainer.adapters.targets


@dataclass(frozen=True)
class Group:
    """Weights that share a learning rate."""

    part: str
    learning_rate: float
    parameters: list[nn.Parameter]


def group_parameters(
    config: OptimizerConfig, find: Callable[[Part], list[nn.Parameter]]
) -> list[Group]:
    """Returns the non-empty groups "unet", "conv" and "text", in this order."""
    rates: dict[Part, float] = {
        "unet": config.unet_learning_rate,
        "conv": config.conv_learning_rate,
        "text": config.text_learning_rate,
    }
    groups = [Group(part, rate, find(part)) for part, rate in rates.items()]
    return [group for group in groups if group.parameters]
