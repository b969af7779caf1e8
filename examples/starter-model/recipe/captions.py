"""The grammar of captions: what an image is called, in a few wordings.

    caption = subject [", " style] [", on a " colour " background"] | nothing (one in ten)
    subject = name | a name | "an emoji of" a name | "a drawing of" a name
            | "a" size name | a name "and" a name | a name "next to" a name
            | a name "on the left and" a name "on the right"

Of two objects the first is always on the left, so that the order of words means something.
"""

import random

from recipe.icons import Icon
from recipe.packages import SETS

SIZE_WORDS: dict[str, tuple[str, ...]] = {"large": ("large", "big"), "small": ("small", "tiny")}

_STYLED = 0.75  # share of captions that name the style
_WHITE_NAMED = 0.1  # share of captions that name a white background
_MAIN_NAME = 0.7  # share of captions that use the name rather than one of its synonyms

# Words that already are a size: "a small large blue diamond" would be nonsense.
_SIZED_ALREADY = {"large", "small", "medium", "big", "tiny", "mini"}


def name_subject(name: str) -> str:
    """Returns a name with its article where it can have one."""
    words = name.replace("-", " ")
    last = words.split()[-1]
    if last.endswith("s") and not last.endswith(("ss", "us", "bus")):
        return words  # glasses, books
    return f"{'an' if words[0] in 'aeiou' else 'a'} {words}"


def can_be_sized(icon: Icon) -> bool:
    """Returns whether "a large" fits it."""
    return not _SIZED_ALREADY & set(icon.name.split("-"))


def caption_single(icon: Icon, size: str, colour: str, chance: random.Random) -> str:
    """Returns a caption for one object.

    Args:
        icon: The object.
        size: "", or a key of `SIZE_WORDS`.
        colour: A key of `colours.COLOURS`.
        chance: Chooses the wording.
    """
    name = _choose_name(icon, chance)
    if size:
        subject = name_subject(f"{chance.choice(SIZE_WORDS[size])}-{name}")
    else:
        plain, thing = name.replace("-", " "), name_subject(name)
        frames = (plain, thing, thing, f"an emoji of {thing}", f"a drawing of {thing}")
        subject = chance.choice(frames)
    return _finish(subject, icon.style, colour, chance)


def caption_pair(left: Icon, right: Icon, colour: str, chance: random.Random) -> str:
    """Returns a caption for two objects of one style, side by side."""
    one, other = (name_subject(_choose_name(icon, chance)) for icon in (left, right))
    frames = (
        f"{one} and {other}",
        f"{one} next to {other}",
        f"{one} on the left and {other} on the right",
    )
    return _finish(chance.choice(frames), left.style, colour, chance)


def prompt_for(name: str, style: str = "", colour: str = "white") -> str:
    """Returns the plainest caption, as a person would prompt."""
    return ", ".join((name_subject(name), *_describe_style(style), *_describe_ground(colour)))


def _choose_name(icon: Icon, chance: random.Random) -> str:
    if icon.synonyms and chance.random() >= _MAIN_NAME:
        return chance.choice(icon.synonyms)
    return icon.name


def _finish(subject: str, style: str, colour: str, chance: random.Random) -> str:
    style_words = _describe_style(style) if chance.random() < _STYLED else ()
    names_white = chance.random() < _WHITE_NAMED
    ground_words = _describe_ground(colour)
    if colour == "white" and names_white:
        ground_words = ("on a white background",)
    # "a cat on a red background" half of the time, "a cat, on a red background" otherwise.
    if ground_words and not style_words and chance.random() < 0.5:
        return f"{subject} {ground_words[0]}"
    return ", ".join((subject, *style_words, *ground_words))


def _describe_style(style: str) -> tuple[str, ...]:
    return (SETS[style].phrase,) if style else ()


def _describe_ground(colour: str) -> tuple[str, ...]:
    article = "an" if colour[0] in "aeiou" else "a"
    return () if colour == "white" else (f"on {article} {colour} background",)
