"""Looking at many images: each is decoded once, for its size, its measures and its small copy."""

import contextlib
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from datasets_tools.checks.cache import MeasureCache
from datasets_tools.checks.measures import WORKING_SIDE, Measures, measure
from datasets_tools.colour import to_rgb
from datasets_tools.decode import (
    DAMAGE,
    SIDEWAYS,
    TURNS,
    damaged,
    load_image,
    open_image,
    read_orientation,
)
from datasets_tools.disk import remove_quietly, replace_file
from datasets_tools.errors import DatasetError
from datasets_tools.groups import list_groups
from datasets_tools.images import (
    FileState,
    ImageFacts,
    fingerprint,
    read_state,
    remember_facts,
)
from datasets_tools.sidecars import Neighbours

THUMBNAIL_SIDE = 256
MOST_WORKERS = 4  # an image of 64 million pixels takes 256 MB while it is decoded
_OPAQUE = 250  # of 255
_GAP = 2.0  # a first, quick reduction may leave so many times the final size

Progress = Callable[[int, int], None]
PlaceThumbnail = Callable[[str], Path]


@dataclass(frozen=True)
class Look:
    """What one decoding of an image gives."""

    facts: ImageFacts
    measures: Measures


def measure_folder(
    folder: Path,
    cache: MeasureCache,
    progress: Progress | None = None,
    thumbnail: PlaceThumbnail | None = None,
) -> None:
    """Looks at all images of a folder that `cache` does not know yet, in several threads.

    Afterwards `scan_folder` does not decode them again. An image that cannot be used is left
    out: `scan_folder` reports it.

    Args:
        folder: The dataset.
        cache: What is known of images, which this adds to.
        progress: Called with the number of images that are known and that of all.
        thumbnail: Where the small copy of an image lies, by its content id; None makes none.
    """
    states = list_states(folder)
    new = [path for path, state in states.items() if not _is_known(path, state, cache)]
    done = len(states) - len(new)
    if progress:
        progress(done, len(states))
    workers = min(MOST_WORKERS, os.cpu_count() or 1)
    with ThreadPoolExecutor(workers) as pool:
        try:
            for future in as_completed(
                [pool.submit(_add, path, states[path], cache, thumbnail) for path in new]
            ):
                future.result()
                done += 1
                if progress:
                    progress(done, len(states))
        finally:
            pool.shutdown(cancel_futures=True)


def count_unknown(folder: Path, cache: MeasureCache) -> tuple[int, int]:
    """Returns how many images of a folder were not looked at yet, and how many there are."""
    states = list_states(folder)
    return sum(not cache.has_state(path, state) for path, state in states.items()), len(states)


def list_states(folder: Path) -> dict[Path, FileState]:
    """Returns the image files of a folder, each with what changes when the file does."""
    states = {}
    for place in (folder, *list_groups(folder)):
        neighbours = Neighbours(place)
        for name in sorted(neighbours.names):
            if neighbours.is_image(name):
                with contextlib.suppress(DatasetError):
                    states[place / name] = read_state(place / name)
    return states


def look_at(path: Path, thumbnail: PlaceThumbnail | None = None) -> Look:
    """Decodes an image and returns what is to be known of it.

    A JPEG is decoded at half, a quarter or an eighth of its size where that is enough.

    Raises:
        DatasetError: The image cannot be used; the message names the file.
    """
    content = fingerprint(path)
    with open_image(path) as image:
        try:
            turn = read_orientation(path, image)
            width, height = image.size
            size = fit_size(width, height)
            image.draft(None, size)
            whole = load_image(path, image)
            transparent = _measure_transparency(whole)
            working = to_rgb(whole)
            if working.size != size:
                working = working.resize(size, Image.Resampling.LANCZOS, reducing_gap=_GAP)
            working = working.transpose(TURNS[turn]) if turn in TURNS else working
        except DAMAGE as error:
            raise damaged(path) from error
    if turn in SIDEWAYS:
        width, height = height, width
    if thumbnail:
        _write_thumbnail(working, thumbnail(content))
    return Look(ImageFacts(width, height, content), measure(working, transparent))


def fit_size(width: int, height: int) -> tuple[int, int]:
    """Returns the size of the working copy: the same shape, never larger than the image."""
    scale = min(1.0, WORKING_SIDE / (width * height) ** 0.5)
    return max(1, round(width * scale)), max(1, round(height * scale))


def _is_known(path: Path, state: FileState, cache: MeasureCache) -> bool:
    facts = cache.find_facts(path, state)
    if facts is None:
        return False
    remember_facts(path, state, facts)
    return True


def _add(
    path: Path, state: FileState, cache: MeasureCache, thumbnail: PlaceThumbnail | None
) -> None:
    with contextlib.suppress(DatasetError):  # `scan_folder` reports what is wrong with it
        look = look_at(path, thumbnail)
        cache.add(path, state, look.facts, look.measures)
        remember_facts(path, state, look.facts)


def _measure_transparency(image: Image.Image) -> float:
    if not image.has_transparency_data:
        return 0.0
    histogram = image.convert("RGBA").getchannel("A").histogram()
    return sum(histogram[:_OPAQUE]) / max(sum(histogram), 1)


def _write_thumbnail(working: Image.Image, to: Path) -> None:
    """Writes a small copy; it can be made again, so nobody waits until the disk has it."""
    if to.is_file():
        return
    small = working.copy()
    small.thumbnail((THUMBNAIL_SIDE, THUMBNAIL_SIDE), Image.Resampling.LANCZOS)
    aside = to.with_name(f".{to.name}.tmp")
    try:
        small.save(aside, "WEBP")
        replace_file(aside, to)
    except OSError:  # the page shows the image's name instead
        remove_quietly(aside)
