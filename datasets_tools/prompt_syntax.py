"""Prompt syntax in captions: weights, wildcards, names of networks, which training takes literally.

A1111, ComfyUI and their extensions read ``(word:1.3)``, ``{red|blue}``, ``__colour__`` and
``<lora:name:0.8>`` in prompts. A trainer shows the text encoder every sign of them. Plain brackets
as in ``saber (fate)`` are part of many tags, and stay.
"""

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from datasets_tools.captions import normalise_caption
from datasets_tools.edits import CaptionChange

_NUMBER = r"\s*[-+]?[0-9]*\.?[0-9]+\s*"


@dataclass(frozen=True)
class _Rule:
    """A kind of prompt syntax.

    Attributes:
        title: What it is called in a sentence.
        pattern: Where it is.
        put: What stands there instead.
    """

    title: str
    pattern: re.Pattern[str]
    put: str | Callable[[re.Match[str]], str]


def _take_first(match: re.Match[str]) -> str:
    return next((part for part in match[1].split("|") if part.strip()), "")


# In this order: what is inside of brackets is cleaned before them.
_RULES = (
    _Rule(
        "names of networks",
        re.compile(r"<\s*(?:lora|lyco|locon|loha|hypernet|embedding)\s*:[^<>]*>", re.IGNORECASE),
        "",
    ),
    _Rule("wildcards", re.compile(r"(?<!\w)__[A-Za-z0-9][A-Za-z0-9_/*.-]*?__(?!\w)"), ""),
    _Rule("choices", re.compile(r"\{([^{}]*\|[^{}]*)\}"), _take_first),
    _Rule("choices", re.compile(r"(?<!\\)\[([^\[\]|]*\|[^\[\]]*)\]"), _take_first),
    _Rule("prompt editing", re.compile(rf"(?<!\\)\[[^\[\]:]*:([^\[\]:]*):{_NUMBER}\]"), r"\1"),
    _Rule("weights", re.compile(rf"(?<!\\)\(([^()]*?):{_NUMBER}\)"), r"\1"),
    _Rule("weights", re.compile(r"(?<!\\)\(\(([^()]*)\)\)"), r"\1"),
    _Rule("weights", re.compile(r"(?<!\\)\[\[([^\[\]]*)\]\]"), r"\1"),
    _Rule("weights", re.compile(r"\{\{([^{}]*)\}\}"), r"\1"),
    _Rule("keywords", re.compile(r"(?:(?<=[\s,])|^)(?:BREAK|AND)(?=[\s,]|$)"), ","),
    _Rule("separators", re.compile(r"\|\|\|"), ","),
    _Rule("escaped brackets", re.compile(r"\\([()\[\]{}])"), r"\1"),
)


def find_prompt_syntax(caption: str) -> list[str]:
    """Return the kinds of prompt syntax in a caption, each once."""
    return list(dict.fromkeys(rule.title for rule in _RULES if rule.pattern.search(caption)))


def clean_prompt_syntax(caption: str) -> str:
    """Return the caption without prompt syntax; of choices the first one stays.

    A caption that has none is returned as it is.
    """
    caption = normalise_caption(caption)
    if not find_prompt_syntax(caption):
        return caption
    *rules, escaped = _RULES
    while any(rule.pattern.search(caption) for rule in rules):  # one may hold another
        for rule in rules:
            while rule.pattern.search(caption):
                caption = rule.pattern.sub(rule.put, caption)
    caption = escaped.pattern.sub(escaped.put, caption)  # once: it leaves what looks like syntax
    return ", ".join(" ".join(part.split()) for part in caption.split(",") if part.strip())


def change_by_cleaning() -> CaptionChange:
    """Return the change that `clean_prompt_syntax` makes."""
    return CaptionChange("Removed prompt syntax", clean_prompt_syntax)


def describe_prompt_syntax(captions: Iterable[tuple[str, str]]) -> str:
    """Return a sentence about the prompt syntax in captions; "" where there is none.

    Args:
        captions: Name and caption of each image.
    """
    names: dict[str, list[str]] = {}
    count = 0
    for name, caption in captions:
        kinds = find_prompt_syntax(caption)
        count += bool(kinds)
        for kind in kinds:
            names.setdefault(kind, []).append(name)
    if not count:
        return ""
    lists = "; ".join(f"{kind} ({_shorten(where)})" for kind, where in names.items())
    subject = "1 caption has" if count == 1 else f"{count} captions have"
    return (
        f"{subject} prompt syntax, which is learned as plain letters: {lists}. Remove it with "
        "“Clean” under “All captions”, or lorasmith captions FOLDER --clean; it can be undone."
    )


def _shorten(names: list[str]) -> str:
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return ", ".join(names[:3]) + more
