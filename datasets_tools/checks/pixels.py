"""Checks of single images: how many there are, their sizes, and what their pixels look like."""

from collections.abc import Iterable

from datasets_tools.checks.measures import Measures
from datasets_tools.checks.subject import Check, Hit, Subject, count

FEWEST_IMAGES = 5
ADVISED_IMAGES = 10
LARGEST_UPSCALE = 1.25
LARGEST_CROP = 0.25
EXTREME_ASPECT = 3.0
SHARPEST_BLUR = 0.35
DARKEST_WHITE = 0.4
BRIGHTEST_BLACK = 0.41
FEWEST_BRIGHT = 0.75
MOST_WHITE = 0.35
LEAST_SPREAD = 0.01
MOST_TRANSPARENT = 0.01


def is_blurred(one: Measures) -> bool:
    """Returns whether no edge is sharp; too few edges to judge are not blurred (NaN)."""
    return not is_blank(one) and one.sharpness < SHARPEST_BLUR


def is_overexposed(one: Measures) -> bool:
    """Returns whether nothing dark is left, or much of what is shown is white."""
    veiled = one.low > BRIGHTEST_BLACK and one.high > FEWEST_BRIGHT
    return not is_blank(one) and (veiled or one.white > MOST_WHITE)


def is_underexposed(one: Measures) -> bool:
    """Returns whether nothing is bright."""
    return not is_blank(one) and one.high < DARKEST_WHITE


def is_blank(one: Measures) -> bool:
    """Returns whether an image is black or of a single colour."""
    return one.spread < LEAST_SPREAD


def has_fault(one: Measures) -> bool:
    """Returns whether an image is blurred, too bright, too dark or of one colour."""
    return is_blank(one) or is_blurred(one) or is_overexposed(one) or is_underexposed(one)


def find_too_few(subject: Subject) -> Iterable[Hit]:
    """Finds fewer images than training can do with."""
    number = len(subject.examples)
    if 0 < number < FEWEST_IMAGES:
        yield Hit(
            (),
            f"There {'is' if number == 1 else 'are'} only "
            f"{count(number, 'usable image', 'usable images')}, so results will be poor: the "
            f"adapter will copy them. Add more; {ADVISED_IMAGES} to 20 work well.",
        )


def find_few(subject: Subject) -> Iterable[Hit]:
    """Finds fewer images than are advised."""
    number = len(subject.examples)
    if FEWEST_IMAGES <= number < ADVISED_IMAGES:
        yield Hit(
            (),
            f"There are {number} usable images. That can work, but {ADVISED_IMAGES} to 20 in "
            "different settings give better results. Add more if you have them.",
        )


def find_small(subject: Subject) -> Iterable[Hit]:
    """Finds images that training has to enlarge."""
    scales = {at: one.scale for at, one in enumerate(subject.placements)}
    small = [at for at, scale in scales.items() if scale > LARGEST_UPSCALE]
    if len(small) == 1:
        example = subject.examples[small[0]]
        yield Hit(
            (small[0],),
            f"{subject.name(small[0])} ({example.width} x {example.height} pixels) is small for "
            f"training at {subject.resolution}: it would have to be enlarged "
            f"{scales[small[0]]:.1f} times and look blurred. "
            "Use a larger original, or a lower resolution.",
        )
    elif small:
        yield Hit(
            tuple(small),
            f"{len(small)} images are small for training at {subject.resolution}: they would have "
            f"to be enlarged up to {max(scales[at] for at in small):.1f} times and look blurred "
            f"({subject.list_names(small)}). Use larger originals, or a lower resolution.",
        )


def find_extreme_aspect(subject: Subject) -> Iterable[Hit]:
    """Finds strips, of which no bucket shows more than a part."""
    hits = _find_extreme(subject)
    if hits:
        verb = "is" if len(hits) == 1 else "are"
        yield Hit(
            tuple(hits),
            f"{count(len(hits), 'image', 'images')} {verb} more than {EXTREME_ASPECT:.0f} times "
            f"as long as wide ({_list_cuts(subject, hits)}). Crop to the part that matters.",
        )


def find_cropped(subject: Subject) -> Iterable[Hit]:
    """Finds images of which the bucket cuts off a large part."""
    extreme = {*_find_extreme(subject)}
    hits = [
        at
        for at, one in enumerate(subject.placements)
        if one.crop_fraction > LARGEST_CROP and at not in extreme
    ]
    if hits:
        loses = "image loses" if len(hits) == 1 else "images lose"
        yield Hit(
            tuple(hits),
            f"{len(hits)} {loses} more than {LARGEST_CROP:.0%} to the crop when training at "
            f"{subject.resolution} ({_list_cuts(subject, hits)}). "
            "Crop to the part that matters.",
        )


