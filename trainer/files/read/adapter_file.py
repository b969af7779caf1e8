"""An adapter file: opened, its layers recognised, read one by one or as a whole."""

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from torch import Tensor

from trainer.export.errors import ExportError
from trainer.files.read.family import FamilyGuess
from trainer.files.read.file_module import FileModule, make_module
from trainer.files.read.identity import explain_no_adapter
from trainer.files.read.keys import (
    READABLE_KINDS,
    VECTOR_KINDS,
    KeyGroup,
    find_adapters,
    find_words,
    group_keys,
)
from trainer.files.read.kinds import check_kinds
from trainer.files.read.peft import CONFIG_NAME, PeftAlphas
from trainer.files.read.recognition import recognise
from trainer.formats.families import FAMILIES
from trainer.formats.header import FormatError, TensorFile, read_header
from trainer.formats.spellings import has_grammar, parse_name
from trainer.formats.unet_names import UNetNames

_PEFT_MODEL = "base_model.model."
_PICKLES = {".pt", ".pth", ".bin", ".ckpt", ".pkl"}


@dataclass(frozen=True)
class AdapterFile:
    """An adapter file in memory.

    Attributes:
        path: Where it was.
        modules: By layer name of the base model.
        metadata: The header's texts.
        naming: "kohya", "peft" or "mixed".
        guess: For which family it was made.
        words: Embeddings that are bundled with the layers, by word and part.
    """

    path: Path
    modules: dict[str, FileModule]
    metadata: dict[str, str]
    naming: str
    guess: FamilyGuess
    words: dict[str, dict[str, Tensor]] = field(default_factory=dict)


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
        words = file.read_words()
        return AdapterFile(path, modules, file.metadata, file.naming, file.guess, words)


@contextmanager
def open_adapter_file(
    path: Path,
    layers: Iterable[str],
    unet_names: UNetNames,
    family: str = "",
    *,
    vectors: bool = False,
) -> Iterator["OpenFile"]:
    """Opens an adapter file whose layers are then read one at a time, as large ones have to be.

    Args and errors are those of `read_adapter_file`; its last ones come with `OpenFile.read`.
    With `vectors`, normalisation layers and differences of biases alone are read too.
    """
    header = open_header(path)
    groups, unknown_keys = group_keys(header.tensors, header.shapes)
    _check_is_adapter(header, groups, unknown_keys)
    guess = recognise(groups, header.shapes, header.metadata).guess
    wrong = guess.candidates and family not in guess.candidates
    if guess.unsupported or (family and (wrong or (guess.certain and guess.family != family))):
        raise ExportError(explain_misfit(path, guess, family))
    check_kinds(path, groups, READABLE_KINDS | VECTOR_KINDS if vectors else READABLE_KINDS)
    matched = _match(path, groups, _Base(frozenset(layers), unet_names, family), guess)
    config = path.with_name(CONFIG_NAME)
    peft = any(_PEFT_MODEL in name for name in groups) and config.is_file()
    alphas = PeftAlphas(header.metadata, config if peft else None)
    try:
        handle = safe_open(path, framework="pt")
    except (SafetensorError, OSError) as error:
        raise ExportError(call_damaged(path, error)) from error
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
        words: The keys of embeddings that are bundled with it, by word and part.
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
        self.shapes = header.shapes
        self.guess, self.words = guess, find_words(header.tensors)
        self._alphas, self._body = alphas, body

    @property
    def naming(self) -> str:
        """Whose names: "kohya", "peft" or "mixed"."""
        namings = {group.naming for group in self.groups.values()}
        return namings.pop() if len(namings) == 1 else "mixed"

    def read_words(self) -> dict[str, dict[str, Tensor]]:
        """Returns the bundled embeddings, by word and part, in the file's own number format."""
        return {
            word: {part: self._read_tensor(key) for part, key in parts.items()}
            for word, parts in self.words.items()
        }

    def read_alpha(self, layer: str) -> float:
        """Returns a layer's alpha without its weights, as `read` finds it.

        Raises:
            ExportError: it is not one number.
        """
        group = self.groups[layer]
        key = group.keys.get("alpha")
        if key is None or self.shapes[key] not in {(), (1,)}:
            return self.read(layer).alpha
        return float(self._read_tensor(key).float().item())

    def read(self, layer: str) -> FileModule:
        """Returns what the file holds for a layer.

        Raises:
            ExportError: its weights are damaged, or not finite.
        """
        group = self.groups[layer]
        try:
            tensors = {key: self._read_tensor(key) for key in group.keys.values()}
        except (SafetensorError, OSError) as error:
            raise ExportError(call_damaged(self.path, error)) from error
        return make_module(self.path, layer, group, tensors, self._alphas)

    def _read_tensor(self, key: str) -> Tensor:
        # A copy: the tensor itself would keep the file mapped after it is closed.
        tensor: Tensor = self._body.get_tensor(key)
        return tensor.clone()


