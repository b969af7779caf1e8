"""How strong the layers of a LoRA file are, in the order of the network."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from app.core.jobs import Job

MOST_BARS = 150
ENOUGH = 0.99  # of the change, where a smaller rank is advised
MEASURE = "measure"  # the kind of the job; it is `inspect` with another question

Section = Literal["text", "down", "mid", "up", ""]
# The order of the network; `conv_out` and what is not known come last.
_BEGINNINGS: tuple[tuple[str, Section], ...] = (
    ("text_encoder.", "text"),
    ("text_encoder_2.", "text"),
    ("unet.time_embedding.", "down"),
    ("unet.add_embedding.", "down"),
    ("unet.conv_in", "down"),
    ("unet.down_blocks.", "down"),
    ("unet.mid_block.", "mid"),
    ("unet.up_blocks.", "up"),
    ("unet.conv_out", "up"),
)
# Within a block, where the alphabet has another order than the network.
_PLACES = {"proj_in": 0, "conv1": 0, "time_emb_proj": 1, "conv2": 2, "conv_shortcut": 3}
_PLACES |= {"transformer_blocks": 1, "proj_out": 2, "self_attn": 0, "mlp": 1}
_PLACES |= {"to_q": 0, "to_k": 1, "to_v": 2, "to_out": 3}
_PLACES |= {"q_proj": 0, "k_proj": 1, "v_proj": 2, "out_proj": 3}
_PAIRS = re.compile(r"\.(resnets|attentions)\.(\d+)")
# Blocks to sum layers up in, from small to large: transformer blocks and layers of text encoders,
# attentions and resnets, levels.
_GROUPS = (
    r".*?\.(?:transformer_blocks|resnets|layers)\.\d+|.*?\.(?:attentions|\w+samplers)\.\d+",
    r".*?\.(?:attentions|resnets|layers|\w+samplers)\.\d+",
    r"unet\.\w+_blocks?(?:\.\d+)?|text_encoder(?:_2)?",
)


@dataclass(frozen=True)
class Bar:
    """One layer, or the mean over the layers of one block.

    Attributes:
        name: Of the layer or the block.
        section: Of the network.
        layers: How many it stands for.
        norm: Of the change.
        relative: The same as a share of the weight's norm; 0 where that is not known.
        used: The effective rank.
        rank: That the file gives.
    """

    name: str
    section: Section
    layers: int
    norm: float
    relative: float
    used: float
    rank: float


@dataclass(frozen=True)
class SingularValues:
    """A file's layers, and what smaller ranks would keep of them.

    Attributes:
        bars: In the order of the network; blocks where there are more than `MOST_BARS` layers.
        layers: How many layers there are.
        shares: Per rank the share of the energy that it keeps, of the whole file and of the layer
            that loses most.
    """

    bars: tuple[Bar, ...]
    layers: int
    shares: tuple[tuple[int, float, float], ...]

    @property
    def rank(self) -> int:
        """The largest rank that was looked at: the file's own, or what a resized one would have."""
        return self.shares[-1][0]

    @property
    def enough(self) -> tuple[int, float, float] | None:
        """The smallest rank that keeps nearly everything; None where only the largest does."""
        smaller = [each for each in self.shares if each[1] >= ENOUGH and each[0] < self.rank]
        return smaller[0] if smaller else None


def view_singular_values(job: Job) -> SingularValues | None:
    """Returns what was measured; None before that, and of a file without layers."""
    answer = job.answer
    if job.state != "done" or not isinstance(answer, dict) or not answer.get("layers"):
        return None
    layers = sorted(answer["layers"], key=lambda layer: _find_place(str(layer["layer"])))
    return SingularValues(tuple(_list_bars(layers)), len(layers), tuple(_list_shares(layers)))


def _list_bars(layers: Sequence[Mapping[str, Any]]) -> list[Bar]:
    """Returns a bar per layer, or per block where there are too many layers."""
    groups = {str(layer["layer"]): [layer] for layer in layers}
    for pattern in _GROUPS:
        if len(groups) <= MOST_BARS:
            break
        groups = {}
        for layer in layers:
            name = str(layer["layer"])
            block = re.match(pattern, name)
            groups.setdefault(block[0] if block else name, []).append(layer)
    return [_sum_up(name, inside) for name, inside in groups.items()]


def _sum_up(name: str, layers: Sequence[Mapping[str, Any]]) -> Bar:
    def mean(of: str) -> float:
        return sum(float(layer[of]) for layer in layers) / len(layers)

    return Bar(
        name=name,
        section=_find_section(name)[1],
        layers=len(layers),
        norm=mean("norm"),
        relative=mean("relative_norm"),
        used=mean("effective_rank"),
        rank=mean("rank"),
    )


def _list_shares(layers: Sequence[Mapping[str, Any]]) -> list[tuple[int, float, float]]:
    # As keys of a JSON object, ranks come as text. A layer without a rank uses fewer directions.
    energies = [
        (float(layer["norm"]) ** 2, {int(rank): float(s) for rank, s in layer["energy"].items()})
        for layer in layers
    ]
    total = sum(energy for energy, _ in energies)
    shares = []
    for rank in sorted({rank for _, share in energies for rank in share}):
        whole = sum(energy * share.get(rank, 1.0) for energy, share in energies)
        worst = min((share.get(rank, 1.0) for energy, share in energies if energy), default=1.0)
        shares.append((rank, whole / total if total else 1.0, worst))
    largest = max(int(layer["rank"]) for layer in layers)
    if not shares or shares[-1][0] < largest:
        shares.append((largest, 1.0, 1.0))
    return shares


def _find_section(name: str) -> tuple[int, Section]:
    for place, (beginning, section) in enumerate(_BEGINNINGS):
        if f"{name}.".startswith(f"{beginning.rstrip('.')}."):
            return place, section
    return len(_BEGINNINGS), ""


def _find_place(name: str) -> tuple[Any, ...]:
    """Returns what sorts layers as the network runs through them: resnet 0, attention 0, …"""
    place, _ = _find_section(name)
    paired = _PAIRS.sub(lambda pair: f".{pair[2]}.{pair[1] == 'attentions':d}", name)
    parts = [
        (0, int(part), "") if part.isdecimal() else (1, _PLACES.get(part, 0), part)
        for part in paired.split(".")
    ]
    return place, parts
