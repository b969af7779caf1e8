"""Pivotal tuning: the trigger as a textual-inversion embedding, trained with the adapters."""

from collections.abc import Iterable, Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

from trainer.config import RunConfig
from trainer.export import AdapterFile, ExportError, order_vectors, read_embedding
from trainer.formats.embedding import find_embedding
from trainer.models import Family, ModelError, TextualInversion


def add_trigger_embedding(
    family: Family, config: RunConfig, device: torch.device
) -> TextualInversion | None:
    """Makes the trigger a word of a base model that a run learns; None where it is plain text.

    It starts from what the base model knows of the class word, or of the trigger's own letters.

    Raises:
        ModelError: the text encoder knows no token of it.
    """
    count, dataset = config.adapter.word_vectors, config.dataset
    if not count:
        return None
    start = family.vocabulary.initial_vectors(dataset.class_word or dataset.trigger, count)
    return family.vocabulary.add_token(dataset.trigger, start).to(device)


def load_trigger_embedding(
    family: Family, file: Path, device: torch.device
) -> TextualInversion | None:
    """Adds the embedding beside an exported file to a base model; None where there is none.

    Raises:
        ExportError: the word's file is damaged or was made for another family.
    """
    path = find_embedding(file)
    if path is None:
        return None
    try:
        word = family.vocabulary.add_token(path.stem, read_embedding(path))
    except ModelError as error:
        raise ExportError(str(error)) from error
    return word.to(device).requires_grad_(requires_grad=False)


class BundledEmbeddings:
    """The embeddings that are bundled with a file's layers, as OneTrainer writes them.

    Args:
        words: Tokens that were added to a base model.
    """

    def __init__(self, words: Sequence[TextualInversion]) -> None:
        self._words = list(words)
        self.spelling = ", ".join(word.spelling for word in words)

    @property
    def enabled(self) -> bool:
        """Whether captions with the words use their vectors."""
        return all(word.enabled for word in self._words)

    @enabled.setter
    def enabled(self, value: bool) -> None:
        for word in self._words:
            word.enabled = value

    @property
    def vectors(self) -> list[Tensor]:
        """The vectors of all words."""
        return [vector for word in self._words for vector in word.vectors]

    def named_parameters(self) -> Iterable[tuple[str, nn.Parameter]]:
        """Returns nothing: they are not trained."""
        return ()

    def to(self, device: torch.device) -> None:
        """Moves their vectors."""
        for word in self._words:
            word.to(device)

    def forget(self) -> None:
        """Removes the tokens from the base model."""
        for word in self._words:
            word.forget()


def load_bundled_embeddings(
    family: Family, file: AdapterFile, device: torch.device
) -> BundledEmbeddings | None:
    """Adds the embeddings that are bundled with a file to a base model; None where there are none.

    Raises:
        ExportError: they were made for another family.
    """
    words: list[TextualInversion] = []
    try:
        for word, parts in file.words.items():
            vectors = order_vectors(parts)
            if vectors is None or any(vector.ndim != 2 for vector in vectors):
                names = ", ".join(sorted(parts))
                msg = f"{file.path.name} bundles an embedding that is not read here: {names}."
                raise ExportError(msg)
            added = family.vocabulary.add_token(word, [each.float() for each in vectors])
            words.append(added.to(device).requires_grad_(requires_grad=False))
    except (ExportError, ModelError) as error:
        for added in words:
            added.forget()
        raise ExportError(str(error)) from error
    return BundledEmbeddings(words) if words else None
