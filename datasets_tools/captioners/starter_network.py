"""The network behind the starter captioner: a small residual network over 64 × 64 pixels."""

from collections import OrderedDict
from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional

SIZE = 64  # pixels, edge of what the network looks at
_GROUPS = 8


class _Block(nn.Module):
    """Two convolutions beside a shortcut (He et al. 2016, arXiv:1603.05027, figure 4e)."""

    def __init__(self, before: int, after: int) -> None:
        super().__init__()
        self.norm_1, self.norm_2 = nn.GroupNorm(_GROUPS, before), nn.GroupNorm(_GROUPS, after)
        self.first = nn.Conv2d(before, after, 3, padding=1)
        self.second = nn.Conv2d(after, after, 3, padding=1)
        self.shortcut = nn.Conv2d(before, after, 1)

    def forward(self, images: Tensor) -> Tensor:
        """Returns the block's output at the size of its input, [B, after, h, w]."""
        inner = self.first(functional.silu(self.norm_1(images)))
        inner = self.second(functional.silu(self.norm_2(inner)))
        return inner + self.shortcut(images)


def build_network(widths: Sequence[int], labels: int, dropout: float = 0.0) -> nn.Module:
    """Returns an untrained network from images in -1 .. 1, [B, 3, SIZE, SIZE], to logits.

    Args:
        widths: Channels per resolution, each half of the one before; the first is at SIZE / 2.
        labels: Number of classes, [B, labels].
        dropout: Before the last layer, while it is trained.
    """
    layers: OrderedDict[str, nn.Module] = OrderedDict()
    layers["conv_in"] = nn.Conv2d(3, widths[0], 5, stride=2, padding=2)
    layers["block_0"] = _Block(widths[0], widths[0])
    for level, (before, after) in enumerate(pairwise(widths), 1):
        layers[f"pool_{level}"] = nn.AvgPool2d(2)
        layers[f"block_{level}"] = _Block(before, after)
    layers["norm"], layers["act"] = nn.GroupNorm(_GROUPS, widths[-1]), nn.SiLU()
    layers["mean"] = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Dropout(dropout))
    layers["conv_out"] = nn.Linear(widths[-1], labels)
    return nn.Sequential(layers)


@torch.no_grad()
def recognise(network: nn.Module, images: Tensor) -> Tensor:
    """Returns the probability of each label, [B, labels], averaged over an image and its mirror.

    Args:
        network: As `build_network` makes it, trained.
        images: In -1 .. 1, [B, 3, SIZE, SIZE].
    """
    views = (images, images.flip(3))
    return torch.stack([network(view).softmax(dim=1) for view in views]).mean(dim=0)
