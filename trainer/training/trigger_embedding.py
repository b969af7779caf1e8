"""Pivotal tuning: the trigger as a learned word, trained together with the adapters."""

from pathlib import Path

import torch

from trainer.config import RunConfig
from trainer.export import ExportError, read_embedding
from trainer.formats.embedding import find_embedding
from trainer.models import Family, LearnedWord, ModelError


def teach_trigger(family: Family, config: RunConfig, device: torch.device) -> LearnedWord | None:
    """Makes the trigger a word of a base model that a run learns; None where it is plain text.

    It starts from what the base model knows of the class word, or of the trigger's own letters.

    Raises:
        ModelError: the text encoder knows no token of it.
    """
    count, dataset = config.adapter.word_vectors, config.dataset
    if not count:
        return None
    start = family.vocabulary.look_up(dataset.class_word or dataset.trigger, count)
    return family.vocabulary.teach(dataset.trigger, start).to(device)


def teach_word_of(family: Family, file: Path, device: torch.device) -> LearnedWord | None:
    """Teaches a base model the word that lies beside an exported file; None where none does.

    Raises:
        ExportError: the word's file is damaged or was made for another family.
    """
    path = find_embedding(file)
    if path is None:
        return None
    try:
        word = family.vocabulary.teach(path.stem, read_embedding(path))
    except ModelError as error:
        raise ExportError(str(error)) from error
    return word.to(device).requires_grad_(requires_grad=False)
