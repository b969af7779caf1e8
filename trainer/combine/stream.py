"""Writing a safetensors file tensor by tensor, so that never more than one is in memory."""

import hashlib
import shutil
import struct
import uuid
from pathlib import Path
from types import TracebackType
from typing import BinaryIO

import torch
from torch import Tensor

from datasets_tools.disk import remove_quietly, replace_file, sync_file
from datasets_tools.files import explain_write_error
from trainer.combine.errors import CombineError
from trainer.dtypes import CODES
from trainer.export.files import encode_header

_BLOCK_BYTES = 1 << 20
_SMALL_BYTES = 64


class TensorStream:
    """A safetensors file that grows tensor by tensor and appears when it is complete.

    The tensors are first written to a temporary file, because the header before them is known last.
    Use it as a context manager: without `finish`, no file is left. The file takes the place of an
    older one when the block ends, so that one of the files that are read can be replaced: Windows
    allows that only once they are closed. Open them in the same `with`, after the stream.

    Args:
        path: Of the final file.

    Raises:
        CombineError: it cannot be written there.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._body = path.parent / f".{uuid.uuid4().hex}.body.tmp"
        self._whole = path.parent / f".{uuid.uuid4().hex}.tmp"
        self._placed: list[tuple[str, Tensor, int]] = []
        # Scalars go first: after an odd number of 16-bit values they would not be aligned.
        self._small: list[tuple[str, bytes, Tensor]] = []
        self._length, self._finished = 0, False
        try:
            self._file: BinaryIO = self._body.open("wb")
        except OSError as error:
            raise self._explain(error) from error

    def __enter__(self) -> "TensorStream":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._file.close()
        try:
            if self._finished and error is None:
                replace_file(self._whole, self.path)
        except OSError as reason:
            raise self._explain(reason) from reason
        finally:
            remove_quietly(self._body)
            remove_quietly(self._whole)

    @property
    def empty(self) -> bool:
        """Whether no tensor was added."""
        return not self._placed and not self._small

    def add(self, name: str, tensor: Tensor) -> None:
        """Writes one tensor.

        Raises:
            CombineError: the disk is full.
        """
        content = to_bytes(tensor)
        if tensor.ndim == 0 and len(content) <= _SMALL_BYTES:
            self._small.append((name, bytes(content), tensor.to("meta")))
            return
        try:
            self._file.write(content)
        except OSError as error:
            raise self._explain(error) from error
        self._placed.append((name, tensor.to("meta"), self._length))
        self._length += len(content)

    def finish(self, metadata: dict[str, str]) -> str:
        """Completes the file; returns its hash, sha256 over the tensors' bytes.

        Args:
            metadata: The header without the hashes, which are added here.

        Raises:
            CombineError: the disk is full.
        """
        try:
            self._file.close()
            digest = self._hash()
            hashes = {"sshs_model_hash": digest, "modelspec.hash_sha256": f"0x{digest}"}
            text = encode_header(self._make_index(), {**metadata, **hashes})
            with self._whole.open("wb") as whole, self._body.open("rb") as body:
                whole.write(struct.pack("<Q", len(text)) + text)
                whole.write(self._join_small())
                shutil.copyfileobj(body, whole, _BLOCK_BYTES)
                sync_file(whole)
        except OSError as error:
            raise self._explain(error) from error
        self._finished = True
        return digest

    def _hash(self) -> str:
        digest = hashlib.sha256(self._join_small())
        with self._body.open("rb") as body:
            while block := body.read(_BLOCK_BYTES):
                digest.update(block)
        return digest.hexdigest()

    def _join_small(self) -> bytes:
        return b"".join(content for _, content, _ in self._small)

    def _make_index(self) -> dict[str, object]:
        index: dict[str, object] = {}
        start = 0
        for name, content, tensor in self._small:
            index[name] = describe_tensor(tensor, start)
            start += len(content)
        for name, tensor, place in self._placed:
            index[name] = describe_tensor(tensor, start + place)
        return index

    def _explain(self, error: OSError) -> CombineError:
        return CombineError(explain_write_error(self.path, error))


def describe_tensor(tensor: Tensor, start: int) -> dict[str, object]:
    """Returns a tensor's entry in the header."""
    end = start + tensor.numel() * tensor.element_size()
    return {
        "dtype": CODES[tensor.dtype],
        "shape": list(tensor.shape),
        "data_offsets": [start, end],
    }


def to_bytes(tensor: Tensor) -> memoryview:
    """Returns a tensor's bytes."""
    return tensor.detach().contiguous().reshape(-1).view(torch.uint8).numpy().data
