"""One learning rate per part of the model, and what multiplies it."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from torch import nn

from trainer.config import OptimizerConfig

Part = Literal["unet", "conv", "text"]  # as in trainer.adapters.targets
# Part, factor of its learning rate, and whether the weights start at zero.
Key = tuple[Part, float, bool]


@dataclass(frozen=True)
class Group:
    """Weights that share a learning rate."""

    part: str
    learning_rate: float
    parameters: list[nn.Parameter]


def group_parameters(
    config: OptimizerConfig, weights: Mapping[Key, list[nn.Parameter]]
) -> list[Group]:
    """Returns the groups "unet", "conv" and "text", in this order, as far as they have weights.

    Layers with a factor of their own are groups of their own: "unet x0.5". With LoRA+ (Hayou et al.
    2024, arXiv:2402.12354, section 4) the weights that start at zero are, too, "unet B" and so on,
    and their learning rate is `lora_plus_ratio` times larger.

    Args:
        config: Learning rates.
        weights: The trained weights by what decides their learning rate.
    """
    rates: dict[Part, float] = {
        "unet": config.unet_learning_rate,
        "conv": config.conv_learning_rate,
        "text": config.text_learning_rate,
    }
    groups = []
    for part, rate in rates.items():
        for factor in sorted({key[1] for key in weights if key[0] == part}, reverse=True):
            name = part if factor == 1 else f"{part} x{factor:g}"
            random = weights.get((part, factor, False), [])
            zero = weights.get((part, factor, True), [])
            if config.lora_plus_ratio == 1:
                groups.append(Group(name, rate * factor, random + zero))
            else:
                groups.append(Group(name, rate * factor, random))
                groups.append(Group(f"{name} B", rate * factor * config.lora_plus_ratio, zero))
    return [group for group in groups if group.parameters]
