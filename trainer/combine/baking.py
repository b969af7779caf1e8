"""Writing a base model's files with adapter deltas added to their weights.

Layout, names, order and number formats stay the same. Tensors are processed one at a time: never
more than one weight and its delta are in memory.
"""

import hashlib
import json
import shutil
import struct
import uuid
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

import torch
from torch import Tensor

from datasets_tools.disk import remove_quietly, rename, sync_file
from datasets_tools.files import write_aside
from trainer.combine.base_weights import BaseWeights
from trainer.combine.errors import CombineError
from trainer.combine.headers import name_source
from trainer.combine.merge import Progress
from trainer.combine.sources import Source
from trainer.combine.stream import to_bytes
from trainer.dtypes import STORED_DTYPES
from trainer.files.read.keys import VECTOR_KINDS, KeyGroup
from trainer.formats.header import TensorEntry, TensorFile
from trainer.models.weights import Stored

_HASHES = ("sshs_model_hash", "modelspec.hash_sha256", "sshs_legacy_hash")
_WEIGHT_FILES = {".safetensors", ".bin", ".ckpt", ".pt", ".pth", ".msgpack", ".h5", ".onnx", ".pb"}


# The parts of a file that are added to a vector of the model.
VECTOR_PARTS = {"weight": ("w_norm",), "bias": ("diff_b", "b_norm")}


@dataclass
class BakeResult:
    """The result of baking.

    Attributes:
        layers: How many weights were changed.
        rounded: Weights whose delta is so small that the number format lost most of it.
        words: Embeddings that are bundled with the files, which a base model cannot hold.
    """

    layers: int = 0
    rounded: list[str] = field(default_factory=list)
    words: list[str] = field(default_factory=list)


def _affects(group: KeyGroup, leaf: str) -> bool:
    """Whether the tensors of a layer change its weight or its bias."""
    if group.kind in VECTOR_KINDS or leaf == "bias":
        return any(part in group.keys for part in VECTOR_PARTS[leaf])
    return True


