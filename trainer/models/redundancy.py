"""Operations of diffusers' UNet that change nothing, or that are done again and again."""

import functools
import weakref
from typing import Any

import torch
from torch import Tensor, nn

_FACTORS = ("output_scale_factor", "rescale_output_factor")  # of resnets, of attention


class _One:
    """A divisor of 1 that costs no pass over the tensor, and none in the backward pass."""

    def __rtruediv__(self, dividend: Tensor) -> Tensor:
        return dividend


def remove_redundancy(unet: Any) -> None:
    """Leaves out divisions by 1, and computes the activation of the time embedding once.

    The UNet's outputs stay the same to the last bit, and its names and weights as they are.

    Args:
        unet: A UNet of diffusers.
    """
    for module in unet.modules():
        for name in _FACTORS:
            factor = getattr(module, name, None)
            if isinstance(factor, int | float) and factor == 1:
                setattr(module, name, _One())
    resnets = [each for each in unet.modules() if type(each).__name__ == "ResnetBlock2D"]
    alike = all(isinstance(each.nonlinearity, nn.SiLU) for each in resnets)
    if unet.time_embed_act is None and alike and not any(each.skip_time_act for each in resnets):
        # Both are options of diffusers: activate the embedding once, or in each resnet.
        unet.time_embed_act = nn.SiLU()
        for resnet in resnets:
            resnet.skip_time_act = True


def use_channels_last(unet: Any) -> None:
    """Has a UNet compute with the channels of a position side by side in memory.

    That is what a CPU's convolutions compute in, with the weights copied into it at each call where
    they are not there yet, and what attention needs: a transformer block takes and returns it as it
    is, where diffusers copies to the other order and back.

    Args:
        unet: A UNet of diffusers.
    """
    for weight in unet.parameters():
        if weight.ndim == 4:
            weight.data = weight.data.contiguous(memory_format=torch.channels_last)
    for module in unet.modules():
        if type(module).__name__ == "Transformer2DModel":
            # By a weak reference, because the module owns the function.
            finish = functools.partial(_finish, weakref.ref(module))
            module._get_output_for_continuous_inputs = finish


def _finish(module: Any, hidden_states: Tensor, residual: Tensor, **sizes: int) -> Tensor:
    """Returns what diffusers' method does, [B, C, h, w], without its copy.

    Args:
        module: A weak reference to the transformer.
        hidden_states: Of its last block, [B, h · w, C].
        residual: What the transformer was given, [B, C, h, w].
        sizes: batch_size, height, width and inner_dim.
    """
    transformer, hidden = module(), hidden_states
    if transformer.use_linear_projection:
        hidden = transformer.proj_out(hidden)
    rows = (sizes["batch_size"], sizes["height"], sizes["width"], sizes["inner_dim"])
    hidden = hidden.reshape(rows).permute(0, 3, 1, 2)
    if not transformer.use_linear_projection:
        hidden = transformer.proj_out(hidden)
    return hidden + residual
