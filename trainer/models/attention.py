"""How attention is computed: a row per backend."""

from collections.abc import Callable
from importlib.util import find_spec
from typing import Any

import torch

from trainer.models.errors import ModelError


def use_sdpa(unet: Any, device: torch.device) -> None:
    """PyTorch's own fused attention: the default of diffusers."""
    del unet, device


def use_xformers(unet: Any, device: torch.device) -> None:
    """The memory-efficient attention of xformers.

    Raises:
        ModelError: xformers is not installed, or the device is no CUDA GPU.
    """
    if find_spec("xformers") is None:
        msg = (
            "base_model.attention is xformers, which is not installed. Run `pip install "
            '"lorasmith[xformers]"` (it must match the PyTorch version), or set it to sdpa.'
        )
        raise ModelError(msg)
    if device.type != "cuda":
        msg = (
            f"xformers needs a CUDA GPU, and this run is on {device.type}. Set "
            "base_model.attention to sdpa."
        )
        raise ModelError(msg)
    try:
        unet.enable_xformers_memory_efficient_attention()
    except Exception as error:
        msg = (
            f"xformers does not work: {error}. It must be built for PyTorch "
            f"{torch.__version__}; set base_model.attention to sdpa, which is about as fast."
        )
        raise ModelError(msg) from error


ATTENTION: dict[str, Callable[[Any, torch.device], None]] = {
    "sdpa": use_sdpa,
    "xformers": use_xformers,
}
