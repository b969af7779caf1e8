"""Adapters: the algorithms that change a frozen layer, and how they are put on a model.

Each kind says one thing, `delta()`: the exact difference it makes to the layer's weight. Adding a
kind is one file, one row in `ADAPTERS` and one variant in `trainer.config.adapter`.
"""

from collections.abc import Callable

from trainer.adapters.base import Adapter, Layer
from trainer.adapters.inject import AdapterSet, Factors, inject
from trainer.adapters.lora import LoRA
from trainer.adapters.targets import Target, find_targets, name_layer

# Each takes a layer, rank, alpha and dropout.
ADAPTERS: dict[str, Callable[[Layer, int, float, float], Adapter]] = {"lora": LoRA}

__all__ = [
    "ADAPTERS",
    "Adapter",
    "AdapterSet",
    "Factors",
    "LoRA",
    "Target",
    "find_targets",
    "inject",
    "name_layer",
]
