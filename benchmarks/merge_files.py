"""Random LoRA files on the layers of SDXL, as large as real ones."""

import math
from collections.abc import Sequence
from pathlib import Path

import torch

from trainer.combine.headers import describe_model
from trainer.combine.stream import TensorStream
from trainer.export import name_layers
from trainer.formats.architectures import list_layers
from trainer.formats.families import FAMILIES

FAMILY = "sdxl"


def write_files(paths: Sequence[Path], rank: int, count: int = 0) -> int:
    """Writes a kohya file in fp16 per path, the first with seed 0; returns how many layers it has.

    Args:
        paths: Where to.
        rank: Of every layer, and its alpha.
        count: Only so many layers, evenly spread; 0 takes all.
    """
    shapes = list_layers(FAMILY)
    step = len(shapes) / (count or len(shapes))
    chosen = [list(shapes)[int(number * step)] for number in range(count or len(shapes))]
    names = name_layers(chosen, FAMILY, FAMILIES[FAMILY].unet.names)
    for seed, path in enumerate(paths):
        generator = torch.Generator().manual_seed(seed)
        with TensorStream(path) as stream:
            for layer in chosen:
                rows, *inner = shapes[layer]
                point = (1,) * (len(inner) - 1)
                # Every number of a layer's change gets the variance 1e-4 in the mean.
                size = math.sqrt(1e-2 / math.sqrt(rank))
                down = torch.randn(rank, *inner, generator=generator) * size
                up = torch.randn(rows, rank, *point, generator=generator) * size
                stream.add(f"{names[layer]}.lora_down.weight", down.half())
                stream.add(f"{names[layer]}.lora_up.weight", up.half())
                stream.add(f"{names[layer]}.alpha", torch.tensor(float(rank)))
            stream.finish(describe_model(FAMILY, "epsilon"))
    return len(chosen)
