"""Where the learned word of an exported file lies: a rule of names, for all who look for it."""

from pathlib import Path

_FOLDER_ENDING = "-embedding"


def embedding_folder(file: Path) -> Path:
    """Returns the folder beside an exported file in which its learned word lies."""
    return file.with_name(file.stem + _FOLDER_ENDING)


def find_embedding(file: Path) -> Path | None:
    """Returns the learned word that belongs to an exported file; None where there is none."""
    files = sorted(embedding_folder(file).glob("*.safetensors"))
    return files[0] if files else None
