"""Which layers of a base model get an adapter of which size: a config against the real layers."""

import math
from collections.abc import Iterable
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase

from trainer.adapters import ADAPTERS, Adapter, Target
from trainer.adapters.base import shape_of
from trainer.config import AdapterConfig, BlockConfig
from trainer.config.layers import find_block, is_chosen, size_of
from trainer.formats.families import FAMILIES
from trainer.models import Family
from trainer.runs import RunError


@dataclass(frozen=True)
class PlannedLayer:
    """A layer with the size of its adapter.

    Attributes:
        target: The layer, with its learning rate's factor.
        rank: Not 0.
        alpha: So that the change is multiplied by alpha / rank, whatever the config's scaling.
    """

    target: Target
    rank: int
    alpha: float


def list_targets(family: Family) -> list[Target]:
    """Returns the layers of a base model that adapters are trained on."""
    return [Target(each.name, each.layer, each.part) for each in family.adaptable_layers()]


def list_file_targets(family: Family) -> list[Target]:
    """Returns all layers of a base model that a file may change, those that are trained first."""
    return [Target(each.name, each.layer, each.part) for each in family.all_layers()]


def plan_layers(
    targets: Iterable[Target], family: Family, config: AdapterConfig
) -> list[PlannedLayer]:
    """Returns what the config asks for.

    Raises:
        RunError: the family lacks the blocks that it names, a pattern fits no layer, or a rank is
            larger than the smallest layer that it is meant for.
    """
    chosen = choose_layers(targets, family, config)
    planned = []
    for target, block in zip(chosen, match_blocks(chosen, config), strict=True):
        rank, alpha = size_of(target, config, block)
        if rank:
            if config.scaling == "alpha/sqrt(rank)":
                alpha *= math.sqrt(rank)
            planned.append(PlannedLayer(target, rank, alpha))
    _check_ranks(planned, config)
    return planned


def choose_layers(targets: Iterable[Target], family: Family, config: AdapterConfig) -> list[Target]:
    """Returns the layers that `adapter.layers` names, with the factors of their learning rates.

    Raises:
        RunError: the family has no such blocks, or a pattern of `adapter.blocks` fits no layer.
    """
    chosen = [target for target in targets if is_chosen(target, family.spec, config)]
    if not chosen:
        known = " and ".join(each.title for each in FAMILIES.values() if each.named_blocks)
        msg = (
            f"adapter.layers is {config.layers}, and this base model, of the family {family.name}, "
            f"has no such block: only {known}'s are known to carry style or content. Set it to all "
            "or attention."
        )
        raise RunError(msg)
    rates = [block.rate if block else 1.0 for block in match_blocks(chosen, config)]
    return [replace(target, rate=rate) for target, rate in zip(chosen, rates, strict=True)]


def match_blocks(targets: Iterable[Target], config: AdapterConfig) -> list[BlockConfig | None]:
    """Returns per layer the first entry of `adapter.blocks` that fits it.

    Raises:
        RunError: an entry fits none of the layers.
    """
    targets = list(targets)
    for block in config.blocks:
        if not any(fnmatchcase(target.name, block.pattern) for target in targets):
            msg = (
                f"adapter.blocks: the pattern {block.pattern} fits no layer that adapter.layers = "
                f"{config.layers} trains. Their names look like {targets[0].name}; * stands for "
                "anything."
            )
            raise RunError(msg)
    return [find_block(target.name, config.blocks) for target in targets]


def _check_ranks(planned: list[PlannedLayer], config: AdapterConfig) -> None:
    """Refuses ranks that are larger than a layer, which would cost memory and learn no more."""
    make = ADAPTERS[config.kind]
    kind = make if isinstance(make, type) and issubclass(make, Adapter) else Adapter
    too_large = []
    for layer in planned:
        shape = shape_of(layer.target.layer)
        most = kind.largest_rank(shape)
        if most and layer.rank > most:
            too_large.append((most, layer, shape))
    if too_large:
        most, layer, shape = min(too_large, key=lambda each: each[0])
        msg = (
            f"The rank {layer.rank} is larger than {layer.target.name}, a layer of "
            f"{' x '.join(map(str, shape))}, and than {len(too_large) - 1} more: at most {most} is "
            "useful there. Lower the rank, or give such layers a smaller one with adapter.blocks."
        )
        raise RunError(msg)
