"""Rules that change one caption: words replaced, tags added and removed, tags counted.

A tag is the text between two commas. Several at once are given as in a caption: "red, blue".
"""

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from datasets_tools.captions import normalise_caption, replace_trigger
from datasets_tools.errors import DatasetError

Edit = Callable[[str], str]


@dataclass(frozen=True)
class CaptionChange:
    """A change that is made to every caption.

    Attributes:
        what: A short description of the change, shown for undo.
        edit: From the old text of a caption to the new one.
    """

    what: str
    edit: Edit


def change_words(old: str, new: str) -> CaptionChange:
    """Returns the change that `replace_words` makes.

    Raises:
        DatasetError: there is nothing to look for.
    """
    old, new = normalise_caption(old), normalise_caption(new)
    if not old:
        raise DatasetError("There are no words to look for. Give the words to replace.")
    what = f"Replaced “{old}” by “{new}”" if new else f"Removed the words “{old}”"
    return CaptionChange(what, lambda caption: replace_words(caption, old, new))


def change_by_adding(tag: str, *, first: bool = False) -> CaptionChange:
    """Returns the change that `add_tag` makes.

    Raises:
        DatasetError: there is no tag to add.
    """
    tag = _read_tag(tag, "add")
    what = f"Added “{tag}” {'first' if first else 'at the end'}"
    return CaptionChange(what, lambda caption: add_tag(caption, tag, first=first))


def change_by_removing(tag: str) -> CaptionChange:
    """Returns the change that `remove_tag` makes.

    Raises:
        DatasetError: there is no tag to remove.
    """
    tag = _read_tag(tag, "remove")
    return CaptionChange(f"Removed the tag “{tag}”", lambda caption: remove_tag(caption, tag))


def replace_words(caption: str, old: str, new: str) -> str:
    """Returns the caption with other words where some whole words stood; case does not matter.

    Where the new words are "", the old ones are removed and what is left is tidied up.
    """
    return replace_trigger(caption, old, new)


def add_tag(caption: str, tag: str, *, first: bool = False) -> str:
    """Returns the caption with a tag at its end, or as its first; as it was if it has the tag."""
    caption = normalise_caption(caption)
    known = {*map(_fold, split_tags(caption))}
    new = [one for one in split_tags(normalise_caption(tag)) if _fold(one) not in known]
    if not new:
        return caption
    parts = [*new, caption] if first else [caption.rstrip(" ,"), *new]
    return ", ".join(part for part in parts if part)


def remove_tag(caption: str, tag: str) -> str:
    """Returns the caption without a tag; the same words inside of another tag stay."""
    caption = normalise_caption(caption)
    unwanted = {*map(_fold, split_tags(normalise_caption(tag)))}
    tags = split_tags(caption)
    remaining = [one for one in tags if _fold(one) not in unwanted]
    return caption if remaining == tags else ", ".join(remaining)


def split_tags(caption: str) -> list[str]:
    """Returns the parts between commas, without spaces around them."""
    return [tag.strip() for tag in caption.split(",") if tag.strip()]


def count_tags(captions: Iterable[str]) -> list[tuple[str, int]]:
    """Returns every tag with the number of captions that have it, the most frequent first."""
    counts = Counter(tag for caption in captions for tag in {*map(_fold, split_tags(caption))})
    return sorted(counts.items(), key=lambda pair: (-pair[1], pair[0]))


def _fold(tag: str) -> str:
    return tag.lower()


def _read_tag(text: str, verb: str) -> str:
    tags = split_tags(normalise_caption(text))
    if not tags:
        raise DatasetError(f"There is no tag to {verb}. Give the tag, or several with commas.")
    return ", ".join(tags)
