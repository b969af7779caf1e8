"""The blocks of a UNet that save memory one by one: by checkpointing, by waiting in main memory.

The layers of text encoders can wait, too.
"""

import math
from collections.abc import Iterable, Sequence
from itertools import chain, zip_longest
from typing import Any

import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

from trainer.models.block_offload import OffloadedBlock

_RESNET = "ResnetBlock2D"


class UNetBlocks:
    """The resnet and transformer blocks of a UNet, nearly all of its weights.

    Args:
        unet: A UNet of diffusers.

    Attributes:
        offloaded: Those whose weights wait in main memory.
    """

    def __init__(self, unet: Any) -> None:
        self._unet, self._blocks = unet, list_blocks(unet)
        self.offloaded: list[OffloadedBlock] = []
        self._always_checkpointed: set[nn.Module] = set()
        self._fraction = 0.0

    def offload(self, fraction: float, device: torch.device) -> None:
        """Has the weights of some blocks wait in main memory until they are used.

        Those blocks are spread evenly and checkpointed from here on. Blocks that wait already go
        on waiting.

        Args:
            fraction: How many of the blocks, 0 to 1.
            device: Where they work.
        """
        before = self._always_checkpointed
        added = [each for each in choose_evenly(self._blocks, fraction) if each not in before]
        if added:
            self.offloaded += [OffloadedBlock(block, device) for block in added]
            self._always_checkpointed = before | set(added)
            self.checkpoint(self._fraction)

    def pack(self) -> None:
        """Looks at the layers of offloaded blocks anew, after some of them were replaced."""
        for block in self.offloaded:
            block.pack()

    def checkpoint(self, fraction: float) -> None:
        """Has blocks recomputed in the backward pass.

        Args:
            fraction: How many of the blocks, 0 to 1: those first that save most per computation.
        """
        self._fraction = fraction
        order = rank_for_checkpointing(self._blocks)
        chosen = {*order[: math.ceil(fraction * len(order))], *self._always_checkpointed}

        def run(block: nn.Module, *inputs: Any) -> Any:
            if block in chosen:
                return checkpoint(block, *inputs, use_reentrant=False)
            return block(*inputs)

        self._unet.enable_gradient_checkpointing(run)
        self._unet.train()


def offload_text_layers(
    encoders: Iterable[nn.Module], fraction: float, device: torch.device
) -> dict[nn.Module, list[OffloadedBlock]]:
    """Has the weights of some layers of text encoders wait in main memory until they are used.

    Beside a UNet whose blocks wait, SDXL's two encoders would be the peak of a run.

    Args:
        encoders: CLIP's, of transformers.
        fraction: How many of each one's layers, 0 to 1.
        device: Where they work.

    Returns:
        The layers that wait, by the encoder.
    """
    return {
        encoder: [
            OffloadedBlock(part, device)
            for part in choose_evenly(list_text_parts(encoder), fraction)
        ]
        for encoder in encoders
    }


def list_text_parts(encoder: nn.Module) -> list[nn.Module]:
    """Returns the attention and feed-forward parts of a text encoder's layers.

    Not the layers: transformers checkpoints inside of their `forward`, and calls what is in there
    again.
    """
    layers: Any = next(
        module for name, module in encoder.named_modules() if name.endswith("encoder.layers")
    )
    return [part for layer in layers for part in (layer.self_attn, layer.mlp)]


def list_blocks(unet: Any) -> list[nn.Module]:
    """Returns the blocks that diffusers can checkpoint, in the order in which they run."""
    blocks: list[nn.Module] = []
    for group in (*unet.down_blocks, unet.mid_block, *unet.up_blocks):
        resnets, attentions = list(group.resnets), list(getattr(group, "attentions", None) or ())
        in_middle = group is unet.mid_block
        # Diffusers does not checkpoint the first resnet of the middle, after which attention comes.
        pairs = (
            zip_longest(attentions, resnets[1:]) if in_middle else zip_longest(resnets, attentions)
        )
        for each in chain.from_iterable(pairs):
            if each is not None:
                blocks += getattr(each, "transformer_blocks", [each])
    return blocks


def choose_evenly(blocks: Sequence[nn.Module], fraction: float) -> list[nn.Module]:
    """Returns a fraction of the blocks, spread evenly over the order in which they run."""
    return [
        block
        for number, block in enumerate(blocks)
        if int((number + 1) * fraction + 1e-9) > int(number * fraction + 1e-9)
    ]


def rank_for_checkpointing(blocks: Iterable[nn.Module]) -> list[nn.Module]:
    """Returns the blocks, those first that save most memory per recomputed operation.

    A transformer block keeps some 24 numbers per position and channel and computes 11 products
    each, a resnet keeps 6 and computes 18; per position both grow with the square of the channels.
    """
    return sorted(blocks, key=_rank)


def _rank(block: Any) -> tuple[bool, int]:
    """Returns whether a block is a resnet, and its channels."""
    if type(block).__name__ == _RESNET:
        return True, int(block.out_channels)
    return False, int(block.norm1.weight.numel())
