"""Which preset fits: by the kind of base model, the goal and the memory, each with its reason."""

from dataclasses import dataclass

from trainer.config.presets import (
    BALANCED,
    STARTER,
    Choice,
    get_family,
    list_choices,
    list_kinds,
    list_memories,
    read_kind,
)
from trainer.formats.families import FAMILIES, SD15

_USUAL_GOAL = "style"
_USUAL_MEMORY = 8
GB = 1_000_000_000


@dataclass(frozen=True)
class Guess:
    """The kind of a base model, as far as its file shows.

    Attributes:
        kind: A key of `list_kinds`, or the starter model's.
        reason: By what it is known.
    """

    kind: str
    reason: str


@dataclass(frozen=True)
class Suggestion:
    """A preset, and why it.

    Attributes:
        choice: The rows that it is composed of.
        reason: Why these, in a sentence.
    """

    choice: Choice
    reason: str


def guess_kind(name: str, family: str = "", prediction: str = "") -> Guess:
    """Returns the kind of a base model.

    Args:
        name: Of its file or folder. It only decides between the kinds of one family.
        family: A key of `FAMILIES`; "" where it is not known yet.
        prediction: What it predicts; "" where it is not known.
    """
    plain = name.lower()
    if plain.startswith(STARTER):
        return Guess(STARTER, "it is the starter model")
    spec = FAMILIES.get(family, SD15)
    by_family = f"its weights are those of {spec.title}" if family else "it was not read yet"
    kinds = [kind for kind in list_kinds() if get_family(kind) == spec.presets]
    for kind in kinds:
        expected = read_kind(kind).get("prediction")
        if expected and expected == prediction:
            return Guess(kind, f"{by_family} and it predicts {prediction}")
    for kind in reversed(kinds):
        row = read_kind(kind)
        hint = next((hint for hint in row.get("hints", ()) if hint in plain), "")
        if hint:
            return Guess(kind, f"{by_family} and its name holds “{hint}”")
    return Guess(kinds[0], f"{by_family} and its name holds nothing that is known")


def suggest_preset(
    base: Guess, goal: str = "", memory_bytes: int = 0, care: str = BALANCED
) -> Suggestion:
    """Returns the preset that fits.

    Args:
        base: The base model.
        goal: A key of `list_goals`; "" takes a style, which needs no trigger word.
        memory_bytes: Of the device; 0 where it is not known.
        care: A key of `list_care`.
    """
    choice = Choice(base.kind, goal or _USUAL_GOAL, choose_memory(base.kind, memory_bytes), care)
    reasons = [f"The base model counts as {describe_kind(base.kind)}, because {base.reason}."]
    if not goal:
        reasons.append("No goal was given, and a style needs no trigger word.")
    if base.kind != STARTER:
        reasons.append(_explain_memory(choice.memory, memory_bytes))
    return Suggestion(choice, " ".join(reasons))


def describe_kind(kind: str) -> str:
    """Returns what a kind of base model is."""
    return "the starter model" if kind == STARTER else list_kinds()[kind]


def choose_memory(kind: str, memory_bytes: int) -> int:
    """Returns the largest size of memory with presets that a device has; 8 GB where unknown."""
    sizes = list_memories() if kind == STARTER else list_memories(get_family(kind))
    if not memory_bytes:
        return _USUAL_MEMORY
    return max((size for size in sizes if size * GB <= memory_bytes), default=min(sizes))


def _explain_memory(size: int, memory_bytes: int) -> str:
    if not memory_bytes:
        return f"The memory is not known, and {size} GB are usual."
    has = memory_bytes / GB
    if size > has:
        return f"The device has {has:.1f} GB, less than any preset is made for."
    return f"The device has {has:.1f} GB."


def fits_preset(preset: str, kind: str) -> bool:
    """Whether a preset was made for a kind of base model."""
    choice = list_choices().get(preset)
    return choice.kind == kind if choice else preset.partition("-")[0] == kind
