"""The textual-inversion embedding of a run as a file, for A1111, ComfyUI, InvokeAI and others.

Those programs find an embedding by the name of its file, so the file is named as the word. It never
goes into the LoRA's own file: ComfyUI and InvokeAI would report the extra tensors as unknown.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import save
from torch import Tensor

from datasets_tools.files import explain_write_error, write_atomically
from trainer.export.errors import ExportError
from trainer.formats.embedding import embedding_folder
from trainer.tensor_file import load_tensors

_ONE_ENCODER = ("emb_params",)
_TWO_ENCODERS = ("clip_l", "clip_g")
_SHARED_KEYS = (
    "sai_model_spec",
    "implementation_version",
    "resolution",
    "date",
    "author",
    "license",
)


def write_embedding(
    file: Path, word: str, vectors: Sequence[Tensor], metadata: Mapping[str, str]
) -> Path:
    """Writes the textual-inversion embedding of an exported file beside it, in fp32.

    Args:
        file: The exported file.
        word: The token as written in prompts; the file gets its name.
        vectors: Per text encoder [count, width].
        metadata: The exported file's header; what is the embedding's, too, is taken over.

    Returns:
        The file written.

    Raises:
        ExportError: the disk is full, or a vector is not finite.
    """
    if not all(bool(torch.isfinite(vector).all()) for vector in vectors):
        msg = (
            f"The vectors of “{word}” hold a number that is not finite: the training diverged. "
            "Halve optimizer.word_learning_rate and start from the last checkpoint."
        )
        raise ExportError(msg)
    names = _ONE_ENCODER if len(vectors) == 1 else _TWO_ENCODERS
    tensors = {
        name: vector.detach().float().cpu().contiguous()
        for name, vector in zip(names, vectors, strict=True)
    }
    path = embedding_folder(file) / f"{word}.safetensors"
    try:
        path.parent.mkdir(exist_ok=True)
        write_atomically(path, save(tensors, _describe(word, metadata)))
    except OSError as error:
        raise ExportError(explain_write_error(path, error)) from error
    written = zip(read_embedding(path), tensors.values(), strict=True)
    if not all(torch.equal(*pair) for pair in written):
        msg = f"{path.name} does not hold what was written: the disk is failing. Choose another."
        raise ExportError(msg)
    return path


def read_embedding(path: Path) -> list[Tensor]:
    """Returns the vectors of an embedding file, per text encoder [count, width].

    Raises:
        ExportError: the file is damaged, or no embedding for these families.
    """
    try:
        tensors = load_tensors(path)
    except (OSError, SafetensorError) as error:
        msg = f"The embedding {path.name} cannot be read: {error}. Export the run again."
        raise ExportError(msg) from error
    names = next((n for n in (_ONE_ENCODER, _TWO_ENCODERS) if tensors.keys() == set(n)), None)
    if names is None or any(tensor.ndim != 2 for tensor in tensors.values()):
        stored = ", ".join(sorted(tensors)[:4])
        msg = (
            f"{path.name} is not an embedding for SD 1.x, SD 2.x or SDXL: it contains {stored}. "
            f"They "
            "contain "
            "emb_params, or clip_l and clip_g."
        )
        raise ExportError(msg)
    return [tensors[name].float() for name in names]


def order_vectors(parts: Mapping[str, Tensor]) -> list[Tensor] | None:
    """Returns the vectors of a bundled embedding, per text encoder; None for other families' parts.

    Args:
        parts: By the name that OneTrainer gives them: `clip_l` and `clip_g`, or one of any name.
    """
    if set(parts) == set(_TWO_ENCODERS):
        return [parts[name] for name in _TWO_ENCODERS]
    return list(parts.values()) if len(parts) == 1 else None


def _describe(word: str, header: Mapping[str, str]) -> dict[str, str]:
    shared = {f"modelspec.{key}" for key in _SHARED_KEYS}
    fields = {key: value for key, value in header.items() if key in shared}
    base, slash, _ = header.get("modelspec.architecture", "").partition("/")
    if slash:
        fields["modelspec.architecture"] = f"{base}/textual-inversion"
    return fields | {"modelspec.title": word, "modelspec.trigger_phrase": word}
