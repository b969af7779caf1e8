"""From SVG to pixels: every drawing once, on nothing, kept small enough to be carried about."""

import io
import json
import os
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from dataclasses import asdict
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import resvg_py
from numpy.typing import NDArray
from PIL import Image

from recipe.errors import RecipeError
from recipe.icons import Icon

SIZE = 128  # pixels, edge of a finished image
DRAWING_SIZE = 116  # pixels, edge of the drawing on it: the share that the example datasets use
SUPERSAMPLING = 2
_FEW = 200  # so many are rendered faster than processes are started

Pixels = NDArray[np.uint8]


def render_icon(icon: Icon) -> bytes:
    """Returns the drawing as lossless WebP with transparency, `DRAWING_SIZE` pixels square.

    Raises:
        RecipeError: the SVG is damaged.
    """
    large = DRAWING_SIZE * SUPERSAMPLING
    try:
        png = resvg_py.svg_to_bytes(svg_string=icon.svg, width=large, height=large)
    except ValueError as error:
        msg = (
            f"{icon.name} of {icon.style} cannot be rendered ({error}). Download the package again."
        )
        raise RecipeError(msg) from error
    with Image.open(io.BytesIO(png)) as image:
        # Reduced with colours multiplied by their opacity, or edges would get dark fringes.
        shape = (DRAWING_SIZE, DRAWING_SIZE)
        small = image.convert("RGBa").resize(shape, Image.Resampling.LANCZOS).convert("RGBA")
    encoded = io.BytesIO()
    small.save(encoded, format="WEBP", lossless=True, quality=60, method=2)
    return encoded.getvalue()


def render_all(icons: Sequence[Icon]) -> list[bytes]:
    """Returns all drawings, by as many processes as there are processors.

    Raises:
        RecipeError: an SVG is damaged.
    """
    if len(icons) < _FEW:
        return [render_icon(icon) for icon in icons]
    # Fresh processes: a copy of this one would copy the locks of its threads as well.
    with ProcessPoolExecutor(os.cpu_count(), mp_context=get_context("spawn")) as pool:
        return list(pool.map(render_icon, icons, chunksize=50))


def save_drawings(folder: Path, icons: Sequence[Icon], drawings: Sequence[bytes]) -> None:
    """Writes `icons.json` and, in its order, all drawings in one file."""
    rows = [{key: value for key, value in asdict(icon).items() if key != "svg"} for icon in icons]
    (folder / "icons.json").write_text(json.dumps(rows, indent=0), encoding="utf-8")
    ends = np.cumsum([len(drawing) for drawing in drawings], dtype=np.int64)
    blob = np.frombuffer(b"".join(drawings), dtype=np.uint8)
    np.savez(folder / "drawings.npz", ends=ends, blob=blob)


def load_icons(folder: Path) -> list[Icon]:
    """Returns what `save_drawings` wrote, without the SVGs."""
    rows = json.loads((folder / "icons.json").read_text(encoding="utf-8"))
    return [Icon(svg="", **{**row, "synonyms": tuple(row["synonyms"])}) for row in rows]


def load_drawings(folder: Path) -> Pixels:
    """Returns all drawings, [N, DRAWING_SIZE, DRAWING_SIZE, 4], opacity last."""
    with np.load(folder / "drawings.npz") as stored:
        ends, blob = stored["ends"], stored["blob"].tobytes()
    starts = [0, *ends[:-1]]
    with ThreadPoolExecutor() as pool:
        parts = (blob[start:end] for start, end in zip(starts, ends, strict=True))
        return np.stack(list(pool.map(_decode, parts)))


def _decode(drawing: bytes) -> Pixels:
    with Image.open(io.BytesIO(drawing)) as image:
        return np.asarray(image.convert("RGBA"))
