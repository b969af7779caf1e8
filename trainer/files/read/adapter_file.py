"""An adapter file: opened, its layers recognised, read one by one or as a whole."""

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open

from trainer.export.errors import ExportError
from trainer.export.names import known_names
from trainer.files.read.family import FamilyGuess, guess_family
from trainer.files.read.file_module import FileModule, make_module
from trainer.files.read.keys import READABLE_KINDS, KeyGroup, group_keys
from trainer.files.read.peft import PeftAlphas
from trainer.formats.families import FAMILIES
from trainer.formats.header import FormatError, TensorFile, read_header
from trainer.formats.unet_names import UNetNames

_CHECKPOINT = ("model.diffusion_model.", "first_stage_model.", "cond_stage_model.", "conditioner.")
_EMBEDDING = ("emb_params", "string_to_param", "clip_l", "clip_g")
_PICKLES = {".pt", ".pth", ".bin", ".ckpt", ".pkl"}
_WORDS = {
    "norm": "normalisation layers (w_norm)",
    "oft": "OFT",
    "glora": "GLoRA",
    "ia3": "(IA)³",
    "set": "replaced weights (set_weight)",
}


@dataclass(frozen=True)
class AdapterFile:
    """An adapter file in memory.

    Attributes:
        path: Where it was.
        modules: By layer name of the base model.
        metadata: The header's texts.
        naming: "kohya", "peft" or "mixed".
        guess: For which family it was made.
    """

    path: Path
    modules: dict[str, FileModule]
    metadata: dict[str, str]
    naming: str
    guess: FamilyGuess


def read_adapter_file(
    path: Path, layers: Iterable[str], unet_names: UNetNames, family: str = ""
) -> AdapterFile:
    """Reads an adapter file for a base model.

    Args:
        path: A .safetensors file.
        layers: Names of the base model's layers.
        unet_names: The original names of its UNet's blocks.
        family: The base model's; "" takes a file of any family whose names fit.

    Raises:
        ExportError: the file is missing, damaged, no adapter, of a kind that is not read, or for
            another base model.
    """
    with open_adapter_file(path, layers, unet_names, family) as file:
        modules = {layer: file.read(layer) for layer in file.groups}
        return AdapterFile(path, modules, file.metadata, file.naming, file.guess)


@contextmanager
def open_adapter_file(
    path: Path, layers: Iterable[str], unet_names: UNetNames, family: str = ""
) -> Iterator["OpenFile"]:
    """Opens an adapter file whose layers are then read one at a time, as large ones have to be.

    Args and errors are those of `read_adapter_file`; its last ones come with `OpenFile.read`.
    """
    header = open_header(path)
    groups, unknown_keys = group_keys(header.tensors)
    _check_is_adapter(header, groups, unknown_keys)
    shapes = {key: entry.shape for key, entry in header.tensors.items()}
    guess = guess_family(groups.values(), shapes, header.metadata)
    if guess.unsupported or (family and guess.certain and guess.family != family):
        raise ExportError(explain_misfit(path, guess, family))
    _check_kinds(path, groups)
    names = known_names(layers, unet_names)
    matched = _match(path, groups, names, guess, family)
    alphas = _read_alphas(path, header.metadata)
    try:
        handle = safe_open(path, framework="pt")
    except (SafetensorError, OSError) as error:
        raise ExportError(_call_damaged(path, error)) from error
    with handle as body:
        yield OpenFile(header, matched, guess, alphas, body)


class OpenFile:
    """An adapter file of which nothing is in memory but its header.

    Attributes:
        path: Where it is.
        groups: The names of its tensors, by layer name of the base model.
        metadata: The header's texts.
        shapes: Of its tensors, by key.
        guess: For which family it was made.
    """

    def __init__(
        self,
        header: TensorFile,
        groups: dict[str, KeyGroup],
        guess: FamilyGuess,
        alphas: PeftAlphas,
        body: Any,
    ) -> None:
        self.path, self.groups, self.metadata = header.path, groups, header.metadata
        self.shapes = {key: entry.shape for key, entry in header.tensors.items()}
        self.guess = guess
        self._alphas, self._body = alphas, body

    @property
    def naming(self) -> str:
        """Whose names: "kohya", "peft" or "mixed"."""
        namings = {group.naming for group in self.groups.values()}
        return namings.pop() if len(namings) == 1 else "mixed"

    def read(self, layer: str) -> FileModule:
        """Returns what the file holds for a layer.

        Raises:
            ExportError: its weights are damaged, or not finite.
        """
        group = self.groups[layer]
        try:
            tensors = {key: self._body.get_tensor(key) for key in group.keys.values()}
        except (SafetensorError, OSError) as error:
            raise ExportError(_call_damaged(self.path, error)) from error
        return make_module(self.path, layer, group, tensors, self._alphas)