class Baker:
    """Reads the base model's tensors in order and writes them with the deltas added."""

    def __init__(
        self,
        base: BaseWeights,
        sources: Sequence[tuple[Source, float]],
        progress: Progress | None,
    ) -> None:
        self.base, self.sources, self.result = base, sources, BakeResult()
        self._progress, self._written = progress, 0
        # Several tensors of the model can be one in the file: query, key and value of OpenCLIP.
        self._uses: dict[tuple[Path, str], list[tuple[str, Stored]]] = {}
        for name, stored in base.stored.items():
            self._uses.setdefault((stored.file.path, stored.name), []).append((name, stored))
        files = {stored.file.path: stored.file for stored in base.stored.values()}
        self._files = files
        self._total = sum(e.end - e.start for f in files.values() for e in f.tensors.values())

    def write_file(self, file: TensorFile, to: Path) -> None:
        """Writes one file under a temporary name, then renames it."""
        with (
            write_aside(to) as aside,
            file.path.open("rb") as source,
            aside.open("w+b") as target,
        ):
            self._copy(file, source, target)
            sync_file(target)

    def write_folder(self, to: Path) -> None:
        """Writes a folder under a temporary name, then renames it."""
        aside, old = (to.parent / f".{uuid.uuid4().hex}.tmp" for _ in range(2))
        try:
            for path in sorted(self.base.path.rglob("*")):
                if path.is_file() and self._is_copied(path):
                    target = aside / path.relative_to(self.base.path)
                    target.parent.mkdir(parents=True, exist_ok=True)
                    file = self._files.get(path)
                    if file is None:
                        shutil.copyfile(path, target)
                    else:
                        self.write_file(file, target)
            if to.exists():
                rename(to, old)
            try:
                rename(aside, to)
            except OSError:
                if old.exists():
                    rename(old, to)
                raise
            remove_quietly(old)
        finally:
            remove_quietly(aside)

    def _is_copied(self, path: Path) -> bool:
        """Whether a file of the folder is copied: not the same weights in another format."""
        if path.suffix not in _WEIGHT_FILES:
            return True
        used = {file.path for part in self.base.info.parts.values() for file in part.files}
        folder = path.relative_to(self.base.path).parts[0]
        return path in used or (folder != path.name and folder not in self.base.info.parts)

    def _copy(self, file: TensorFile, source: BinaryIO, target: BinaryIO) -> None:
        digest = hashlib.sha256()
        header = self._make_header(file, "0" * 64)
        target.write(struct.pack("<Q", len(header)) + header)
        for name, entry in sorted(file.tensors.items(), key=lambda item: item[1].start):
            source.seek(file.body_start + entry.start)
            content: bytes | memoryview = source.read(entry.end - entry.start)
            tensors = self._uses.get((file.path, name), [])
            if any(self._list_sources(layer) for layer, _ in tensors):
                content = self._bake(file, name, entry, bytes(content), tensors)
            digest.update(content)
            target.write(content)
            self._written += len(content)
            if self._progress is not None:
                self._progress(self._written, self._total)
        target.seek(8)
        target.write(self._make_header(file, digest.hexdigest()))

    def _make_header(self, file: TensorFile, digest: str) -> bytes:
        """Returns the base model's header with its hashes and origin updated."""
        metadata = {key: value for key, value in file.metadata.items() if key not in _HASHES}
        if self.base.info.layout == "file":
            sources = [name_source(s.path, s.file.metadata) for s, _ in self.sources]
            own = file.metadata.get("modelspec.title", file.path.stem)
            metadata["modelspec.merged_from"] = ", ".join([own, *sources])
            metadata["modelspec.hash_sha256"] = f"0x{digest}"
        index: dict[str, object] = {"__metadata__": metadata} if metadata else {}
        for name, entry in file.tensors.items():
            index[name] = {
                "dtype": entry.dtype,
                "shape": list(entry.shape),
                "data_offsets": [entry.start, entry.end],
            }
        text = json.dumps(index, separators=(",", ":"), ensure_ascii=False).encode()
        return text + b" " * (-len(text) % 8)

    def _list_sources(self, name: str) -> list[tuple[Source, float]]:
        layer, _, leaf = name.rpartition(".")
        if leaf not in {"weight", "bias"}:
            return []
        return [
            (source, weight)
            for source, weight in self.sources
            if layer in source.file.groups and _affects(source.file.groups[layer], leaf)
        ]

    def _bake(
        self,
        file: TensorFile,
        name: str,
        entry: TensorEntry,
        content: bytes,
        tensors: Sequence[tuple[str, Stored]],
    ) -> memoryview:
        """Returns the bytes of a stored tensor with the deltas added."""
        dtype = STORED_DTYPES[entry.dtype]
        result = torch.frombuffer(bytearray(content), dtype=dtype).reshape(entry.shape).float()
        for target, use in tensors:
            delta = self._sum_deltas(target)
            if delta is None:
                continue
            part = result
            if use.source.form == "third":
                height = use.shape[0]
                part = result[use.source.third * height : (use.source.third + 1) * height]
            if use.source.form == "transposed":
                delta = delta.T
            expected = delta.reshape(part.shape)
            before = part.clone()
            part += expected
            self._check_rounding(target, part.to(dtype).float() - before, expected)
            self.result.layers += 1
        cast = result.to(dtype)
        if not torch.isfinite(cast.float()).all():
            msg = (
                f"{name} of {file.path.name} is not finite with the adapters added. Use "
                "smaller weights, or a base model in fp32."
            )
            raise CombineError(msg)
        return to_bytes(cast)

    def _check_rounding(self, target: str, actual: Tensor, expected: Tensor) -> None:
        """Records a weight whose number format lost more than half of its delta."""
        size = torch.linalg.vector_norm(expected)
        if size > 0 and torch.linalg.vector_norm(actual - expected) > 0.5 * size:
            self.result.rounded.append(target)

    def _sum_deltas(self, name: str) -> Tensor | None:
        """Returns the weighted sum of the files' deltas for a weight or a bias."""
        layer, _, leaf = name.rpartition(".")
        total: Tensor | None = None
        for source, weight in self._list_sources(name):
            module = source.file.read(layer)
            vector = next(
                (module.tensors[n] for n in VECTOR_PARTS[leaf] if n in module.tensors), None
            )
            if vector is not None:
                delta = vector * weight
            else:
                delta = source.make_delta(layer, module).multiply_out() * weight
            total = delta if total is None else total + delta
        return total
