"""Whether a file matches the hub's checksum."""

import hashlib
from pathlib import Path

from trainer.hub.choice import HubFile

_BLOCK_BYTES = 1 << 20


def has_content(path: Path, file: HubFile) -> bool:
    """Whether a file is there and its bytes have the hub's checksum."""
    if not path.is_file() or path.stat().st_size != file.size:
        return False
    if file.sha256:
        return _digest(path, hashlib.sha256()) == file.sha256
    # Git names a small file by the SHA-1 of its content behind a short head.
    head = hashlib.sha1(f"blob {file.size}\0".encode(), usedforsecurity=False)
    return not file.blob or _digest(path, head) == file.blob


def _digest(path: Path, digest: "hashlib._Hash") -> str:
    with path.open("rb") as handle:
        for block in iter(lambda: handle.read(_BLOCK_BYTES), b""):
            digest.update(block)
    return digest.hexdigest()
