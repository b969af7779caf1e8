"""Tucker factors multiplied out, so that every kind has one form only.

LyCORIS can write a k x k convolution's change as a 1 x 1 way in, a small k x k core and a 1 x 1
way out. Core times way in is an ordinary k x k factor of the same rank, so nothing is lost.
"""

from collections.abc import Mapping

import torch
from torch import Tensor

# Per core: the factor that takes the core in, and the one that is written turned over.
_CORES = {
    "hada_t1": ("hada_w1_b", "hada_w1_a"),
    "hada_t2": ("hada_w2_b", "hada_w2_a"),
    "lokr_t2": ("lokr_w2_b", "lokr_w2_a"),
}


def fold_tucker(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Returns a layer's tensors without cores.

    Raises:
        ValueError: a core does not fit its factors.
    """
    folded = dict(tensors)
    if "lora_mid.weight" in folded:
        core = folded.pop("lora_mid.weight")
        folded["lora_down.weight"] = _absorb(core, folded["lora_down.weight"].flatten(1))
    for name, (inner, turned) in _CORES.items():
        core_or_none = folded.pop(name, None)
        if core_or_none is not None:
            folded[inner] = _absorb(core_or_none, folded[inner]).flatten(1)
            folded[turned] = folded[turned].T.contiguous()
    return folded


def _absorb(core: Tensor, factor: Tensor) -> Tensor:
    """Returns [rank, in, k, k] from a core [rank, rank, k, k] and a factor [rank, in]."""
    if core.ndim != 4 or factor.ndim != 2 or core.shape[1] != factor.shape[0]:
        msg = f"its core of {tuple(core.shape)} does not fit its factor of {tuple(factor.shape)}"
        raise ValueError(msg)
    return torch.einsum("pnkl,ni->pikl", core, factor)
