"""Images that the captioner learns from: the drawings, so changed that the object is what stays.

It shall name objects in drawing styles that it has never seen, so every image gets another size,
place, turn and colouring; many get outlines, or lose their colour.
"""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from datasets_tools.captioners.starter_network import SIZE
from recipe.composing import Sprites, ink_edges, make_palette

_CANVAS = 2 * SIZE  # drawn at twice the size, so that lines and edges come out smooth
_FILLED = (0.6, 1.08)  # share of the image's edge that the drawing's takes
_TURN, _STRETCH, _WARP = 0.3, 0.15, 0.04  # radians; share; of half an edge
_GRAY, _INKED, _PALE, _BLURRED, _HIDDEN = 0.1, 0.4, 0.15, 0.3, 0.2  # shares of the images
_TINT, _GAIN = 0.08, 0.2
_WHITE, _NAMED = 0.5, 0.35  # shares of backgrounds; the rest have any colour
_LUMINANCE = (0.299, 0.587, 0.114)


@dataclass(frozen=True)
class _Chance:
    """Random numbers for one batch, from one generator on the processor."""

    count: int
    generator: torch.Generator
    device: torch.device

    def between(self, low: float, high: float, *shape: int) -> Tensor:
        """Returns uniform numbers, [count, *shape]."""
        sample = torch.rand(self.count, *shape, generator=self.generator)
        return (low + (high - low) * sample).to(self.device)

    def whether(self, share: float) -> Tensor:
        """Returns 1 for about this share of the batch and 0 for the rest, [count, 1, 1, 1]."""
        return (self.between(0, 1, 1, 1, 1) < share).float()


def disturb_drawings(sprites: Sprites, rows: Tensor, seed: int) -> Tensor:
    """Returns images of drawings in -1 .. 1, [B, 3, SIZE, SIZE].

    Args:
        sprites: All drawings.
        rows: Which of them, [B].
        seed: Of everything random here.
    """
    chance = _Chance(len(rows), torch.Generator().manual_seed(seed), sprites.device)
    drawings = sprites.by_layout["normal"][rows].float() / 255  # colours times opacity, [B, 4, …]
    placed = _place(drawings, chance)
    opacity = placed[:, 3:]
    coloured = _recolour(placed[:, :3], opacity, chance)
    grounds = _choose_grounds(chance)
    images = (coloured + grounds * (1 - opacity)) * 2 - 1
    # Not all of a batch is worked on and most of that thrown away: this is the slowest part.
    inked = chance.whether(_INKED).flatten().nonzero().flatten()
    darkness, threshold = chance.between(0, 0.3)[inked], float(chance.between(0.2, 0.7)[0])
    images[inked] = ink_edges(images[inked], darkness, threshold)
    images = functional.avg_pool2d(images, 2)
    soft = functional.avg_pool2d(images, 3, stride=1, padding=1, count_include_pad=False)
    images = images.lerp(soft, chance.whether(_BLURRED) * chance.between(0, 1, 1, 1, 1))
    return _hide(images, chance).clamp(-1, 1)


def _place(drawings: Tensor, chance: _Chance) -> Tensor:
    """Renders at another size, position and angle, mirrored or not, and slightly warped."""
    filled = chance.between(*_FILLED)
    stretch = 1 + chance.between(-_STRETCH, _STRETCH)
    mirror = torch.where(chance.between(0, 1) < 0.5, -1.0, 1.0)
    turn = chance.between(-_TURN, _TURN)
    margin = (1 - filled).clamp(min=0) + 0.06
    place = chance.between(-1, 1, 2, 1) * margin.view(-1, 1, 1)
    cos, sin = turn.cos() / filled, turn.sin() / filled
    # From a position in the image to the position in the drawing that is visible there.
    back = torch.stack((cos * stretch, -sin, sin, cos / stretch), dim=1).view(-1, 2, 2)
    back = back * torch.stack((mirror, torch.ones_like(mirror)), dim=1).unsqueeze(2)
    matrix = torch.cat((back, -back @ place), dim=2)
    shape = [len(drawings), 4, _CANVAS, _CANVAS]
    places = functional.affine_grid(matrix, shape, align_corners=False)
    coarse = chance.between(-1, 1, 2, 5, 5) * chance.between(0, 2 * _WARP, 1, 1, 1)
    moved = functional.interpolate(coarse, size=(_CANVAS, _CANVAS), mode="bicubic")
    return functional.grid_sample(drawings, places + moved.permute(0, 2, 3, 1), align_corners=False)


def _recolour(colours: Tensor, opacity: Tensor, chance: _Chance) -> Tensor:
    """Other tints and strengths of colour; some gray, some pale; all are times the opacity."""
    weights = torch.tensor(_LUMINANCE, device=colours.device).view(1, 3, 1, 1)
    light = (colours * weights).sum(dim=1, keepdim=True)
    strength = chance.between(0.5, 1.4, 1, 1, 1) * (1 - chance.whether(_GRAY))
    colours = light + (colours - light) * strength
    colours = colours * chance.between(1 - _GAIN, 1 + _GAIN, 3, 1, 1)
    colours = colours + opacity * chance.between(-_TINT, _TINT, 3, 1, 1)
    # As sets do that draw outlines and leave the inside white; what is dark stays.
    pale = chance.whether(_PALE) * chance.between(0.3, 0.9, 1, 1, 1) * (light > 0.35 * opacity)
    colours = colours.lerp(opacity, pale)
    return colours.clamp(min=0).minimum(opacity)


def _choose_grounds(chance: _Chance) -> Tensor:
    palette = make_palette(chance.device)
    chosen = chance.between(0, len(palette) - 1e-3).long()
    named = (palette[chosen] + chance.between(-0.08, 0.08, 3)).clamp(0, 1)
    kind = chance.between(0, 1).unsqueeze(1)
    other = torch.where(kind < _WHITE + _NAMED, named, chance.between(0, 1, 3))
    return torch.where(kind < _WHITE, torch.ones_like(other), other).view(-1, 3, 1, 1)


def _hide(images: Tensor, chance: _Chance) -> Tensor:
    """Covers a square of some, so that no one mark decides (cutout, arXiv:1708.04552)."""
    across = torch.arange(SIZE, device=images.device)
    middle = chance.between(0, SIZE, 2, 1)
    inside = (across - middle).abs() < chance.between(4, 11, 1, 1)
    square = (inside[:, 0, :, None] & inside[:, 1, None, :]).unsqueeze(1)
    cover = chance.between(-1, 1, 3, 1, 1)
    return torch.where(square & (chance.whether(_HIDDEN) > 0), cover, images)