def open_header(path: Path) -> TensorFile:
    """Returns the checked header of an adapter file.

    Raises:
        ExportError: the file is missing, damaged, or can run code.
    """
    if not path.is_file():
        msg = f"There is no LoRA file at {path}."
        raise ExportError(msg)
    if path.suffix.lower() in _PICKLES:
        msg = (
            f"{path.name} is a pickle, which can run code when it is read. Convert it to "
            "safetensors first, or download that version."
        )
        raise ExportError(msg)
    try:
        return read_header(path)
    except FormatError as error:
        raise ExportError(str(error)) from error


def explain_misfit(path: Path, guess: FamilyGuess, family: str, detail: str = "") -> str:
    """Returns the sentence for a file that does not fit a base model."""
    base = FAMILIES[family].title if family in FAMILIES else ""
    if guess.unsupported or (guess.family and base and guess.family != family):
        target = f"this base model is {base}" if base else "this base model is of another family"
        return f"{path.name} was made for {guess.title}, and {target}. {detail}".rstrip()
    made = f" (it was made for {guess.title})" if guess.family else ""
    return f"{path.name} does not fit this base model{made}. {detail}".rstrip()


def _check_is_adapter(
    header: TensorFile, groups: Mapping[str, KeyGroup], unknown_keys: list[str]
) -> None:
    name = header.path.name
    if any(key.startswith(_CHECKPOINT) for key in header.tensors):
        msg = f"{name} is a base model, not a LoRA. Choose it as base model instead."
        raise ExportError(msg)
    if any(key.startswith(_EMBEDDING) for key in header.tensors):
        msg = f"{name} is a text embedding, not a LoRA. Choose a LoRA file."
        raise ExportError(msg)
    if not groups:
        msg = (
            f"{name} contains no adapter: none of its {len(header.tensors)} tensors belongs to "
            f"one. "
            "Choose a LoRA file."
        )
        raise ExportError(msg)
    if unknown_keys:
        msg = (
            f"{name} holds {len(unknown_keys)} tensors that are not part of a known adapter, "
            f"first {unknown_keys[0]}. Leaving them out would change its effect."
        )
        raise ExportError(msg)


def _check_kinds(path: Path, groups: Mapping[str, KeyGroup]) -> None:
    for group in groups.values():
        if group.kind not in READABLE_KINDS:
            count = sum(other.kind == group.kind for other in groups.values())
            word = _WORDS.get(group.kind, "parts of an unknown kind")
            msg = (
                f"{path.name} changes {count} of {len(groups)} layers by {word}, which cannot be "
                f"read here, first {group.spelling}."
            )
            raise ExportError(msg)
        if not group.is_complete():
            msg = (
                f"{path.name} is damaged: {group.spelling} holds only "
                f"{', '.join(sorted(group.keys))}. Download or export the file again."
            )
            raise ExportError(msg)


def _match(
    path: Path,
    groups: Mapping[str, KeyGroup],
    names: Mapping[str, str],
    guess: FamilyGuess,
    family: str,
) -> dict[str, KeyGroup]:
    """Returns the file's layers by the base model's names."""
    unknown = [spelling for spelling in groups if spelling not in names]
    if unknown:
        detail = f"{len(unknown)} of {len(groups)} layers are unknown, first {unknown[0]}."
        raise ExportError(explain_misfit(path, guess, family, detail))
    matched: dict[str, KeyGroup] = {}
    for spelling, group in groups.items():
        layer = names[spelling]
        if layer in matched:
            msg = (
                f"{path.name} holds {layer} twice, as {matched[layer].spelling} and as {spelling}, "
                "so its effect is not defined."
            )
            raise ExportError(msg)
        matched[layer] = group
    return matched


def _call_damaged(path: Path, error: Exception) -> str:
    return f"{path.name} is damaged: {error}. Download or export the file again."


def _read_alphas(path: Path, metadata: Mapping[str, str]) -> PeftAlphas:
    try:
        return PeftAlphas(metadata)
    except ValueError as error:
        msg = f"{path.name} cannot be read: {error}."
        raise ExportError(msg) from error
