"""The path of the textual-inversion embedding of an exported file: one naming rule for all."""

from pathlib import Path

_FOLDER_ENDING = "-embedding"


def embedding_folder(file: Path) -> Path:
    """Returns the folder of the embedding beside an exported file."""
    return file.with_name(file.stem + _FOLDER_ENDING)


def find_embedding(file: Path) -> Path | None:
    """Returns the embedding that belongs to an exported file; None where there is none."""
    files = sorted(embedding_folder(file).glob("*.safetensors"))
    return files[0] if files else None
