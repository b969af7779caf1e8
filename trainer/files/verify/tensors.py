"""Rules about single tensors: number formats, sizes that no weight has, bundled embeddings."""

from collections.abc import Iterator

from trainer.files.read.family import measure
from trainer.files.read.keys import KeyGroup
from trainer.files.verify.facts import FileFacts
from trainer.files.verify.findings import (
    MOST_LEFTOVERS,
    PROGRAMS,
    REFUSES,
    WRONG,
    Effect,
    Finding,
    name_some,
)
from trainer.formats.families import FamilySpec
from trainer.formats.precision import BY_CODE

_NO_NUMBERS = Effect("no", "weights of a format that it does not expect")
# Parts that are whole numbers or flags: (IA)³ stores whether it scales inputs.
_NOT_WEIGHTS = {"alpha", "on_input", "reshape_weight"}
_USUAL_KERNEL = 3 * 3
_READERS_OF_DORA = ("ComfyUI", "Forge", "A1111", "InvokeAI")


def check_number_formats(facts: FileFacts) -> Iterator[Finding]:
    """Every weight is in a format of real numbers; an alpha may be a whole number."""
    odd: dict[str, list[str]] = {}
    for group in facts.groups.values():
        for part, key in group.keys.items():
            code = facts.header.tensors[key].dtype
            is_real = code in BY_CODE and bool(BY_CODE[code].dtype)
            if part not in _NOT_WEIGHTS and not is_real:
                odd.setdefault(code, []).append(key)
    for code, keys in odd.items():
        yield Finding(
            "error",
            "number_formats",
            f"{len(keys)} weights are stored as {code}, which is no format of weights: "
            f"{name_some(keys)}.",
            dict.fromkeys(PROGRAMS, _NO_NUMBERS),
        )


def check_empty(facts: FileFacts) -> Iterator[Finding]:
    """No layer has rank 0."""
    empty = [
        spelling
        for spelling, group in facts.groups.items()
        if any(0 in facts.shapes[key] for key in group.keys.values())
    ]
    if empty:
        yield Finding(
            "error",
            "empty",
            f"{len(empty)} layers hold no number (rank 0), so that they change nothing: "
            f"{name_some(empty)}.",
            dict.fromkeys(PROGRAMS, REFUSES),
        )


def check_lengths(facts: FileFacts) -> Iterator[Finding]:
    """The lengths of DoRA are as many as the layer has channels on their axis."""
    wrong = []
    for spelling, group in facts.groups.items():
        key = group.keys.get("dora_scale", "")
        shape = facts.shapes.get(key, ())
        # One axis only is another rule's; a layer without all parts has no size.
        if len(shape) < 2 or not group.is_complete() or 0 in shape:
            continue
        rows, row = measure(group, facts.shapes)
        count = max(shape)
        channels = {rows} if shape[0] != 1 else _count_inputs(facts, group)
        if count not in channels:
            wrong.append(spelling)
    if wrong:
        shape = facts.shapes[facts.groups[wrong[0]].keys["dora_scale"]]
        rows, row = measure(facts.groups[wrong[0]], facts.shapes)
        sizes = " × ".join(map(str, shape))
        yield Finding(
            "error",
            "lengths",
            f"dora_scale has a length of another layer: {name_some(wrong)} has {sizes} for a "
            f"weight of {rows} × {row}.",
            dict.fromkeys(_READERS_OF_DORA, WRONG),
        )


def _count_inputs(facts: FileFacts, group: KeyGroup) -> set[int]:
    """Returns how many input channels a layer may have.

    A row of a convolution holds its input channels times the kernel's pixels. Only a plain LoRA
    shows the kernel; in the others a row may be that of a 3 × 3 kernel.
    """
    down = facts.shapes.get(group.keys.get("lora_down.weight", ""), ())
    if down:
        return {down[1]}
    row = measure(group, facts.shapes)[1]
    return {row, row // _USUAL_KERNEL} if row % _USUAL_KERNEL == 0 else {row}


def check_words(facts: FileFacts) -> Iterator[Finding]:
    """No textual-inversion embedding is bundled with the layers."""
    if not facts.words:
        return
    spec = facts.guess.spec
    for word, parts in facts.words.items():
        wrong = [
            key
            for part, key in parts.items()
            if spec and not _has_width(spec, part, facts.shapes[key])
        ]
        if wrong and spec:
            yield Finding(
                "error",
                "words",
                f"The embedding “{word}” has not the width of {spec.title}'s text encoders, as its "
                f"{wrong[0]} shows.",
                {"A1111": Effect("partly", "the embedding unusable")},
            )
    keys = sum(len(parts) for parts in facts.words.values())
    left_out = Effect("partly", "the embeddings left out")
    yield Finding(
        "note",
        "words",
        f"Embeddings are bundled with the layers, as OneTrainer does: {', '.join(facts.words)}.",
        {
            "diffusers": REFUSES,
            "ComfyUI": left_out,
            "sd-scripts": left_out,
            "InvokeAI": left_out,
            "Forge": REFUSES if keys > MOST_LEFTOVERS else left_out,
        },
    )


def _has_width(spec: FamilySpec, part: str, shape: tuple[int, ...]) -> bool:
    """Whether an embedding's part has the width of the text encoder that it is for."""
    first, *others = spec.text_encoders
    width = others[0].width if others and part.startswith("clip_g") else first.width
    return bool(shape) and shape[-1] == width
