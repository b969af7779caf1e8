"""One learning rate per part of the model, what multiplies it, and what decays."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from torch import nn

from trainer.config import OptimizerConfig, Part

# Weights that start at random, that start at zero, and that must not decay.
Role = Literal["random", "zero", "steady"]
Key = tuple[Part, float, Role]  # with the factor of the learning rate


@dataclass(frozen=True)
class Group:
    """Weights that share a learning rate, and decay or not."""

    part: str
    learning_rate: float
    parameters: list[nn.Parameter]
    decays: bool = True


def group_parameters(
    config: OptimizerConfig, weights: Mapping[Key, list[nn.Parameter]]
) -> list[Group]:
    """Returns the groups "unet", "conv", "text" and "word", as far as they have weights.

    Layers with a factor of their own are groups of their own: "unet x0.5". With LoRA+ (Hayou et al.
    2024, arXiv:2402.12354, section 4) the weights that start at zero are, too, "unet B" and so on,
    and their learning rate is `lora_plus_ratio` times larger. Weights that must not decay are a
    group of their own, with the name and the learning rate of their part.

    Args:
        config: Learning rates.
        weights: The trained weights by what decides their learning rate and their decay.
    """
    groups = []
    for part, rate in config.learning_rates.items():
        for factor in sorted({key[1] for key in weights if key[0] == part}, reverse=True):
            name = part if factor == 1 else f"{part} x{factor:g}"
            random = weights.get((part, factor, "random"), [])
            zero = weights.get((part, factor, "zero"), [])
            steady = weights.get((part, factor, "steady"), [])
            if config.lora_plus_ratio == 1:
                groups.append(Group(name, rate * factor, random + zero))
            else:
                groups.append(Group(name, rate * factor, random))
                groups.append(Group(f"{name} B", rate * factor * config.lora_plus_ratio, zero))
            groups.append(Group(name, rate * factor, steady, decays=False))
    return [group for group in groups if group.parameters]
