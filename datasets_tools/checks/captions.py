"""Checks of captions: missing, equal, the trigger, length, tags that contradict each other."""

import re
from collections.abc import Iterable

from datasets_tools.captions import count_trigger
from datasets_tools.checks.subject import Check, Hit, Subject
from datasets_tools.edits import split_tags

CHUNK_TOKENS = 75
FEWEST_FOR_COMMON = 5
FEWEST_TAGS = 3
# The pieces that CLIP's tokenizer never joins: each is at least one token.
_PIECE = re.compile(r"'(?:s|t|re|ve|m|ll|d)|[^\W\d_]+|\d|[^\s\w]+|_+", re.IGNORECASE)
# Of each row only one can be true of one subject.
CONTRADICTIONS = (
    ("long hair", "short hair", "bald"),
    ("open mouth", "closed mouth"),
    ("open eyes", "closed eyes"),
    ("indoors", "outdoors"),
    ("day", "night"),
    ("standing", "sitting", "lying", "kneeling"),
    ("full body", "close-up", "portrait"),
    ("from behind", "from front"),
    ("black and white", "colorful", "colourful"),
    ("monochrome", "colorful", "colourful"),
    ("1girl", "2girls", "3girls"),
    ("1boy", "2boys", "3boys"),
    ("solo", "2girls", "2boys", "multiple girls", "multiple boys", "group"),
    ("blonde hair", "black hair", "brown hair", "red hair", "white hair"),
    ("blue eyes", "brown eyes", "green eyes", "red eyes"),
    ("simple background", "detailed background"),
    ("smile", "frown"),
    ("sunny", "rain"),
)
_SEVERAL = re.compile(r"[2-9]\+?(?:girls|boys)|1girl.*1boy|1boy.*1girl|multiple|group|couple")
STYLES = (
    "anime style", "cartoon style", "comic style", "digital art", "digital painting", "flat style",
    "ghibli", "in the style of", "line art", "low poly", "manga style", "oil painting",
    "pencil drawing", "pixel art", "realistic style", "sketch style", "vector art", "watercolor",
    "watercolour", "art style", "illustration style", "3d render",
)  # fmt: skip


def count_pieces(caption: str) -> int:
    """Returns a number of tokens that the caption has at least, whatever the vocabulary."""
    return len(_PIECE.findall(caption))


def find_missing(subject: Subject) -> Iterable[Hit]:
    """Finds images without a caption."""
    hits = [
        at
        for at, one in enumerate(subject.examples)
        if not one.caption and at not in subject.unreadable
    ]
    if hits:
        has = "image has" if len(hits) == 1 else "images have"
        yield Hit(
            tuple(hits),
            f"{len(hits)} {has} no caption ({subject.list_names(hits)}). "
            "Describe each in a sentence or a few tags, or have captions suggested.",
        )


def find_identical(subject: Subject) -> Iterable[Hit]:
    """Finds a dataset whose captions are all the same."""
    captions = {example.caption for example in subject.examples}
    if len(subject.examples) > 1 and len(captions) == 1 and "" not in captions:
        yield Hit(
            (),
            f"All {len(subject.examples)} captions are the same, so captions cannot distinguish "
            "the images. Describe in each what is special about it.",
        )


def find_trigger_missing(subject: Subject) -> Iterable[Hit]:
    """Finds captions without the trigger word."""
    captioned = _list_captioned(subject)
    hits = [at for at in captioned if _count(subject, at) == 0] if subject.trigger.strip() else []
    if hits:
        yield Hit(
            tuple(hits),
            f"The trigger word “{subject.trigger}” is missing in {len(hits)} of "
            f"{len(captioned)} captions ({subject.list_names(hits)}). "
            "The trainer puts it in front of them.",
        )


def find_trigger_repeated(subject: Subject) -> Iterable[Hit]:
    """Finds captions with the trigger word more than once."""
    captioned = _list_captioned(subject)
    hits = [at for at in captioned if _count(subject, at) > 1]
    if hits:
        yield Hit(
            tuple(hits),
            f"The trigger word “{subject.trigger}” is in {len(hits)} of {len(captioned)} captions "
            f"more than once ({subject.list_names(hits)}). Once is enough; remove the others.",
        )


def find_long(subject: Subject) -> Iterable[Hit]:
    """Finds captions that one chunk of the text encoder does not hold."""
    counts = {at: count_pieces(one.caption) for at, one in enumerate(subject.examples)}
    if hits := [at for at, tokens in counts.items() if tokens > CHUNK_TOKENS]:
        is_longer = "caption is" if len(hits) == 1 else "captions are"
        yield Hit(
            tuple(hits),
            f"{len(hits)} {is_longer} longer than the {CHUNK_TOKENS} tokens of one chunk "
            f"({subject.list_names(hits)}; up to {max(counts.values())}). The rest is read in "
            "further chunks, or not at all where the base model allows only one: put what matters "
            "first, and shorten the rest.",
        )


