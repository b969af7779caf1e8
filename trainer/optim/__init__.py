"""How weights are changed: optimisers, learning-rate schedules, running averages."""

from trainer.optim.ema import Average
from trainer.optim.groups import Group, group_parameters
from trainer.optim.optimizers import OPTIMIZERS, make_optimizer
from trainer.optim.schedules import SCHEDULES, schedule_factor

__all__ = [
    "OPTIMIZERS",
    "SCHEDULES",
    "Average",
    "Group",
    "group_parameters",
    "make_optimizer",
    "schedule_factor",
]
