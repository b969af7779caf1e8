"""Optimisers by name, each from a well-kept library."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any

import torch
from torch.optim import AdamW, Optimizer

from trainer.config import OptimizerConfig
from trainer.optim.errors import OptimizerError
from trainer.optim.groups import Group

Groups = list[dict[str, Any]]
FUSED = frozenset({"cpu", "cuda"})  # devices with one kernel for an update of all tensors


def make_adamw(groups: Groups, config: OptimizerConfig) -> Optimizer:
    """Returns AdamW (Loshchilov and Hutter, arXiv:1711.05101) over all tensors at once."""
    fused = all(p.device.type in FUSED for group in groups for p in group["params"])
    return AdamW(groups, lr=0.0, betas=(config.beta1, config.beta2), fused=fused)


def make_adamw8bit(groups: Groups, config: OptimizerConfig) -> Optimizer:
    """Returns AdamW with its state in 8 bits (Dettmers et al., arXiv:2110.02861).

    Raises:
        OptimizerError: bitsandbytes is not installed.
    """
    if find_spec("bitsandbytes") is None:
        msg = (
            "optimizer.kind is adamw8bit, which needs bitsandbytes. Run `pip install "
            '"lorasmith[quantize]"`, or set it to adamw.'
        )
        raise OptimizerError(msg)
    from bitsandbytes.optim import AdamW8bit

    return AdamW8bit(groups, lr=0.0, betas=(config.beta1, config.beta2))


def make_prodigy(groups: Groups, config: OptimizerConfig) -> Optimizer:
    """Returns Prodigy, which estimates the learning rate (Mishchenko et al., arXiv:2306.06101).

    With bias correction, and with its guard for warm-up, as its authors advise for diffusion.
    """
    from prodigyopt import Prodigy

    return Prodigy(
        groups,
        betas=(config.beta1, config.beta2),
        use_bias_correction=True,
        safeguard_warmup=True,
    )


def make_adafactor(groups: Groups, _config: OptimizerConfig) -> Optimizer:
    """Returns Adafactor at given learning rates (Shazeer and Stern, arXiv:1804.04235).

    Without its own step sizes: they scale with a weight's size, and B starts at zero.
    """
    from transformers.optimization import Adafactor

    return Adafactor(
        groups,
        lr=0.0,
        scale_parameter=False,
        relative_step=False,
        warmup_init=False,
    )


def make_lion(groups: Groups, config: OptimizerConfig) -> Optimizer:
    """Returns Lion, which steps by the sign of its momentum (Chen et al., arXiv:2302.06675)."""
    from lion_pytorch import Lion

    # Zero is refused as a learning rate; the real one is set before each step.
    return Lion(groups, lr=1e-8, betas=(config.beta1, config.beta2))


def make_schedule_free(groups: Groups, config: OptimizerConfig) -> Optimizer:
    """Returns schedule-free AdamW (Defazio et al., arXiv:2405.15682)."""
    from schedulefree import AdamWScheduleFree

    return AdamWScheduleFree(groups, lr=0.0, betas=(config.beta1, config.beta2))


@dataclass(frozen=True)
class Row:
    """An optimiser.

    Attributes:
        make: Builds it from groups and config.
        saved_numbers: Numbers that it keeps per group and changes as it goes: a checkpoint holds
            them.
    """

    make: Callable[[Groups, OptimizerConfig], Optimizer]
    saved_numbers: tuple[str, ...] = ()


OPTIMIZERS: dict[str, Row] = {
    "adamw": Row(make_adamw),
    "adamw8bit": Row(make_adamw8bit),
    "prodigy": Row(make_prodigy, ("d", "d0", "d_max", "d_numerator", "d_denom", "d_hat", "k")),
    "adafactor": Row(make_adafactor),
    "lion": Row(make_lion),
    "schedule_free": Row(
        make_schedule_free, ("k", "weight_sum", "lr_max", "scheduled_lr", "train_mode")
    ),
}


def make_optimizer(groups: Sequence[Group], config: OptimizerConfig) -> torch.optim.Optimizer:
    """Returns the optimiser of a config.

    Each group carries its name, its full learning rate and its weight decay.

    Raises:
        OptimizerError: a library that it needs is not installed.
    """
    rows = [
        {
            "params": group.parameters,
            "lr": group.learning_rate,
            "part": group.part,
            "full_lr": group.learning_rate,
            "weight_decay": config.weight_decay if group.decays else 0.0,
        }
        for group in groups
    ]
    return OPTIMIZERS[config.kind].make(rows, config)
