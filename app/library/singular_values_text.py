"""What the Library says about the strength of a file's layers and how much of its rank is used."""

import shlex
from pathlib import Path

HEADING = "Layer by layer"
MEASURING = (
    "Measuring every layer. That takes some seconds; for a LoHa, a LoKr or a full difference of "
    "SDXL it takes many minutes. This page need not stay open."
)
NORM_AXIS = "norm of the change"
RELATIVE_AXIS = "norm of the change, as a share of the weight's"
RANK_AXIS = "effective rank (strong) of the rank (pale)"
SECTIONS = {"text": "text", "down": "down", "mid": "mid", "up": "up", "": "others"}
ENERGY_HEADING = "What a smaller rank would keep"
ENERGY_AXIS = "share of the change that is kept"
KEPT_RANK_AXIS = "rank"
WHOLE = "whole file"
WORST = "the layer that loses most"
BARS_OF_LAYERS = "One bar is one layer, in the order of the network. Point at it for its numbers."
BARS_OF_GROUPS = (
    "One bar is the mean over the layers of one block, in the order of the network. Point at it "
    "for its numbers."
)


def failed(message: str) -> str:
    """A file whose layers cannot be measured."""
    return f"There is no picture of the layers: {message}"


def bar(name: str, layers: int, norm: float, relative: float, used: float, rank: float) -> str:
    """The numbers of a bar."""
    place = f"{name}, mean of {layers} layers" if layers > 1 else name
    compared = f", {100 * relative:.2f} % of the weight's" if relative else ""
    return f"{place}: norm {norm:.3g}{compared}; effective rank {used:.1f} of {rank:.4g}"


def bars_title(layers: int, strongest: str) -> str:
    """The bars in words."""
    return f"Strength of {layers} layers in the order of the network. The strongest: {strongest}."


def resize(rank: int, share: float, worst: float) -> str:
    """To which rank a file could be resized."""
    return (
        f"Rank {rank} keeps {100 * share:.1f} % of the change ({100 * worst:.1f} % of the layer "
        "that loses most). To make such a file: "
    )


def resize_command(path: Path, rank: int) -> str:
    """What is typed to give a file another rank."""
    file, to = shlex.quote(path.name), shlex.quote(f"{path.stem}-{rank}.safetensors")
    return f"lorasmith resize {file} --rank {rank} --to {to}"


def no_resize(rank: int, share: float, largest: int) -> str:
    """A file that uses all of its rank."""
    return (
        f"No rank below {largest} that was looked at keeps 99 % of the change; rank {rank} keeps "
        f"{100 * share:.1f} %."
    )


def show_norm(value: float) -> str:
    """A norm beside an axis."""
    return f"{value:.2g}"


def show_share(value: float) -> str:
    """A share beside an axis."""
    return f"{100 * value:.3g} %"


def energy_title(shares: list[tuple[int, float, float]]) -> str:
    """The curves in words: rank, whole file, worst layer."""
    told = "; ".join(
        f"rank {rank} keeps {100 * whole:.1f} %, of the layer that loses most {100 * worst:.1f} %"
        for rank, whole, worst in shares
    )
    return f"Share of the change that a rank keeps: {told}."
