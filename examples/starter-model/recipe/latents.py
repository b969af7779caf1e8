"""Encoding every training image once, so that the UNet's batches are mere look-ups."""

import json
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from diffusers import AutoencoderKL
from numpy.lib.format import open_memmap

from datasets_tools.files import write_atomically
from recipe.composing import Sprites, compose, make_palette
from recipe.errors import OutOfTimeError
from recipe.examples import LAYOUTS, ExampleTable
from recipe.networks import LATENT_SHAPE
from recipe.training import DeviceContext

_CHUNK = 256
_SAVE_EVERY = 16  # chunks
_PROGRESS = "progress.json"


def encode_examples(
    table: ExampleTable, sprites: Sprites, vae: AutoencoderKL, context: DeviceContext, folder: Path
) -> None:
    """Writes `latents.npy`, fp16, [E, 4, h, w]: scaled means of the VAE's distributions.

    Raises:
        OutOfTimeError: the time is over; the next call goes on from the last saved chunk.
    """
    path, progress = folder / "latents.npy", folder / _PROGRESS
    shape = (len(table.kinds), *LATENT_SHAPE)
    done = json.loads(progress.read_text(encoding="utf-8"))["done"] if progress.is_file() else 0
    stored = open_memmap(path, "r+" if done else "w+", np.float16, shape)
    palette = make_palette(context.device)
    scale = float(vae.config.scaling_factor)
    for number, rows in enumerate(_cut_chunks(table)):
        if rows.start < done:
            continue
        layout = LAYOUTS[table.layouts[rows.start]]
        drawings = torch.tensor(table.drawings[rows], device=context.device)
        grounds = palette[torch.tensor(table.grounds[rows], device=context.device)]
        images = compose(sprites, layout, drawings, grounds)
        # In full precision: it is done once, and the UNet learns whatever errors are left in.
        with torch.no_grad():
            encoded = vae.encode(images.contiguous(memory_format=torch.channels_last))
        latents = encoded.latent_dist.mean * scale
        stored[rows] = latents.to(torch.float16).cpu().numpy()
        over = time.monotonic() > context.stop_at
        if over or number % _SAVE_EVERY == _SAVE_EVERY - 1:
            stored.flush()
            write_atomically(progress, json.dumps({"done": rows.stop}))
        if over and rows.stop < len(table.kinds):
            msg = f"stopped after image {rows.stop} of {len(table.kinds)}"
            raise OutOfTimeError(msg)
    stored.flush()
    progress.unlink(missing_ok=True)


def _cut_chunks(table: ExampleTable) -> Iterator[slice]:
    """Slices of at most `_CHUNK` rows, each of one layout."""
    changes = np.flatnonzero(np.diff(table.layouts)) + 1
    ends = [*changes.tolist(), len(table.layouts)]
    start = 0
    for end in ends:
        while start < end:
            stop = min(start + _CHUNK, end)
            yield slice(start, stop)
            start = stop