def find_common(subject: Subject) -> Iterable[Hit]:
    """Finds tags that every caption has, besides the trigger."""
    captioned = _list_captioned(subject)
    trigger = subject.trigger.strip().lower()
    if not trigger or len(captioned) < FEWEST_FOR_COMMON:
        return  # without a trigger, what every caption has may be meant to be one
    common: dict[str, str] = {tag.lower(): tag for tag in _list_tags(subject, captioned[0])}
    for at in captioned[1:]:
        tags = {tag.lower() for tag in _list_tags(subject, at)}
        common = {key: tag for key, tag in common.items() if key in tags}
    words = [tag for key, tag in common.items() if trigger not in key]
    if words and len({subject.examples[at].caption for at in captioned}) > 1:
        shown = ", ".join(f"“{word}”" for word in words[:3])
        yield Hit(
            (),
            f"Every caption has {shown}, so what that names is learned only together with the "
            "rest. Remove it if the trigger word is to stand for it alone.",
        )


def find_contradictions(subject: Subject) -> Iterable[Hit]:
    """Finds captions with tags of which only one can be true."""
    hits = {
        at: both
        for at in _list_captioned(subject)
        if (both := _find_contradiction(_list_tags(subject, at)))
    }
    if hits:
        first = next(iter(hits))
        has = "caption has" if len(hits) == 1 else "captions have"
        yield Hit(
            tuple(hits),
            f"{len(hits)} {has} tags that contradict each other (“{hits[first][0]}” and "
            f"“{hits[first][1]}” in {subject.name(first)}). Remove the wrong one.",
        )


def find_style_named(subject: Subject) -> Iterable[Hit]:
    """Finds captions that name the style in a dataset that is to learn it."""
    if subject.goal != "style":
        return
    hits = {
        at: named
        for at in _list_captioned(subject)
        if (named := next((s for s in STYLES if s in subject.examples[at].caption.lower()), ""))
    }
    if hits:
        first = next(iter(hits))
        names = "caption names" if len(hits) == 1 else "captions name"
        yield Hit(
            tuple(hits),
            f"{len(hits)} {names} the style (“{hits[first]}” in {subject.name(first)}). What a "
            "caption names is not learned as the trigger's: remove it, and describe only what the "
            "image shows.",
        )


def _list_captioned(subject: Subject) -> list[int]:
    return [at for at, one in enumerate(subject.examples) if one.caption]


def _count(subject: Subject, at: int) -> int:
    return count_trigger(subject.examples[at].caption, subject.trigger)


def _list_tags(subject: Subject, at: int) -> list[str]:
    return split_tags(subject.examples[at].caption)


def _find_contradiction(tags: list[str]) -> tuple[str, str] | None:
    """Returns the first two tags that exclude each other; several subjects may have both."""
    present = {tag.lower() for tag in tags}
    if len(tags) < FEWEST_TAGS:
        return None
    several = bool(_SEVERAL.search(", ".join(sorted(present))))
    for row in CONTRADICTIONS:
        both = [tag for tag in row if tag in present]
        counts_people = row[0] in ("1girl", "1boy", "solo")
        if len(both) > 1 and (counts_people or not several):
            return both[0], both[1]
    return None


CHECKS = (
    Check("empty_caption", "No caption", "warning", "the caption is missing or empty", find_missing,
          "suggest"),
    Check("identical_captions", "Equal captions", "warning", "all captions are the same",
          find_identical, "suggest"),
    Check("trigger_missing", "No trigger", "warning", "a caption without the trigger word",
          find_trigger_missing, "add_trigger"),
    Check("trigger_repeated", "Trigger twice", "warning",
          "a caption with the trigger word more than once", find_trigger_repeated, "add_trigger"),
    Check("long_caption", "Long caption", "warning",
          f"more than {CHUNK_TOKENS} pieces (words, digits, signs), each at least one token",
          find_long),
    Check("common_tag", "In every caption", "note",
          f"a tag, besides a known trigger, in each of at least {FEWEST_FOR_COMMON} captions",
          find_common),
    Check("contradictory_tags", "Contradiction", "warning",
          "tags of one subject of which only one can be true, from a list", find_contradictions),
    Check("style_named", "Style named", "warning",
          "a name of a style, from a list, in a caption of a dataset that is to learn a style",
          find_style_named),
)  # fmt: skip
