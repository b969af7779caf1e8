"""Checks of images together: the same image twice, one-sided sets, images of another style."""

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from datasets_tools.checks.measures import FLAT_BORDER
from datasets_tools.checks.pixels import has_fault, is_blank
from datasets_tools.checks.subject import Check, Hit, Subject

FEWEST_FOR_SETS = 8
SAME_BACKGROUND = 0.08  # largest difference of a colour channel
MOST_SAME = 0.8  # of the images
LIKE_PALETTE = 0.64  # mean overlap of palettes, 1 where they are equal
LIKE_LAYOUT = 0.45  # mean cosine of where the edges are
FAR_STYLE = 2.2
LEAST_SCALE = 0.15  # so that equal images do not make all others outliers
MEDIAN_TO_DEVIATION = 1.4826  # of a normal distribution
MOST_OUTLIERS = 0.2  # of the images; more are no outliers but a mixed dataset

Floats = NDArray[np.float32]


def find_duplicates(subject: Subject) -> Iterable[Hit]:
    """Finds groups of images that show the same image; the first of each is the best one."""
    copies: list[int] = []
    for group in group_pairs(subject):
        copies += group[1:]
    if not copies:
        return
    first = {copy: group[0] for group in group_pairs(subject) for copy in group[1:]}
    shown = ", ".join(f"{subject.name(at)} like {subject.name(first[at])}" for at in copies[:3])
    more = f" and {len(copies) - 3} more" if len(copies) > 3 else ""
    shows = "image shows" if len(copies) == 1 else "images show"
    yield Hit(
        tuple(copies),
        f"{len(copies)} {shows} the same image as another one ({shown}{more}), also if resized, "
        "cut or mirrored, and would be learned twice as strongly. Remove the copies.",
    )


def group_pairs(subject: Subject) -> list[list[int]]:
    """Returns the places of images that show the same, the best first: sound, then large."""
    leader = list(range(len(subject.examples)))

    def find(at: int) -> int:
        while leader[at] != at:
            at = leader[at]
        return at

    for pair in subject.pairs:
        leader[find(pair.second)] = find(pair.first)
    groups: dict[int, list[int]] = {}
    for at in range(len(leader)):
        groups.setdefault(find(at), []).append(at)

    def rank(at: int) -> tuple[bool, int, int, int]:
        example, one = subject.examples[at], subject.measures[at]
        faulty = one is not None and has_fault(one)
        shorter = min(example.width, example.height)
        return (faulty, -shorter, -example.width * example.height, at)

    return [sorted(group, key=rank) for group in groups.values() if len(group) > 1]


def find_same_background(subject: Subject) -> Iterable[Hit]:
    """Finds a dataset of which most images have the same plain background."""
    measured = [one for one in subject.measures if one is not None and not is_blank(one)]
    plain = [one.border for one in measured if one.plain >= FLAT_BORDER]
    if len(measured) < FEWEST_FOR_SETS or not plain:
        return
    colours = np.array(plain)
    same = np.abs(colours - np.median(colours, axis=0)).max(axis=1) <= SAME_BACKGROUND
    if same.sum() >= MOST_SAME * len(measured):
        yield Hit(
            (),
            f"{int(same.sum())} of {len(measured)} images have the same plain background, so it "
            "will be learned, too. Add images with other backgrounds, or name it in the captions, "
            "unless it belongs to the style.",
        )


def find_same_palette(subject: Subject) -> Iterable[Hit]:
    """Finds a dataset whose images all have the same colours."""
    palettes = _stack(subject, "palette")
    if palettes is not None and mean_likeness(palettes) > LIKE_PALETTE:
        yield Hit(
            (),
            f"All {len(palettes)} images have nearly the same colours, so these will be learned, "
            "too. Add images in other colours and light, unless they belong to the style.",
        )


def find_same_crop(subject: Subject) -> Iterable[Hit]:
    """Finds a dataset whose images all have the subject at the same place."""
    layouts = _stack(subject, "layout")
    if layouts is not None and mean_likeness(layouts) > LIKE_LAYOUT:
        yield Hit(
            (),
            f"All {len(layouts)} images show their subject at the same place and in the same size, "
            "so it will not be learned in another. Add other crops: near, far, and to the side.",
        )


def mean_likeness(vectors: Floats) -> float:
    """Returns the mean cosine of all pairs of different unit vectors."""
    number = len(vectors)
    total = float(np.square(vectors.sum(axis=0)).sum())
    return (total - float(np.square(vectors).sum())) / (number * (number - 1))


def find_outliers(subject: Subject) -> Iterable[Hit]:
    """Finds images that are made otherwise than the rest: a photograph among illustrations."""
    flat = _stack(subject, "flat")
    if flat is None:
        return
    places = subject.find(lambda one: not is_blank(one))
    distances = measure_distances(flat)
    far = [at for at, distance in zip(places, distances, strict=True) if distance > FAR_STYLE]
    sound = {*subject.find(lambda one: not has_fault(one))}
    hits = [at for at in far if at in sound]  # what is dark or blurred is flat for that reason
    if hits and len(hits) <= MOST_OUTLIERS * len(places):
        is_made = "image is" if len(hits) == 1 else "images are"
        yield Hit(
            tuple(hits),
            f"{len(hits)} {is_made} made otherwise than the rest ({subject.list_names(hits)}): "
            "a photograph among illustrations, or the reverse. Leave them out if style matters.",
        )


def measure_distances(values: Floats) -> Floats:
    """Returns how far each value is from the median, in standard deviations of a robust kind."""
    far = np.abs(values - np.median(values))
    result: Floats = far / max(float(np.median(far)) * MEDIAN_TO_DEVIATION, LEAST_SCALE)
    return result


def _stack(subject: Subject, name: str) -> Floats | None:
    """Returns one measure of all images that show something; None for too few of them."""
    values = [
        getattr(one, name) for one in subject.measures if one is not None and not is_blank(one)
    ]
    return np.array(values) if len(values) >= FEWEST_FOR_SETS else None


CHECKS = (
    Check("duplicate_image", "Duplicate", "warning",
          "another image, or a part of it of at least 70 % of its sides, or its mirror image, "
          "fitted exactly, differs by less than 15 % in the worst of 8 x 8 cells",
          find_duplicates, "remove"),
    Check("same_background", "One background", "note",
          f"at least {MOST_SAME:.0%} of the images have a plain border of the same colour",
          find_same_background),
    Check("same_palette", "One palette", "note",
          f"mean overlap of 64-colour histograms above {LIKE_PALETTE}", find_same_palette),
    Check("same_crop", "One crop", "note",
          f"mean cosine of the edges in 8 x 8 cells above {LIKE_LAYOUT}", find_same_crop),
    Check("style_outlier", "Other style", "note",
          f"the share of pixels without gradient more than {FAR_STYLE} robust deviations from the "
          "median: a photograph among illustrations, or the reverse; it knows no other styles",
          find_outliers),
)  # fmt: skip