def _find_extreme(subject: Subject) -> list[int]:
    return [
        at
        for at, one in enumerate(subject.examples)
        if max(one.width, one.height) > EXTREME_ASPECT * min(one.width, one.height)
    ]


def _list_cuts(subject: Subject, places: list[int]) -> str:
    """Returns the first images, each with what is cut off at which ends."""
    parts = []
    for at in places[:3]:
        placed = subject.placements[at]
        ends = "left and right" if placed.crop[0] > placed.crop[1] else "top and bottom"
        parts.append(f"{subject.name(at)}: {placed.crop_fraction:.0%} at the {ends}")
    more = len(places) - len(parts)
    return ", ".join(parts) + (f" and {more} more" if more > 0 else "")


def find_blurred(subject: Subject) -> Iterable[Hit]:
    """Finds images that are not sharp anywhere."""
    if hits := subject.find(is_blurred):
        verb = "is" if len(hits) == 1 else "are"
        yield Hit(
            tuple(hits),
            f"{count(len(hits), 'image', 'images')} {verb} blurred ({subject.list_names(hits)}), "
            "and the blur would be learned. Use sharp ones, or leave them out.",
        )


def find_overexposed(subject: Subject) -> Iterable[Hit]:
    """Finds washed-out images."""
    if hits := subject.find(is_overexposed):
        verb = "is" if len(hits) == 1 else "are"
        yield Hit(
            tuple(hits),
            f"{count(len(hits), 'image', 'images')} {verb} too bright: nothing in it is dark, or "
            f"much of it is plain white ({subject.list_names(hits)}). "
            "Use a better exposure, or leave them out.",
        )


def find_underexposed(subject: Subject) -> Iterable[Hit]:
    """Finds images that are too dark."""
    if hits := subject.find(is_underexposed):
        verb = "is" if len(hits) == 1 else "are"
        yield Hit(
            tuple(hits),
            f"{count(len(hits), 'image', 'images')} {verb} too dark: nothing in it is bright "
            f"({subject.list_names(hits)}). Brighten them, or leave them out, unless it is night.",
        )


def find_blank(subject: Subject) -> Iterable[Hit]:
    """Finds black images, and those of one colour."""
    if hits := subject.find(is_blank):
        shows = "image shows" if len(hits) == 1 else "images show"
        yield Hit(
            tuple(hits),
            f"{len(hits)} {shows} nothing but one colour ({subject.list_names(hits)}). "
            "Remove them.",
        )


def find_transparent(subject: Subject) -> Iterable[Hit]:
    """Finds images with transparent parts."""
    if hits := subject.find(lambda one: one.transparent > MOST_TRANSPARENT):
        has = "image has" if len(hits) == 1 else "images have"
        yield Hit(
            tuple(hits),
            f"{len(hits)} {has} transparent parts, which are trained as white "
            f"({subject.list_names(hits)}). If white is not what you want there, put them on "
            "another background, or use the transparency as a mask.",
        )


CHECKS = (
    Check("too_few_images", "Too few images", "warning", f"fewer than {FEWEST_IMAGES} images",
          find_too_few),
    Check("few_images", "Few images", "warning", f"fewer than {ADVISED_IMAGES} images", find_few),
    Check("small_image", "Small", "warning",
          f"the bucket's size is more than {LARGEST_UPSCALE} times the image's", find_small),
    Check("extreme_aspect", "Strip", "warning",
          f"the longer side is more than {EXTREME_ASPECT:.0f} times the shorter one",
          find_extreme_aspect, "crop"),
    Check("much_cropped", "Cropped", "warning",
          f"the bucket cuts off more than {LARGEST_CROP:.0%} of the area", find_cropped, "crop"),
    Check("blank_image", "One colour", "warning",
          "standard deviation of the colours, averaged to 64 x 64 pixels, below "
          f"{LEAST_SPREAD} of full range", find_blank, "remove"),
    Check("blurred", "Blurred", "warning",
          "the sharpest tenth of the edges has less than "
          f"{SHARPEST_BLUR:.0%} of its contrast within one pixel of the training size",
          find_blurred, "remove"),
    Check("overexposed", "Too bright", "warning",
          f"the darkest 2 % of what is not plain background are above {BRIGHTEST_BLACK:.0%} grey, "
          f"or more than {MOST_WHITE:.0%} of it is white", find_overexposed, "remove"),
    Check("underexposed", "Too dark", "warning",
          f"98 % of the image are below {DARKEST_WHITE:.0%} grey", find_underexposed, "remove"),
    Check("transparent", "Transparent", "note",
          f"more than {MOST_TRANSPARENT:.0%} of the pixels are not opaque", find_transparent),
)  # fmt: skip
