"""VeRA: one pair of random matrices for the whole model, and two trained scales per layer."""

import math
from collections.abc import Sequence
from typing import ClassVar

import torch
from torch import Tensor, nn

from trainer.adapters.base import Adapter, Layer
from trainer.adapters.low_rank import LowRank

_START = 0.1  # of the middle's scales, the paper's value


class Projections:
    """The frozen pair, made once and cut to size by every layer.

    It is no part of any adapter's state: the same seed creates it again.

    Args:
        rank: The largest that a layer uses.
        inputs: Of the largest layer: in or, on a convolution, in * k * k.
        outputs: Of the largest layer.
        seed: Of both matrices.
    """

    def __init__(self, rank: int, inputs: int, outputs: int, seed: int) -> None:
        self._sizes, self._seed = (rank, inputs, outputs), seed
        self._made: dict[tuple[torch.device, torch.dtype], tuple[Tensor, Tensor]] = {}

    @torch.no_grad()
    def on(self, like: Tensor) -> tuple[Tensor, Tensor]:
        """Returns [rank, inputs] and [outputs, rank], uniform in ±1, where a tensor is."""
        place = (like.device, like.dtype)
        if place not in self._made:
            rank, inputs, outputs = self._sizes
            generator = torch.Generator().manual_seed(self._seed)
            sample = [
                torch.rand(shape, generator=generator) * 2 - 1
                for shape in ((rank, inputs), (outputs, rank))
            ]
            self._made = {place: (sample[0].to(*place), sample[1].to(*place))}
        return self._made[place]


class VeRA(LowRank):
    """Vector-based random matrix adaptation (Kopiczko et al. 2023, arXiv:2310.11454, section 3).

    delta = diag(b) B diag(d) A with A and B frozen, random and shared by all layers; d starts at
    0.1 and b at zero. A layer takes the first rows and columns that it needs and scales them by its
    own size by Kaiming's rule, so that small layers beside large ones keep their weight. On a
    convolution A's rows are k x k kernels, which the paper has none of.

    Args:
        layer: The layer to adapt; only its geometry is read.
        rank: Rows of A; no limit, because none of them is trained.
        _alpha: Not used: b is the strength.
        dropout: Share of the input that is zeroed while training.

    Raises:
        ValueError: the layer is a grouped convolution.
    """

    kind: ClassVar[str] = "vera"
    starts_at_zero = ("b",)

    def __init__(self, layer: Layer, rank: int, _alpha: float, dropout: float = 0.0) -> None:
        super().__init__(layer, dropout)
        self.rank = rank
        self.inputs, self.outputs = math.prod(self.shape[1:]), self.shape[0]
        self.d = nn.Parameter(torch.full((rank,), _START))
        self.b = nn.Parameter(torch.zeros(self.outputs))
        self.projections = Projections(rank, self.inputs, self.outputs, seed=0)

    @classmethod
    def largest_rank(cls, shape: tuple[int, ...]) -> int:
        """Returns 0: random rows may be as many as one likes."""
        del shape
        return 0

    @classmethod
    def unite(cls, adapters: Sequence[Adapter], generator: torch.Generator) -> None:
        """Gives all adapters one pair of matrices, large enough for the largest."""
        own = [adapter for adapter in adapters if isinstance(adapter, cls)]
        shared = Projections(
            max(adapter.rank for adapter in own),
            max(adapter.inputs for adapter in own),
            max(adapter.outputs for adapter in own),
            int(torch.randint(2**62, (), generator=generator)),
        )
        for adapter in own:
            adapter.projections = shared

    def reset(self, generator: torch.Generator) -> None:
        """Sets d to 0.1 and b to zero; the random matrices are shared by all layers."""
        del generator
        nn.init.constant_(self.d, _START)
        nn.init.zeros_(self.b)

    def factors(self) -> tuple[Tensor, Tensor, float]:
        """Returns the plain LoRA that it is: diag(d) A, diag(b) B and 1."""
        first, second = self._cut()
        down = first.flatten(1) * (self.d * self._first_scale)[:, None]
        up = second.flatten(1) * (self.b * self._second_scale)[:, None]
        return down.view(first.shape), up.view(second.shape), 1.0

    def forward(self, x: Tensor) -> Tensor:
        """Returns the change of the output; the frozen matrices are not copied."""
        x = self.prepare_input(x)
        first, second = self._cut()
        hidden = self.to_middle(x, first) * self.spread(self.d * self._first_scale)
        return self.from_middle(hidden, second) * self.spread(self.b * self._second_scale)

    @property
    def _first_scale(self) -> float:
        return math.sqrt(6 / self.inputs)

    @property
    def _second_scale(self) -> float:
        return math.sqrt(6 / self.rank)

    def _cut(self) -> tuple[Tensor, Tensor]:
        """Returns this layer's part of the pair, as views, [rank, in(, k, k)] and [out, rank]."""
        first, second = self.projections.on(self.d)
        first = first[: self.rank, : self.inputs].unflatten(1, self.shape[1:])
        second = second[: self.outputs, : self.rank]
        return first, second if self.conv is None else second[:, :, None, None]
