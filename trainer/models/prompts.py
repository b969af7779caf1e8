"""Captions as rows of tokens: chunks of 75 between a start and an end, as many as needed."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

Conditioning = dict[str, Tensor]
_MOST_CHUNKS = 4096
_MASK_STEP = 8  # xformers wants attention masks whose rows are multiples of this


@dataclass(frozen=True)
class TextSettings:
    """How captions are read.

    Attributes:
        layer: Which layer's output is used, counted from the last; 0 is the family's own.
        max_windows: Chunks of 75 tokens that a caption may fill.
    """

    layer: int = 0
    max_windows: int = 3


def split_into_chunks(tokenizer: Any, tokens: list[int], max_windows: int) -> list[list[int]]:
    """Returns a caption's tokens in chunks as long as the text encoder's positions.

    Each chunk is start, up to 75 tokens, end and padding, the way A1111 and ComfyUI feed long
    prompts; there is always at least one. What does not fit `max_windows` is left out.
    """
    length = tokenizer.model_max_length - 2
    pieces = [tokens[start : start + length] for start in range(0, len(tokens), length)] or [[]]
    return [_wrap(tokenizer, piece, length) for piece in pieces[:max_windows]]


def count_unread(
    tokenizers: Sequence[Any],
    tokenize: Callable[[int, str], list[int]],
    caption: str,
    text: TextSettings,
) -> int:
    """Returns how many tokens of a caption `split_into_chunks` leaves out, for any tokenizer.

    Args:
        tokenizers: One per text encoder.
        tokenize: From a tokenizer's number and a text to tokens.
        caption: The caption.
        text: How captions are read.
    """
    read = [text.max_windows * (tokenizer.model_max_length - 2) for tokenizer in tokenizers]
    return max(0, *(len(tokenize(n, caption)) - most for n, most in enumerate(read)))


def empty_chunk(tokenizer: Any) -> list[int]:
    """Returns the chunk of an empty caption."""
    return _wrap(tokenizer, [], tokenizer.model_max_length - 2)


def fill_up(tokenizer: Any, captions: Sequence[list[list[int]]]) -> list[list[list[int]]]:
    """Returns the chunks of captions with empty ones behind, so that all have as many."""
    most = max(map(len, captions))
    return [each + [empty_chunk(tokenizer)] * (most - len(each)) for each in captions]


class ChunkStore:
    """Chunks on a device: one that comes again is not copied there again.

    A copy from the main memory in every step would make the device wait for the CPU.

    Args:
        device: Where they are.
    """

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._rows: dict[tuple[int, ...], Tensor] = {}

    def place(self, chunks: Sequence[Sequence[int]]) -> Tensor:
        """Returns chunks as one tensor, [B, tokens]."""
        keys = [tuple(each) for each in chunks]
        if missing := [key for key in dict.fromkeys(keys) if key not in self._rows]:
            if len(self._rows) + len(missing) > _MOST_CHUNKS:  # of captions that vary
                self._rows.clear()
                missing = list(dict.fromkeys(keys))
            rows = torch.tensor(missing, device=self._device).unbind()
            self._rows.update(zip(missing, rows, strict=True))
        return torch.stack([self._rows[key] for key in keys])


def pick_hidden(outputs: Any, encoder: Any, layer: int, normalize: bool) -> Tensor:
    """Returns a hidden state of a text encoder counted from the end, [B, tokens, width].

    Args:
        outputs: Of the encoder, called with `output_hidden_states=True`.
        encoder: A CLIP text model, with or without a projection.
        layer: 1 is the last layer, 2 the one before it: "clip skip".
        normalize: Whether the final layer norm is applied, as SD 1.x and 2.x do.
    """
    hidden: Tensor = outputs.hidden_states[-layer]
    # The level text_model is there or not by transformers' version and class.
    core = getattr(encoder, "text_model", encoder)
    return core.final_layer_norm(hidden) if normalize else hidden


def gather_chunks(encoded: Tensor, counts: Sequence[int]) -> list[Tensor]:
    """Returns per caption its chunks one after another, each [1, chunks * tokens, width].

    Args:
        encoded: All captions' chunks, [sum of counts, tokens, width].
        counts: Chunks per caption.
    """
    return [part.flatten(0, 1).unsqueeze(0) for part in encoded.split(list(counts))]


def join_rows(rows: Sequence[Conditioning]) -> Conditioning:
    """Returns the conditioning of several captions as one batch.

    Where captions differ in length the shorter ones are filled up with zeros and "mask" [B,
    tokens] marks which tokens count, so that what a caption means does not depend on its
    neighbours.
    """
    lengths = [row["text"].shape[1] for row in rows]
    joined = {name: torch.cat([row[name] for row in rows]) for name in rows[0] if name != "text"}
    if len(set(lengths)) == 1:
        return {"text": torch.cat([row["text"] for row in rows]), **joined}
    longest = -(-max(lengths) // _MASK_STEP) * _MASK_STEP
    texts = [functional.pad(row["text"], (0, 0, 0, longest - row["text"].shape[1])) for row in rows]
    device = texts[0].device
    places = torch.arange(longest, device=device).unsqueeze(0)
    mask = places < torch.tensor(lengths, device=device).unsqueeze(1)
    return {"text": torch.cat(texts), "mask": mask, **joined}


def _wrap(tokenizer: Any, piece: list[int], length: int) -> list[int]:
    padding = [tokenizer.pad_token_id] * (length - len(piece))
    return [tokenizer.bos_token_id, *piece, tokenizer.eos_token_id, *padding]
