"""What changes in a caption each time it is shown: the order of tags, and which are there."""

import random
import re
from dataclasses import dataclass

_ALTERNATIVES = re.compile(r"\{([^{}]*\|[^{}]*)\}")  # the innermost ones


@dataclass(frozen=True)
class CaptionVariation:
    """How a caption is varied; the default leaves it as it is.

    Attributes:
        shuffle: Puts the tags that are not kept in random order.
        keep: How many tags in front are kept: neither moved nor left out.
        separator: Where a caption has it, the tags before it are kept instead, and those after a
            second one stay last; it is not shown itself. "" for none.
        tag_dropout: The probability with which each tag that is not kept is left out, 0 .. 1.
        protected: Tags in lower case that are never left out.
        alternatives: Replaces `{a|b}` by one of its parts.
    """

    shuffle: bool = False
    keep: int = 1
    separator: str = ""
    tag_dropout: float = 0.0
    protected: frozenset[str] = frozenset()
    alternatives: bool = False

    @property
    def changes(self) -> bool:
        """Whether a caption may differ from one time to the next."""
        return self.shuffle or self.tag_dropout > 0 or self.alternatives


def vary_caption(caption: str, variation: CaptionVariation, rng: random.Random) -> str:
    """Return a caption as it is shown once."""
    if variation.alternatives:
        caption = choose_alternatives(caption, rng)
    whole = not (variation.shuffle or variation.tag_dropout)
    if whole and not (variation.separator and variation.separator in caption):
        return caption  # with its own spaces and commas
    first, loose, last = _divide(caption, variation)
    if variation.shuffle:
        rng.shuffle(loose)
    if variation.tag_dropout:
        loose = [tag for tag in loose if _survives(tag, variation, rng)]
    return ", ".join(first + loose + last)


def choose_alternatives(caption: str, rng: random.Random) -> str:
    """Return the caption with one of `a`, `b` for each `{a|b}`, all equally probable.

    Alternatives may hold others, and may be empty. Braces without a bar stay as they are.
    """
    while match := _ALTERNATIVES.search(caption):
        chosen = rng.choice(match.group(1).split("|"))
        caption = f"{caption[: match.start()]}{chosen}{caption[match.end() :]}"
    return " ".join(caption.split())


def _divide(caption: str, variation: CaptionVariation) -> tuple[list[str], list[str], list[str]]:
    """Return the tags that are kept in front, those that are varied, and those kept at the end."""
    separator = variation.separator
    if separator and separator in caption:
        first, _, rest = caption.partition(separator)
        loose, _, last = rest.partition(separator)
        return _split(first), _split(loose), _split(last.replace(separator, ","))
    tags = _split(caption)
    keep = max(variation.keep, 0)
    return tags[:keep], tags[keep:], []


def _split(text: str) -> list[str]:
    return [tag.strip() for tag in text.split(",") if tag.strip()]


def _survives(tag: str, variation: CaptionVariation, rng: random.Random) -> bool:
    # Sampled for protected tags, too, so that protecting one does not change the others.
    survives = rng.random() >= variation.tag_dropout
    return survives or tag.lower() in variation.protected
