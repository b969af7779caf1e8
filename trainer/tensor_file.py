"""Reading a whole safetensors file into memory, so that it is closed when the call returns."""

from pathlib import Path

from safetensors import safe_open
from torch import Tensor


def load_tensors(path: Path) -> dict[str, Tensor]:
    """Returns the tensors of a file, as copies.

    The library's own `load_file` returns tensors that keep the file mapped for as long as they
    live, and Windows refuses to replace or remove a file that is mapped anywhere.

    Raises:
        OSError: it cannot be read.
        SafetensorError: it is damaged.
    """
    with safe_open(path, framework="pt") as file:
        return {name: file.get_tensor(name).clone() for name in file.keys()}  # noqa: SIM118
