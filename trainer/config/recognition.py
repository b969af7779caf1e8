"""What InvokeAI will take a run's file for, from its settings alone, before it starts."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache

from trainer.config.adapter import AdapterConfig
from trainer.config.errors import Problem
from trainer.config.layers import find_block, is_chosen, size_of
from trainer.config.optimizer import Part
from trainer.config.run import RunConfig
from trainer.formats.architectures import list_layers
from trainer.formats.families import FAMILIES
from trainer.formats.invoke import (
    Recognition,
    explain_as_invoke,
    name_outcome,
    recognise_as_invoke,
)
from trainer.formats.kronecker import find_divisor, is_whole
from trainer.formats.spellings import SPELLINGS, write_name

Shape = tuple[int, ...]
_LARGER_RANKS = (4, 8, 16, 32, 64)  # of a LoKr; above them a plain LoRA is the better advice


@dataclass(frozen=True)
class _Layer:
    """A layer of a public model.

    Attributes:
        name: Full name with the model in front.
        part: Whose rank it has.
        shape: Of its weight.
        spelling: Its name in the file.
    """

    name: str
    part: Part
    shape: Shape
    spelling: str

    @property
    def wide(self) -> bool:
        """Whether its kernel is larger than 1 x 1."""
        return len(self.shape) > 2 and max(self.shape[2:]) > 1


def check_recognition(config: RunConfig, family: str) -> Iterator[Problem]:
    """Yields what InvokeAI will take the file for, where that is not what it is.

    Args:
        config: The run's settings.
        family: Of a base model of public size; "" where it is not known.
    """
    adapter = config.adapter
    # Of a file that is continued the layers are not known here: `trainer/commands/start_file.py`.
    if not family or adapter.start_from or config.output.formats == "peft":
        return
    recognition = _recognise(adapter, family)
    if recognition is None or recognition.base == family:
        return
    changes = _list_changes(adapter, family)
    remedies = [text for text, changed in changes if _is_right(changed, family)]
    path = "adapter.kind" if recognition.hidden else "adapter.blocks"
    outcome, reason = name_outcome(recognition), explain_as_invoke(recognition, FAMILIES[family])
    yield Problem(
        path,
        f"with these layers the file will not work in InvokeAI ({outcome}). {reason} "
        f"Other programs read it. For InvokeAI {' or '.join(remedies[:2]) or 'train more layers'}",
    )


def _list_changes(adapter: AdapterConfig, family: str) -> Iterator[tuple[str, AdapterConfig]]:
    """Yields what a person might change, the smallest change first, each with its result."""

    def change(**values: object) -> AdapterConfig:
        return adapter.model_copy(update=values)

    if adapter.kind == "lokr":
        for rank in (each for each in _LARGER_RANKS if each > adapter.rank):
            if _is_right(change(rank=rank), family):
                yield f"set adapter.rank to {rank}", change(rank=rank)
                break
        yield "set adapter.kind to lora", change(kind="lora")
    if adapter.conv_rank:
        yield "set adapter.conv_rank to 0", change(conv_rank=0)
    if not adapter.text_rank:
        yield "set adapter.text_rank above 0", change(text_rank=8)
    used = [block for block in adapter.blocks if block.rank]
    if len(used) < len(adapter.blocks):
        yield "take out the entries of rank 0 in adapter.blocks", change(blocks=used)


def _is_right(adapter: AdapterConfig, family: str) -> bool:
    recognition = _recognise(adapter, family)
    return recognition is not None and recognition.base == family


def _recognise(adapter: AdapterConfig, family: str) -> Recognition | None:
    """Returns what the file will be taken for; None where no layer is trained."""
    shapes: dict[str, Shape] = {}
    for layer in _list_layers(family):
        if not is_chosen(layer, FAMILIES[family], adapter):
            continue
        rank, _ = size_of(layer, adapter, find_block(layer.name, adapter.blocks))
        if rank:
            parts = _list_parts(layer.shape, rank, adapter)
            shapes |= {f"{layer.spelling}.{part}": shape for part, shape in parts.items()}
    return recognise_as_invoke(shapes) if shapes else None


def _list_parts(shape: Shape, rank: int, adapter: AdapterConfig) -> dict[str, Shape]:
    """Returns the tensors that stand for a layer in the file, sorted by name, with their shapes."""
    outputs, inputs, *kernel = shape
    row = inputs * math.prod(kernel)
    if adapter.kind == "loha":
        factors = {"w1_a": (outputs, rank), "w1_b": (rank, row)}
        factors |= {"w2_a": (outputs, rank), "w2_b": (rank, row)}
        return {f"hada_{name}": size for name, size in factors.items()}
    if adapter.kind == "lokr":
        out1, in1 = (find_divisor(side, adapter.lokr_factor) for side in (outputs, inputs))
        second = (outputs // out1, inputs // in1)
        whole = {"lokr_w1": (out1, in1), "lokr_w2": (*second, *kernel)}
        low_rank = {
            "lokr_w2_a": (second[0], rank),
            "lokr_w2_b": (rank, second[1] * math.prod(kernel)),
        }
        return whole if is_whole(second, rank) else {"lokr_w1": (out1, in1), **low_rank}
    point = (1,) * len(kernel)
    # All other kinds are exported as LoRA.
    return {"lora_down.weight": (rank, *shape[1:]), "lora_up.weight": (outputs, rank, *point)}


@cache
def _list_layers(family: str) -> tuple[_Layer, ...]:
    """Returns the layers of a public model in the order in which an exported file holds them."""
    spec = FAMILIES[family]
    original = SPELLINGS["kohya-original"]
    layers = []
    for name, shape in list_layers(family).items():
        is_unet = name.startswith("unet.")
        as_original = is_unet and spec.unet.original_blocks
        spelling = original if as_original else SPELLINGS["kohya"]
        written = write_name(name, spelling, spec, spec.unet.names)
        if written is not None:
            layers.append(_Layer(name, _find_part(name), shape, written))
    return tuple(sorted(layers, key=lambda layer: layer.spelling))


def _find_part(name: str) -> Part:
    if not name.startswith("unet."):
        return "text"
    places = (".resnets.", ".downsamplers.", ".upsamplers.")
    return "conv" if any(place in name for place in places) else "unet"
