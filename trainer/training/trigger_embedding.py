"""Pivotal tuning: the trigger as a textual-inversion embedding, trained with the adapters."""

from pathlib import Path

import torch

from trainer.config import RunConfig
from trainer.export import ExportError, read_embedding
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