def open_header(path: Path) -> TensorFile:
    """Returns the checked header of an adapter file.

    Raises:
        ExportError: the file is missing, damaged, or can run code.
    """
    if not path.is_file():
        msg = f"There is no LoRA file at {path}."
        if path.is_dir():
            msg = f"{path.name} is a folder. Name a LoRA file in it."
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
    others = {guess.family} if guess.family else set(guess.candidates)
    if guess.unsupported or (others and base and family not in others):
        target = f"this base model is {base}" if base else "this base model is of another family"
        return f"{path.name} was made for {guess.title}, and {target}. {detail}".rstrip()
    made = f" (it was made for {guess.title})" if guess.family else ""
    return f"{path.name} does not fit this base model{made}. {detail}".rstrip()


@dataclass(frozen=True)
class _Base:
    """The base model that a file is for: its layers, how its blocks are named, its family."""

    layers: frozenset[str]
    unet_names: UNetNames
    family: str


def _check_is_adapter(
    header: TensorFile, groups: Mapping[str, KeyGroup], unknown_keys: list[str]
) -> None:
    name = header.path.name
    message = explain_no_adapter(header, groups)
    if message:
        raise ExportError(message)
    adapters = find_adapters(header.tensors)
    if len(adapters) > 1:
        msg = (
            f"{name} holds {len(adapters)} adapters of PEFT, {' and '.join(adapters[:2])}, whose "
            "layers have the same names. Save each in a file of its own."
        )
        raise ExportError(msg)
    if unknown_keys:
        msg = (
            f"{name} holds {len(unknown_keys)} tensors that are not part of a known adapter, "
            f"first {unknown_keys[0]}. Leaving them out would change its effect."
        )
        raise ExportError(msg)


def _match(
    path: Path, groups: Mapping[str, KeyGroup], base: _Base, guess: FamilyGuess
) -> dict[str, KeyGroup]:
    """Returns the file's layers by the base model's names."""
    parsed = {name: parse_name(name, base.unet_names) for name in groups}
    strange = [name for name, each in parsed.items() if each is None and not has_grammar(name)]
    if strange:
        detail = (
            f"{len(strange)} of {len(groups)} layers are unknown, first {strange[0]}, whose name "
            "follows no known spelling."
        )
        raise ExportError(f"{path.name} cannot be used as a whole: {detail}")
    layers = {name: each.layer for name, each in parsed.items() if each is not None}
    missing = [name for name in groups if layers.get(name) not in base.layers]
    if missing:
        detail = (
            f"{len(missing)} of {len(groups)} layers are unknown, first {missing[0]}, which this "
            "base model does not have."
        )
        raise ExportError(explain_misfit(path, guess, base.family, detail))
    matched: dict[str, KeyGroup] = {}
    for name, group in groups.items():
        layer = layers[name]
        if layer in matched:
            msg = (
                f"{path.name} holds {layer} twice, as {matched[layer].spelling} and as {name}, "
                "so its effect is not defined."
            )
            raise ExportError(msg)
        matched[layer] = group
    return matched


def call_damaged(path: Path, error: Exception) -> str:
    """Returns the sentence about a file that safetensors refuses."""
    return f"{path.name} is damaged: {error}. Download or export the file again."
