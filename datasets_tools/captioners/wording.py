"""Turning a model's answer into a caption: introductions are removed, the length is limited."""

import re

from datasets_tools.captions import normalise_caption
from datasets_tools.edits import split_tags

_IMAGE_NOUNS = "(?:image|picture|photo|photograph|illustration|drawing|painting)"
# These words are the same in every caption, so training would learn nothing from them but them.
_OPENING = re.compile(
    rf"(?:in (?:this|the) {_IMAGE_NOUNS},? (?:we can see|there (?:is|are)) "
    rf"|(?:this|the) {_IMAGE_NOUNS} (?:shows|depicts|features|displays|captures|contains|is of) "
    r"|there (?:is|are) |caption: ?)",
    re.IGNORECASE,
)
# A word that exists nowhere but in the captions of BLIP ("arafed man sitting on a bench").
_NONSENSE = re.compile(r"\baraf+ed? ", re.IGNORECASE)
_THOUGHTS = re.compile(r"<think>.*?(?:</think>|$)", re.DOTALL)
_MARKUP = re.compile(r"[*_`#]{2,}|^[#>] ")
_AROUND = " \"'\u2018\u2019\u201c\u201d"  # quotation marks of all kinds


def tidy_caption(text: str, max_words: int = 0) -> str:
    """Returns a caption from a language model's answer; "" if nothing is left.

    Args:
        text: The model's answer, perhaps with quotes, line breaks or an introduction.
        max_words: A longer caption is cut at a word; 0 never cuts.
    """
    plain = normalise_caption(_MARKUP.sub("", _THOUGHTS.sub("", text).strip())).strip(_AROUND)
    opening = _OPENING.match(plain)
    if opening:
        plain = plain[opening.end() :].strip(_AROUND)
    return cut_caption(_NONSENSE.sub("", plain), max_words)


def cut_caption(text: str, max_words: int) -> str:
    """Returns the first so many words of a caption; all of it for 0."""
    words = text.split()
    if not max_words or len(words) <= max_words:
        return text
    return " ".join(words[:max_words]).rstrip(" ,;:–-")


def cut_tags(text: str, max_words: int) -> str:
    """Returns as many whole tags from the front as have together at most so many words."""
    if not max_words:
        return text
    result: list[str] = []
    for tag in split_tags(text):
        max_words -= len(tag.split())
        if max_words < 0:
            break
        result.append(tag)
    return ", ".join(result)
