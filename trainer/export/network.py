"""The size of an adapter in the words of kohya's trainer: one rank, and one for convolutions."""

from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace

from trainer.config import AdapterConfig
from trainer.export.kohya import Module

_RANK_PARTS = ("lora_down.weight", "hada_w1_b", "lokr_w2_b", "lokr_w1_b")


@dataclass(frozen=True)
class Network:
    """The content of `ss_network_*`.

    Attributes:
        kind: Of all layers, "" where a file mixes several.
        rank: The commonest.
        alpha: The commonest.
        conv_rank: The same on convolutions larger than 1 x 1, 0 without any.
        conv_alpha: The same.
    """

    kind: str
    rank: int
    alpha: float
    conv_rank: int
    conv_alpha: float

    @property
    def module(self) -> str:
        """The Python module that other trainers would load it with."""
        return "networks.lora" if self.kind == "lora" else "lycoris.kohya"

    def arguments(self) -> dict[str, str]:
        """Returns the arguments of those trainers beyond rank and alpha."""
        arguments = {}
        if self.conv_rank:
            arguments = {"conv_dim": str(self.conv_rank), "conv_alpha": str(self.conv_alpha)}
        if self.kind == "dora":
            arguments |= {"algo": "locon", "dora_wd": "True"}
        elif self.kind not in {"", "lora"}:
            arguments["algo"] = self.kind
        return arguments


def plan_network(config: AdapterConfig) -> Network:
    """Returns what a config asks for."""
    return Network(
        config.kind,
        config.rank,
        config.alpha,
        config.conv_rank,
        config.conv_alpha if config.conv_rank else 0.0,
    )


def measure_network(
    modules: Mapping[str, Module], kinds: Collection[str], config: AdapterConfig
) -> Network:
    """Returns what was trained, which another file may have decided that the run started from.

    Args:
        modules: The UNet's decide.
        kinds: Of all layers.
        config: Used where no layer has a rank.
    """
    plain: Counter[tuple[int, float]] = Counter()
    wide: Counter[tuple[int, float]] = Counter()
    for layer, module in modules.items():
        size = _measure(module)
        if size and layer.startswith("unet."):
            (wide if size[2] else plain)[size[:2]] += 1
    network = replace(plan_network(config), kind=next(iter(kinds)) if len(kinds) == 1 else "")
    if plain:
        rank, alpha = plain.most_common(1)[0][0]
        network = replace(network, rank=rank, alpha=alpha)
    conv_rank, conv_alpha = wide.most_common(1)[0][0] if wide else (0, 0.0)
    return replace(network, conv_rank=conv_rank, conv_alpha=conv_alpha)


def _measure(module: Module) -> tuple[int, float, bool] | None:
    """Returns rank, alpha and whether the kernel is larger than 1 x 1."""
    if isinstance(module, Mapping):
        part = next((module[name] for name in _RANK_PARTS if name in module), None)
        if part is None or "alpha" not in module:
            return None
        return part.shape[0], float(module["alpha"]), part.ndim > 2 and part.shape[2] > 1
    down, _, scale = module
    # Multiplied back from scale = alpha / rank, so without the last digits' noise.
    return down.shape[0], round(scale * down.shape[0], 6), down.ndim > 2 and down.shape[2] > 1
