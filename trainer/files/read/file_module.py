"""One layer of an adapter file: its tensors, checked, by the names of LyCORIS."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from trainer.export.errors import ExportError
from trainer.files.read.family import read_rank
from trainer.files.read.keys import KeyGroup
from trainer.files.read.peft import PeftAlphas
from trainer.files.read.tucker import fold_tucker

Factors = tuple[Tensor, Tensor, float]
_VECTORS = {
    "alpha",
    "dora_scale",
    "magnitude",
    "diff_b",
    "w_norm",
    "b_norm",
    "ia3_scale",
    "on_input",
}  # may have less than two axes
# Factors that meet: the first axis of one is the second of the other.
_RANKED = (
    ("lora_down.weight", "lora_up.weight"),
    ("hada_w1_b", "hada_w1_a"),
    ("hada_w2_b", "hada_w2_a"),
    ("lokr_w1_b", "lokr_w1_a"),
    ("lokr_w2_b", "lokr_w2_a"),
)


@dataclass(frozen=True)
class FileModule:
    """What a file holds for one layer.

    Attributes:
        kind: "lora", "loha", "lokr", "full", or "dora" around any of them; "norm" or "bias" where
            only vectors are changed; "ia3", "glora" or "oft", which need the base weight.
        tensors: fp32, by the names of LyCORIS, without Tucker cores.
        alpha: The strength; the rank where the file has none.
    """

    kind: str
    tensors: dict[str, Tensor]
    alpha: float

    def parts(self) -> Factors | dict[str, Tensor]:
        """Returns what the writers take: (down, up, scale) of a LoRA, the tensors of others."""
        if self.kind == "lora":
            down, up = self.tensors["lora_down.weight"], self.tensors["lora_up.weight"]
            return down, up, self.alpha / down.shape[0]
        return {**self.tensors, "alpha": torch.tensor(self.alpha)}


def make_module(
    path: Path, layer: str, group: KeyGroup, tensors: Mapping[str, Tensor], alphas: PeftAlphas
) -> FileModule:
    """Returns what a file holds for a layer.

    Args:
        path: The file, for messages.
        layer: Name in the base model.
        group: Which tensor is what.
        tensors: The layer's, by key.
        alphas: The strengths in the header.

    Raises:
        ExportError: the weights are damaged, or not finite.
    """
    parts = {
        part: _check_tensor(path, layer, part, key, tensors[key].float())
        for part, key in group.keys.items()
    }
    own_alpha = parts.pop("alpha", None)
    if "magnitude" in parts:  # one length per row of the weight, whatever shape PEFT gives it
        axes = parts["lora_up.weight"].ndim if "lora_up.weight" in parts else 2
        parts["dora_scale"] = parts.pop("magnitude").reshape(-1, *(1,) * (axes - 1))
    shapes = {key: tuple(tensors[key].shape) for key in group.keys.values()}
    rank = read_rank(group, shapes) or 1
    try:
        alpha = alphas.find(layer, rank) if own_alpha is None else _read_alpha(own_alpha)
        if group.kind == "oft" and own_alpha is None:
            alpha = 0.0  # a limit here, and there is none
        parts = fold_tucker(parts)
        _check_ranks(parts)
    except ValueError as error:
        msg = f"{path.name} cannot be read: in {layer}, {error}."
        raise ExportError(msg) from error
    return FileModule("dora" if group.has_magnitude else group.kind, parts, alpha)


def _check_tensor(path: Path, layer: str, part: str, key: str, value: Tensor) -> Tensor:
    if value.numel() == 0 or (part not in _VECTORS and value.ndim < 2):
        msg = (
            f"{path.name} is damaged: {key} has the shape {tuple(value.shape)}. Download or export "
            "the file again."
        )
        raise ExportError(msg)
    if not torch.isfinite(value).all():
        msg = (
            f"{path.name} contains weights that are not finite, in {layer} ({key}): the training "
            f"that "
            "made it diverged."
        )
        raise ExportError(msg)
    return value


def _read_alpha(value: Tensor) -> float:
    if value.numel() != 1:
        msg = f"its alpha has {value.numel()} numbers instead of one"
        raise ValueError(msg)
    return value.item()


def _check_ranks(parts: Mapping[str, Tensor]) -> None:
    for inner, outer in _RANKED:
        if inner in parts and outer in parts and parts[inner].shape[0] != parts[outer].shape[1]:
            msg = (
                f"{inner} has the rank {parts[inner].shape[0]} and {outer} {parts[outer].shape[1]}"
            )
            raise ValueError(msg)
