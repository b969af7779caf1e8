"""A full difference: as many numbers as the layer has, and its bias."""

from collections.abc import Mapping
from typing import ClassVar

import torch
from torch import Tensor, nn

from trainer.adapters.base import Adapter, Layer, fill


class FullDifference(Adapter):
    """The difference to a whole weight, and to the bias where a file changes that too.

    Files of full fine-tunings hold it (`diff`, `diff_b`). It is no row of `ADAPTERS`: training it
    costs as much as training the layer.
    """

    kind: ClassVar[str] = "full"

    def __init__(self, layer: Layer, *, with_bias: bool = False) -> None:
        super().__init__(layer)
        self.weight = nn.Parameter(torch.zeros(self.shape))
        self.bias = nn.Parameter(torch.zeros(self.shape[0])) if with_bias else None

    @classmethod
    def from_tensors(
        cls, layer: Layer, tensors: Mapping[str, Tensor], _alpha: float
    ) -> "FullDifference":
        """Returns the adapter that a file describes; a full difference has no alpha.

        Raises:
            ValueError: the tensors do not fit the layer.
        """
        bias = tensors.get("diff_b")
        adapter = cls(layer, with_bias=bias is not None)
        values = {"weight": tensors["diff"]}
        fill(adapter, values if bias is None else {**values, "bias": bias})
        return adapter

    def delta(self) -> Tensor:
        """Returns the difference of the weight; that of the bias comes on top."""
        return self.weight

    def tensors(self) -> dict[str, Tensor]:
        """Returns diff and, where the bias changes, diff_b."""
        parts: dict[str, Tensor] = {"diff": self.weight}
        return parts if self.bias is None else {**parts, "diff_b": self.bias}

    def forward(self, x: Tensor) -> Tensor:
        """Returns the change of the output."""
        change = super().forward(x)
        if self.bias is None:
            return change
        return change + (self.bias if self.conv is None else self.bias[:, None, None])
