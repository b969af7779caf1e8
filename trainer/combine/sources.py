"""Adapter files as deltas of layers, read one layer at a time."""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from trainer.adapters import restore_adapter
from trainer.adapters.base import Layer
from trainer.combine.delta import Delta, Shape, from_matrix
from trainer.combine.errors import CombineError
from trainer.combine.target_model import TargetModel
from trainer.export import FileModule
from trainer.files.read import OpenFile, open_adapter_file
from trainer.files.read.keys import VECTOR_KINDS
from trainer.files.read.kinds import describe_kind, name_kind


@dataclass(frozen=True)
class Source:
    """An open adapter file.

    Attributes:
        file: The file.
        target_model: The model that it is for.
    """

    file: OpenFile
    target_model: TargetModel

    @property
    def path(self) -> Path:
        """Where it is."""
        return self.file.path

    def reject_vectors(self) -> None:
        """Rejects a file that changes vectors, for commands that make plain LoRA of it.

        Raises:
            CombineError: with what it changes, and what can be done with it.
        """
        groups = self.file.groups.values()
        kind = next((each.kind for each in groups if each.kind in VECTOR_KINDS), "")
        if kind:
            msg = (
                f"{self.path.name} {describe_kind(kind, groups)}, and vectors have no low-rank "
                "form. Such a file can be scaled, converted, and baked into a base model."
            )
            raise CombineError(msg)

    def read(self, layer: str) -> Delta:
        """Returns the file's delta for a layer's weight, at weight 1, in fp32.

        Raises:
            ExportError: weights are damaged, or not finite.
            CombineError: the layer does not fit, or is a DoRA and no base model was named.
        """
        module = self.file.read(layer)
        self._refuse_bias(layer, module)
        return self.make_delta(layer, module)

    def make_delta(self, layer: str, module: FileModule) -> Delta:
        """Returns a module's delta for a layer's weight, without the one for its bias."""
        shape = self.find_shape(layer, module)
        if module.kind == "lora":
            return self._make_factors(layer, module, shape)
        base = self.target_model.base
        needs_base = self.file.groups[layer].needs_base
        if needs_base and base is None:
            msg = (
                f"{self.path.name} holds {layer} as {name_kind(module.kind)}, whose delta depends "
                "on the base model's weights. Name the base model with --base-model."
            )
            raise CombineError(msg)
        weight = base.read(layer) if needs_base and base is not None else None
        try:
            adapter = restore_adapter(make_layer(shape, weight), module.tensors, module.alpha)
        except ValueError as error:
            raise CombineError(self._describe_misfit(layer, str(error))) from error
        with torch.no_grad():
            return from_matrix(shape, adapter.delta().detach().flatten(1))

    def find_shape(self, layer: str, module: FileModule) -> Shape:
        """Returns the shape of a layer's weight, from the target model or the module itself.

        Raises:
            CombineError: neither contains it.
        """
        known = self.target_model.shapes.get(layer)
        if known is not None:
            return known
        parts = module.tensors
        if "lora_up.weight" in parts:
            return (parts["lora_up.weight"].shape[0], *parts["lora_down.weight"].shape[1:])
        if "diff" in parts:
            return tuple(parts["diff"].shape)
        msg = (
            f"{self.path.name} does not contain the shape of {layer}, which is "
            f"{module.kind}. Name a base model that it fits with --base-model."
        )
        raise CombineError(msg)

    def _make_factors(self, layer: str, module: FileModule, shape: Shape) -> Delta:
        up = module.tensors["lora_up.weight"].flatten(1)
        down = module.tensors["lora_down.weight"].flatten(1)
        if (up.shape[0], down.shape[1]) != (shape[0], torch.Size(shape[1:]).numel()):
            detail = (
                f"its delta is {up.shape[0]} by {down.shape[1]}, but the weight has the shape "
                f"{list(shape)}"
            )
            raise CombineError(self._describe_misfit(layer, detail))
        return Delta(shape, up, down).scale(module.alpha / down.shape[0])

    def _refuse_bias(self, layer: str, module: FileModule) -> None:
        if "diff_b" in module.tensors:
            msg = (
                f"{self.path.name} changes the bias of {layer}, which a LoRA file cannot store. "
                "It can be baked into a base model."
            )
            raise CombineError(msg)

    def _describe_misfit(self, layer: str, detail: str) -> str:
        return f"{self.path.name} does not fit: in {layer}, {detail}."


@contextmanager
def open_sources(paths: Sequence[Path], target_model: TargetModel) -> Iterator[list[Source]]:
    """Opens adapter files for one model.

    Raises:
        ExportError: a file is damaged, of a kind that is not read, or for another base model.
    """
    with ExitStack() as stack:
        yield [
            Source(
                stack.enter_context(
                    open_adapter_file(
                        path,
                        target_model.layers,
                        target_model.unet_names,
                        target_model.family,
                        vectors=True,
                    )
                ),
                target_model,
            )
            for path in paths
        ]


def collect_words(sources: Sequence[Source]) -> dict[str, dict[str, Tensor]]:
    """Returns the embeddings that are bundled with the layers of files, by word and part.

    Raises:
        CombineError: two files hold different embeddings of one word.
    """
    words: dict[str, dict[str, Tensor]] = {}
    for source in sources:
        for word, parts in source.file.read_words().items():
            known = words.setdefault(word, parts)
            same = known.keys() == parts.keys() and all(
                torch.equal(known[part], value) for part, value in parts.items()
            )
            if not same:
                msg = (
                    f"{source.path.name} holds another embedding of “{word}” than a file before "
                    "it, and a merged file can hold one only. Merge files without it."
                )
                raise CombineError(msg)
    return words


def make_layer(shape: Shape, weight: Tensor | None = None) -> Layer:
    """Returns a layer with a weight of this shape, or with none in memory, for an adapter."""
    layer: Layer
    with torch.device("meta"):
        if len(shape) == 2:
            layer = nn.Linear(shape[1], shape[0], bias=False)
        else:
            layer = nn.Conv2d(shape[1], shape[0], (shape[2], shape[3]), bias=False)
    if weight is not None:
        layer.weight = nn.Parameter(weight, requires_grad=False)
    return layer
