"""Textual-inversion embeddings: trained vectors that stand for a token in captions.

Textual inversion (Gal et al. 2022, arXiv:2208.01618, section 4.3). The tokenizer stays unchanged;
where a caption contains an added token, its ids are replaced by placeholders, for which the text
encoder's embedding table returns the trained vectors.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from trainer.models.errors import ModelError


class TextualInversion(nn.Module):
    """The embedding of one token.

    Attributes:
        spelling: The word as written in captions.
        vectors: One parameter per text encoder, [count, width], fp32.
        enabled: Whether captions with the word use the vectors; else it is ordinary text.
    """

    def __init__(self, vocabulary: "Vocabulary", spelling: str, vectors: Sequence[Tensor]) -> None:
        super().__init__()
        self.spelling = spelling
        self.vectors = nn.ParameterList([nn.Parameter(each) for each in vectors])
        self.enabled = True
        self._vocabulary = vocabulary

    @property
    def count(self) -> int:
        """Number of vectors."""
        return len(self.vectors[0])

    def forget(self) -> None:
        """Removes the token from the base model."""
        self._vocabulary.forget(self)


class Vocabulary:
    """The tokens of a base model's text encoders, with those that were added.

    Args:
        encoders: The text encoders, whose embedding tables are wrapped while there are added
            tokens.
        tokenizers: One per encoder.
    """

    def __init__(self, encoders: Sequence[Any], tokenizers: Sequence[Any]) -> None:
        self._encoders, self._tokenizers = list(encoders), list(tokenizers)
        self.words: list[TextualInversion] = []

    def initial_vectors(self, text: str, count: int) -> list[Tensor]:
        """Returns the embeddings of a text's tokens, repeated or cut to a number of vectors.

        Returns:
            Per text encoder [count, width], fp32; the initial vectors of a new token.

        Raises:
            ModelError: the text has no tokens.
        """
        vectors = []
        for encoder, tokenizer in zip(self._encoders, self._tokenizers, strict=True):
            tokens = _spell(tokenizer, text)
            if not tokens:
                msg = f"The text encoder knows no token in “{text}”. Choose another word."
                raise ModelError(msg)
            table = _table_of(encoder).weight.detach()
            rows = [tokens[index % len(tokens)] for index in range(count)]
            vectors.append(table[torch.tensor(rows, device=table.device)].float())
        return vectors

    def add_token(self, spelling: str, vectors: Sequence[Tensor]) -> TextualInversion:
        """Adds a token; where there is one of the same spelling, the new one is used.

        Raises:
            ModelError: the vectors have the width of other text encoders.
        """
        widths = [_table_of(encoder).weight.shape[1] for encoder in self._encoders]
        if [vector.shape[1] for vector in vectors] != widths:
            given = " and ".join(str(vector.shape[1]) for vector in vectors)
            msg = (
                f"The vectors of “{spelling}” are {given} wide, and this base model's text "
                f"encoders need {' and '.join(map(str, widths))}: they are another family's."
            )
            raise ModelError(msg)
        if not all(_spell(tokenizer, spelling) for tokenizer in self._tokenizers):
            msg = f"The text encoder knows no token in “{spelling}”. Choose another word."
            raise ModelError(msg)
        word = TextualInversion(self, spelling, vectors)
        if not self.words:
            for number, encoder in enumerate(self._encoders):
                table = encoder.get_input_embeddings()
                encoder.set_input_embeddings(_Table(table, self, number))
        self.words.append(word)
        return word

    def forget(self, word: TextualInversion) -> None:
        """Removes a token; without any the text encoders are unchanged."""
        self.words = [each for each in self.words if each is not word]
        if not self.words:
            for encoder in self._encoders:
                encoder.set_input_embeddings(_table_of(encoder))

    def tokenize(self, number: int, caption: str) -> list[int]:
        """Returns a caption's tokens for a text encoder, without start and end.

        The vectors of added tokens are negative: -1 is the first vector of the first token.

        Args:
            number: Of the encoder.
            caption: The text.
        """
        tokenizer = self._tokenizers[number]
        tokens = _spell(tokenizer, caption)
        first = 1
        replacements = []
        for word in self.words:
            places = list(range(-first, -first - word.count, -1))
            first += word.count
            if word.enabled:
                replacements.append((_spell(tokenizer, word.spelling), places))
        # The newest first, so that of two tokens of one spelling that one is used.
        for spelling, places in reversed(replacements):
            tokens = _replace(tokens, spelling, places)
        return tokens


class _Table(nn.Module):
    """A text encoder's embedding table, with added tokens."""

    def __init__(self, table: nn.Embedding, vocabulary: Vocabulary, number: int) -> None:
        super().__init__()
        self.table = table
        self._vocabulary, self._number = vocabulary, number

    @property
    def weight(self) -> Tensor:
        """The base model's own rows, [tokens, width]."""
        return self.table.weight

    def forward(self, tokens: Tensor) -> Tensor:
        """Returns the rows of tokens, [B, tokens, width]; those below zero are added tokens."""
        known: Tensor = self.table(tokens.clamp(min=0))
        trained = torch.cat([word.vectors[self._number] for word in self._vocabulary.words])
        chosen = trained.to(known.dtype)[(-1 - tokens).clamp(min=0)]
        return torch.where((tokens < 0).unsqueeze(-1), chosen, known)


def _table_of(encoder: Any) -> nn.Embedding:
    table = encoder.get_input_embeddings()
    return table.table if isinstance(table, _Table) else table


def _spell(tokenizer: Any, text: str) -> list[int]:
    return list(tokenizer(text, add_special_tokens=False, verbose=False).input_ids)


def _replace(tokens: list[int], old: list[int], new: list[int]) -> list[int]:
    replaced, index = [], 0
    while index < len(tokens):
        if tokens[index : index + len(old)] == old:
            replaced += new
            index += len(old)
        else:
            replaced.append(tokens[index])
            index += 1
    return replaced
