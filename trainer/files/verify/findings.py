"""The findings of a file check, each with its effect in every program."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

PROGRAMS = ("diffusers", "A1111", "Forge", "ComfyUI", "InvokeAI", "sd-scripts")
Severity = Literal["error", "warning", "note"]


@dataclass(frozen=True)
class Effect:
    """What a program does with a file.

    Attributes:
        loads: "partly" also stands for a wrong effect.
        text: In words that need no subject, "file refused".
    """

    loads: Literal["no", "partly"]
    text: str


REFUSES = Effect("no", "file refused")
NOTHING = Effect("no", "no effect")
LEAVES_OUT = Effect("partly", "these layers left out")
WRONG = Effect("partly", "these layers applied wrongly")
Effects = Mapping[str, Effect]
MOST_LEFTOVERS = 12  # keys that Forge does not know and still loads the others


@dataclass(frozen=True)
class Finding:
    """One problem or notable fact.

    Attributes:
        severity: "error" where the file is wrong, or programs refuse or ruin it; "warning" where
            one program reads it otherwise or the header misleads; "note" for what the chosen kind
            or format brings along.
        rule: Name of the rule in `RULES`.
        message: A sentence: what and where.
        effects: Per program; those that are not named read the file as it is meant.
    """

    severity: Severity
    rule: str
    message: str
    effects: Effects = field(default_factory=dict)

    def to_line(self) -> str:
        """Returns the finding as one line."""
        programs: dict[str, list[str]] = {}
        for program, effect in self.effects.items():
            programs.setdefault(effect.text, []).append(program)
        effects = "; ".join(f"{', '.join(names)}: {text}" for text, names in programs.items())
        return f"{self.severity}: {self.message}" + (f" [{effects}]" if effects else "")


def name_some(names: Sequence[str]) -> str:
    """Returns the first name and how many there are more."""
    if len(names) == 1:
        return names[0]
    return f"{names[0]} and {len(names) - 1} more"


def join_words(words: Sequence[str]) -> str:
    """Returns words as in a sentence: "A, B and C"."""
    *first, last = words
    return f"{', '.join(first)} and {last}" if first else last


def forge_on_leftovers(keys: int) -> Effect:
    """Returns what Forge does with keys that it does not know: up to twelve are left out."""
    return REFUSES if keys > MOST_LEFTOVERS else LEAVES_OUT
