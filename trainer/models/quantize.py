"""A UNet's weights in 4 or 8 bits, so that a large UNet fits a small card."""

from importlib.util import find_spec
from typing import Any

import torch
from torch import nn

from trainer.models.eight_bits import EIGHT_BIT_FORMATS, store_in_eight_bits
from trainer.models.errors import ModelError
from trainer.models.layers import replace_layers

_BLOCK = "Transformer2DModel"


def quantize_unet(unet: Any, kind: str, dtype: torch.dtype, device: torch.device) -> None:
    """Stores a UNet's weights as `base_model.quantize` wants them.

    Args:
        unet: A UNet in main memory; its layers are replaced.
        kind: "none", "nf4", "fp8" or "int8".
        dtype: Number format of the arithmetic.
        device: Where the UNet will work.

    Raises:
        ModelError: an extra is not installed.
    """
    if kind == "nf4":
        quantize_linears(unet, dtype)
        # Moving packs the layers. An adapter that measures a weight must see it packed.
        unet.to(device)
    elif kind != "none":
        store_in_eight_bits(unet, EIGHT_BIT_FORMATS[kind])


def quantize_linears(unet: Any, dtype: torch.dtype) -> None:
    """Replaces the linear layers of the transformer blocks by NF4 ones.

    The weights are held as 4-bit NormalFloat with doubly quantised constants (QLoRA, Dettmers et
    al. 2023, arXiv:2305.14314, section 3) and expanded to `dtype` for each product. They are packed
    when the UNet moves to its device. Convolutions and small layers stay as they are.

    Raises:
        ModelError: bitsandbytes is not installed.
    """
    if find_spec("bitsandbytes") is None:
        msg = (
            "base_model.quantize is nf4, which needs bitsandbytes. Run `pip install "
            '"lorasmith[quantize]"`, or set it to none.'
        )
        raise ModelError(msg)
    blocks = [module for module in unet.modules() if type(module).__name__ == _BLOCK]
    replace_layers(blocks, {nn.Linear: lambda layer: _pack(layer, dtype)})


def _pack(layer: nn.Linear, dtype: torch.dtype) -> nn.Module:
    import bitsandbytes

    packed = bitsandbytes.nn.Linear4bit(
        layer.in_features,
        layer.out_features,
        bias=layer.bias is not None,
        compute_dtype=dtype,
        compress_statistics=True,
        quant_type="nf4",
        device="meta",
    )
    packed.weight = bitsandbytes.nn.Params4bit(
        layer.weight.data, requires_grad=False, compress_statistics=True, quant_type="nf4"
    )
    packed.bias = layer.bias
    return packed
