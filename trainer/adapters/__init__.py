"""Adapters: the algorithms that change a frozen layer, and how they are put on a model.

Each kind has one method, `delta()`: its exact difference to the layer's weight. Adding a
kind is one file, one row in `ADAPTERS` and one variant in `trainer.config.adapter`.
"""

from collections.abc import Callable

from trainer.adapters.adalora import AdaLoRA
from trainer.adapters.allocation import BudgetPlan, RankAllocator
from trainer.adapters.base import Adapter
from trainer.adapters.dora import DoRA, make_dora
from trainer.adapters.full import FullDifference
from trainer.adapters.inject import AdapterSet, Factors, inject
from trainer.adapters.loha import LoHa
from trainer.adapters.lokr import LoKr
from trainer.adapters.lora import LoRA
from trainer.adapters.low_rank import LowRank
from trainer.adapters.restore import restore_adapter
from trainer.adapters.rules import MaxNorm, Rule
from trainer.adapters.targets import Target
from trainer.adapters.vera import VeRA

# Each takes a layer, rank, alpha and dropout; some take more by name.
ADAPTERS: dict[str, Callable[..., Adapter]] = {
    "lora": LoRA,
    "dora": make_dora,
    "loha": LoHa,
    "lokr": LoKr,
    "vera": VeRA,
    "adalora": AdaLoRA,
}

__all__ = [
    "ADAPTERS",
    "AdaLoRA",
    "Adapter",
    "AdapterSet",
    "BudgetPlan",
    "DoRA",
    "Factors",
    "FullDifference",
    "LoHa",
    "LoKr",
    "LoRA",
    "LowRank",
    "MaxNorm",
    "RankAllocator",
    "Rule",
    "Target",
    "VeRA",
    "inject",
    "restore_adapter",
]
