"""What a person should know before training on a base model, from its name and its header."""

import re
from collections.abc import Iterator

from trainer.formats.families import FAMILIES
from trainer.models.check import BaseModelInfo

# Marks in the names of models that were distilled to a few steps without guidance.
_DISTILLED = re.compile(
    r"turbo|lightning|hyper(?!net)|(?<![a-z])(lcm|tcd|dmd2?|pcm|flash)(?![a-z])"
)


def list_notes(info: BaseModelInfo) -> tuple[str, ...]:
    """Returns the notes, one or two sentences each."""
    return (*_note_distilled(info), *_note_extra_tokens(info))


def _note_distilled(info: BaseModelInfo) -> Iterator[str]:
    name = info.path.name.lower()
    match = _DISTILLED.search(name.removesuffix(".safetensors"))
    if match:
        yield (
            f"{info.path.name} is distilled to a few steps, by its name ({match[0]}): training on "
            "it unlearns that, and its samples with usual steps and guidance look wrong. Train on "
            f"the {FAMILIES[info.family].title} model that it was made from; the LoRA works on "
            "both."
        )


def _note_extra_tokens(info: BaseModelInfo) -> Iterator[str]:
    for part in info.parts.values():
        for file in part.files if part.config.get("vocab_size") else ():
            for name, entry in file.tensors.items():
                own = name.startswith(part.prefix) and "token_embedding.weight" in name
                more = entry.shape[0] - part.config["vocab_size"] if own and entry.shape else 0
                if more > 0:
                    yield (
                        f"{file.path.name} holds {more} tokens more than CLIP knows (textual-"
                        "inversion embeddings that were saved with it). They are not used."
                    )
