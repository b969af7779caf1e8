"""How weights are changed: optimisers, groups with their learning rates, running averages."""

from trainer.optim.ema import Average
from trainer.optim.errors import OptimizerError
from trainer.optim.groups import Group, group_parameters
from trainer.optim.memory import pack_optimizer, restore_optimizer
from trainer.optim.optimizers import OPTIMIZERS, make_optimizer

__all__ = [
    "OPTIMIZERS",
    "Average",
    "Group",
    "OptimizerError",
    "group_parameters",
    "make_optimizer",
    "pack_optimizer",
    "restore_optimizer",
]
