"""Planning an adapter file and writing it layer by layer."""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor

from datasets_tools.names import explain_path
from trainer.combine.delta import Delta, Shape, find_limit
from trainer.combine.errors import CombineError
from trainer.combine.headers import count_network
from trainer.combine.stream import TensorStream
from trainer.combine.target_model import TargetModel
from trainer.export import name_layers
from trainer.export.files import cast_weight
from trainer.export.network import Network
from trainer.files.read.keys import PART_ENDINGS
from trainer.formats.precision import PRECISIONS


@dataclass(frozen=True)
class PlannedLayer:
    """A layer of a file that is to be written.

    Attributes:
        shape: Of the layer's weight.
        rank: Of the LoRA; the result may stay below it.
    """

    shape: Shape
    rank: int

    @property
    def wide(self) -> bool:
        """Whether the kernel is larger than 1 x 1."""
        return len(self.shape) == 4 and max(self.shape[2:]) > 1


Plan = Mapping[str, PlannedLayer]


def check_output(path: Path, force: bool) -> None:
    """Rejects a path that cannot or should not be written.

    Raises:
        CombineError: the file exists, or the name is not that of a safetensors file.
    """
    if path.suffix != ".safetensors":
        msg = f"{path.name} must end in .safetensors, so that other programs can read it."
        raise CombineError(msg)
    if problem := explain_path(path):
        raise CombineError(problem)
    if path.is_dir():
        msg = f"{path} is a folder. Give the name of a file in it."
        raise CombineError(msg)
    if path.exists() and not force:
        msg = f"{path} exists. Choose another name, or give --force to replace it."
        raise CombineError(msg)


def check_rank(plan: Plan, rank: int) -> None:
    """Rejects a rank that a layer cannot have.

    Raises:
        CombineError: with the largest one that all layers can have.
    """
    for layer, planned in plan.items():
        if rank > find_limit(planned.shape):
            most = min(find_limit(each.shape) for each in plan.values())
            size = " × ".join(str(each) for each in planned.shape)
            msg = (
                f"The rank {rank} is too large for {layer}, whose weight is {size}. Choose "
                f"{most} or less."
            )
            raise CombineError(msg)


def choose_alphas(plan: Plan) -> dict[str, float]:
    """Returns one alpha per model, its layers' commonest rank.

    One value for all, because diffusers confuses alphas that differ within a model.
    """
    counts: dict[str, Counter[int]] = {}
    for layer, planned in plan.items():
        counts.setdefault(layer.partition(".")[0], Counter())[planned.rank] += 1
    return {model: float(count.most_common(1)[0][0]) for model, count in counts.items()}


@dataclass
class AdapterWriter:
    """A kohya file that grows layer by layer.

    Attributes:
        stream: The file.
        names: The kohya name of each layer.
        alphas: One per model, see `choose_alphas`.
        precision: "fp16", "bf16" or "fp32".
        sizes: What was written: layer, rank, alpha and whether its kernel is larger than 1 x 1.
        kinds: Of all layers written.
        shapes: Of the parts of all layers written.
    """

    stream: TensorStream
    names: Mapping[str, str]
    alphas: Mapping[str, float]
    precision: str
    sizes: list[tuple[str, int, float, bool]] = field(default_factory=list)
    kinds: list[str] = field(default_factory=list)
    shapes: dict[str, dict[str, Shape]] = field(default_factory=dict)

    def add_delta(self, layer: str, delta: Delta, bias: Tensor | None = None) -> None:
        """Writes a delta as LoRA; its factors must not be None.

        Args:
            layer: Its name.
            delta: Of the weight; needs factors.
            bias: Delta of the layer's bias, where the source file has one.

        Raises:
            ExportError: a weight is not finite, or too large for the format.
        """
        if delta.factors is None:
            msg = f"{layer} has no factors"
            raise ValueError(msg)
        up, down = delta.factors
        alpha, rank = self.alphas[layer.partition(".")[0]], down.shape[0]
        point = (1,) * (len(delta.shape) - 2)
        parts = {
            "lora_down.weight": down.reshape(rank, *delta.shape[1:]),
            "lora_up.weight": (up * (rank / alpha)).reshape(delta.shape[0], rank, *point),
            "alpha": torch.tensor(alpha),
        } | ({} if bias is None else {"diff_b": bias})
        wide = len(delta.shape) == 4 and max(delta.shape[2:]) > 1
        self.sizes.append((layer, rank, alpha, wide))
        self.kinds.append("lora")
        self._write(layer, parts)

    def add_parts(self, layer: str, kind: str, parts: Mapping[str, Tensor]) -> None:
        """Writes a layer of another kind as it is.

        Raises:
            ExportError: a weight is not finite, or too large for the format.
        """
        self.kinds.append(kind)
        self._write(layer, parts)

    def add_words(self, words: Mapping[str, Mapping[str, Tensor]]) -> None:
        """Writes bundled embeddings as they are, by word and part."""
        for word, parts in words.items():
            for part, value in parts.items():
                self.stream.add(f"bundle_emb.{word}.{part}", value)

    def measure(self) -> Network:
        """Returns ranks and alphas of what was written; the UNet's decide."""
        unet = [size[1:] for size in self.sizes if size[0].startswith("unet.")]
        return count_network(unet or [size[1:] for size in self.sizes], self.kinds)

    def _write(self, layer: str, parts: Mapping[str, Tensor]) -> None:
        self.shapes[layer] = {part: tuple(value.shape) for part, value in parts.items()}
        for part, value in parts.items():
            exact = part in {"alpha", "on_input"}
            cast = value.float() if exact else cast_weight(layer, value, self.precision)
            self.stream.add(f"{self.names[layer]}.{PART_ENDINGS.get(part, part)}", cast)


def start_writer(
    stream: TensorStream,
    plan: Plan,
    target_model: TargetModel,
    precision: str,
    vectors: Iterable[str] = (),
) -> AdapterWriter:
    """Returns a writer for planned layers, and for those of which only vectors are written."""
    names = name_layers([*plan, *vectors], target_model.family, target_model.unet_names)
    return AdapterWriter(stream, names, choose_alphas(plan), precision)


def check_precision(precision: str) -> None:
    """Rejects an unknown number format.

    Raises:
        CombineError: with those that are.
    """
    if precision not in PRECISIONS:
        msg = f"The precision {precision!r} is unknown. Choose one of {', '.join(PRECISIONS)}."
        raise CombineError(msg)


def plan_network(plan: Plan) -> Network:
    """Returns the ranks that are planned, for a header before there is a file."""
    alphas = choose_alphas(plan)
    sizes = [
        (planned.rank, alphas[layer.partition(".")[0]], planned.wide)
        for layer, planned in plan.items()
    ]
    return count_network(sizes, ["lora"])


def list_in_order(sources: Iterable[Iterable[str]]) -> list[str]:
    """Returns the layers of all files, each once and sorted by name, as other programs write them.

    In any other order a time embedding may stand before the attention, and InvokeAI would take a
    file of SD 1.x for one of SDXL (see `trainer.formats.invoke`).
    """
    return sorted({layer for layers in sources for layer in layers})
