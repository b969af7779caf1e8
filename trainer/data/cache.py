"""A folder of tensors found by the content they were made from."""

import hashlib
import logging
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import save
from torch import Tensor

from datasets_tools.files import write_atomically
from trainer.tensor_file import load_tensors

_log = logging.getLogger(__name__)


class TensorCache:
    """Maps the parts of a key (image bytes, size, crop, encoder …) to named tensors on disk.

    Moving a dataset or changing an adapter re-uses what is here; another VAE makes other keys. A
    damaged file counts as missing, and a disk that is full only means that nothing is kept.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def get(self, *key: object) -> dict[str, Tensor] | None:
        """Returns the tensors kept under a key, or None."""
        path = self._locate(key)
        try:
            return load_tensors(path)
        except (FileNotFoundError, SafetensorError):
            return None

    def holds(self, *key: object) -> bool:
        """Returns whether there is a file under a key."""
        return self._locate(key).is_file()

    def put(self, tensors: dict[str, Tensor], *key: object) -> None:
        """Keeps tensors under a key."""
        path = self._locate(key)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            contiguous = {
                name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()
            }
            write_atomically(path, save(contiguous))
        except OSError as error:
            _log.warning(
                "The cache %s cannot be written (%s); going on without it.", self.folder, error
            )

    def _locate(self, key: tuple[object, ...]) -> Path:
        name = hashlib.sha256("/".join(str(part) for part in key).encode()).hexdigest()
        return self.folder / name[:2] / f"{name}.safetensors"
