"""Which layers get an adapter of which size, by their names and kinds alone."""

from collections.abc import Iterable
from fnmatch import fnmatchcase
from typing import Protocol

from trainer.config.adapter import AdapterConfig, BlockConfig
from trainer.config.optimizer import Part
from trainer.formats.families import FamilySpec

_ATTENTION = (".attn1.", ".attn2.", ".self_attn.")


class SizedLayer(Protocol):
    """A layer of a base model, of which no weight is needed."""

    @property
    def name(self) -> str:
        """Full name with the model in front."""
        ...

    @property
    def part(self) -> Part:
        """Whose rank and learning rate it has."""
        ...

    @property
    def wide(self) -> bool:
        """Whether its kernel is larger than 1 x 1."""
        ...


def is_chosen(layer: SizedLayer, spec: FamilySpec, config: AdapterConfig) -> bool:
    """Returns whether `adapter.layers` names a layer."""
    if config.layers == "all":
        return True
    if config.layers == "attention":
        return any(mark in layer.name for mark in _ATTENTION)
    block = spec.named_blocks.get(config.layers)
    return block is not None and layer.name.startswith(f"{block}.")


def find_block(name: str, blocks: Iterable[BlockConfig]) -> BlockConfig | None:
    """Returns the first entry of `adapter.blocks` that fits a layer; None where none does."""
    return next((block for block in blocks if fnmatchcase(name, block.pattern)), None)


def size_of(
    layer: SizedLayer, config: AdapterConfig, block: BlockConfig | None
) -> tuple[int, float]:
    """Returns rank and alpha of a layer's adapter; a rank of 0 leaves the layer out.

    Args:
        layer: One that `adapter.layers` names.
        config: The sizes.
        block: What `adapter.blocks` has for it.
    """
    rank, alpha = _usual_size(layer, config)
    if block is None:
        return rank, alpha
    strength = alpha / rank if rank else config.alpha / config.rank
    if block.rank >= 0:
        rank = block.rank
    return rank, block.alpha or strength * rank


def _usual_size(layer: SizedLayer, config: AdapterConfig) -> tuple[int, float]:
    if layer.part == "text":
        return config.text_rank, config.text_alpha
    if layer.part == "conv" and config.conv_rank == 0:
        return 0, 1.0
    if layer.wide:
        return config.conv_rank, config.conv_alpha
    return config.rank, config.alpha
