"""CLIP's byte-level tokenizer, cut to its most frequent merges.

Every text still has tokens, since every byte has one: a trigger word of any spelling works.
"""

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from transformers import CLIPTokenizer

from recipe.errors import RecipeError

POSITIONS = 77
START, END = "<|startoftext|>", "<|endoftext|>"
_BYTES = 256


def cut_tokenizer(source: Path, merges: int) -> CLIPTokenizer:
    """Returns the tokenizer of a `tokenizer.json`, with only its first merges.

    Args:
        source: A CLIP tokenizer with at least so many merges; the one of the shipped starter
            model has 6,000 of CLIP's 48,894.
        merges: How many to keep.

    Raises:
        RecipeError: the file is missing, damaged, or too short.
    """
    try:
        model = json.loads(source.read_text(encoding="utf-8"))["model"]
        order = sorted(model["vocab"], key=model["vocab"].get)
        pairs = [tuple(pair.split() if isinstance(pair, str) else pair) for pair in model["merges"]]
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        msg = f"{source} is not a tokenizer.json of CLIP ({error!r}). Restore it from the project."
        raise RecipeError(msg) from error
    if merges > len(pairs):
        msg = f"{source} holds {len(pairs)} merges, {merges} are wanted. Lower data.merges."
        raise RecipeError(msg)
    remaining = pairs[:merges]
    tokens = [*order[: 2 * _BYTES], *("".join(pair) for pair in remaining), START, END]
    tokenizer = CLIPTokenizer(
        vocab={token: number for number, token in enumerate(tokens)},
        merges=remaining,
        model_max_length=POSITIONS,
    )
    tokenizer.pad_token = END
    return tokenizer


def save_tokenizer(tokenizer: CLIPTokenizer, folder: Path) -> None:
    """Writes the tokenizer, also in the two files that older versions of transformers read."""
    tokenizer.save_pretrained(folder)
    model = json.loads((folder / "tokenizer.json").read_text(encoding="utf-8"))["model"]
    (folder / "vocab.json").write_text(json.dumps(model["vocab"], ensure_ascii=False), "utf-8")
    lines = [" ".join(pair) for pair in model["merges"]]
    (folder / "merges.txt").write_text("#version: 0.2\n" + "\n".join(lines) + "\n", "utf-8")


def tokenize(tokenizer: CLIPTokenizer, captions: Sequence[str]) -> NDArray[np.int16]:
    """Returns one row of `POSITIONS` tokens per caption, [captions, POSITIONS].

    Raises:
        RecipeError: a caption is longer than that; captions are ours, so none may be cut.
    """
    rows = np.full((len(captions), POSITIONS), tokenizer.eos_token_id, dtype=np.int16)
    for start in range(0, len(captions), 10_000):
        part = list(captions[start : start + 10_000])
        for offset, tokens in enumerate(tokenizer(part, verbose=False)["input_ids"]):
            if len(tokens) > POSITIONS:
                msg = f"The caption {part[offset]!r} is {len(tokens)} tokens long, not {POSITIONS}."
                raise RecipeError(msg)
            rows[start + offset, : len(tokens)] = tokens
    return rows
