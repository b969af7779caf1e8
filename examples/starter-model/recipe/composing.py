"""From drawings to images, in batches on the device: backgrounds, sizes, two side by side."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from recipe.colours import COLOURS
from recipe.render import DRAWING_SIZE, SIZE, Pixels

# Edge of a drawing in pixels, by layout of `examples.LAYOUTS`. A large one runs out of the image
# by a few pixels; two beside each other leave two pixels between them.
EDGES: dict[str, int] = {"normal": DRAWING_SIZE, "large": 140, "small": 58, "pair": 62}
_GAP = SIZE - 2 * EDGES["pair"]


@dataclass(frozen=True)
class Sprites:
    """All drawings at every edge length, on the device.

    Attributes:
        by_layout: Red, green, blue, each multiplied by the opacity, and the opacity: uint8,
            [N, 4, edge, edge].
    """

    by_layout: dict[str, Tensor]

    @property
    def device(self) -> torch.device:
        """Where the drawings are."""
        return self.by_layout["normal"].device

    def __len__(self) -> int:
        return len(self.by_layout["normal"])


def make_sprites(drawings: Pixels, device: torch.device, chunk: int = 256) -> Sprites:
    """Returns the drawings, resized for every layout.

    Args:
        drawings: [N, DRAWING_SIZE, DRAWING_SIZE, 4].
        device: Where they go.
        chunk: How many are resized at once.
    """
    sized: dict[str, list[Tensor]] = {layout: [] for layout in EDGES}
    for start in range(0, len(drawings), chunk):
        part = torch.tensor(drawings[start : start + chunk], device=device)
        straight = part.permute(0, 3, 1, 2).float() / 255
        opacity = straight[:, 3:]
        # Multiplied first: the colour of what cannot be seen must not bleed into the edges.
        multiplied = torch.cat((straight[:, :3] * opacity, opacity), dim=1)
        for layout, edge in EDGES.items():
            sized[layout].append(_resize(multiplied, edge))
    return Sprites({layout: torch.cat(parts) for layout, parts in sized.items()})


def make_palette(device: torch.device) -> Tensor:
    """Returns the colours of `colours.COLOURS` in 0 .. 1, [colours, 3]."""
    return torch.tensor(list(COLOURS.values()), device=device) / 255


def compose(
    sprites: Sprites,
    layout: str,
    drawings: Tensor,
    grounds: Tensor,
    shift: tuple[int, int] = (0, 0),
) -> Tensor:
    """Returns images in -1 .. 1, [B, 3, SIZE, SIZE].

    Args:
        sprites: All drawings.
        layout: One of `examples.LAYOUTS`; the same for the batch.
        drawings: Left and right drawing, the same one twice where there is one, [B, 2].
        grounds: Background colours in 0 .. 1, [B, 3].
        shift: Right and down, in pixels.
    """
    canvas = grounds.view(-1, 3, 1, 1).repeat(1, 1, SIZE, SIZE)
    edge = EDGES[layout]
    top = (SIZE - edge) // 2 + shift[1]
    if layout == "pair":
        lefts = (_GAP // 4, SIZE // 2 + _GAP // 4)
        places = [(lefts[0], drawings[:, 0]), (lefts[1], drawings[:, 1])]
    else:
        places = [((SIZE - edge) // 2, drawings[:, 0])]
    for left, which in places:
        _paste(canvas, sprites.by_layout[layout][which].float() / 255, left + shift[0], top)
    return canvas * 2 - 1


def ink_edges(images: Tensor, darkness: Tensor, threshold: float = 0.35) -> Tensor:
    """Returns images whose edges are drawn over with a dark line two or three pixels wide.

    The sets trained on have few outlines; an autoencoder that hardly saw any would blur them.

    Args:
        images: In -1 .. 1, [B, 3, h, w].
        darkness: Shade of the line per image, 0 (black) .. 1, [B].
        threshold: Contrast within three pixels, 0 .. 2, from which on there is an edge.
    """
    highest = functional.max_pool2d(images, 3, stride=1, padding=1)
    lowest = -functional.max_pool2d(-images, 3, stride=1, padding=1)
    edges = (highest - lowest).amax(dim=1, keepdim=True) > threshold
    return torch.where(edges, darkness.view(-1, 1, 1, 1) * 2 - 1, images)


def to_bytes(images: Tensor) -> Tensor:
    """Returns uint8 images with the channels last, [B, h, w, 3], from -1 .. 1, [B, 3, h, w]."""
    scaled = (images.float().clamp(-1, 1) + 1) * 127.5
    return scaled.round().to(torch.uint8).permute(0, 2, 3, 1)


def compose_on_white(sprites: Sprites, indices: Sequence[int]) -> Tensor:
    """Returns the plain images of some drawings in -1 .. 1, [B, 3, SIZE, SIZE]."""
    which = torch.tensor(indices, device=sprites.device)
    white = torch.ones(len(indices), 3, device=sprites.device)
    return compose(sprites, "normal", torch.stack((which, which), dim=1), white)


def _resize(multiplied: Tensor, edge: int) -> Tensor:
    if edge != multiplied.shape[-1]:
        multiplied = functional.interpolate(
            multiplied, size=(edge, edge), mode="bicubic", antialias=True
        )
    return (multiplied.clamp(0, 1) * 255).round().to(torch.uint8)


def _paste(canvas: Tensor, sprite: Tensor, left: int, top: int) -> None:
    """Lays sprites [B, 4, e, e] on the canvas; what lies outside of it is cut off."""
    edge = sprite.shape[-1]
    x, y = max(0, left), max(0, top)
    right, bottom = min(SIZE, left + edge), min(SIZE, top + edge)
    visible = sprite[:, :, y - top : bottom - top, x - left : right - left]
    under = canvas[:, :, y:bottom, x:right]
    canvas[:, :, y:bottom, x:right] = visible[:, :3] + under * (1 - visible[:, 3:])
