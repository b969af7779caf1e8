"""Putting adapters on a model, weighing them, and taking them off again."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from trainer.adapters.base import Adapter
from trainer.adapters.targets import Part, Target

Factors = tuple[Tensor, Tensor, float]  # down, up, scale: delta = scale * up @ down


class AdapterSet:
    """The adapters on one model, by layer name.

    They are attached as forward hooks: the model's modules and their names stay as they are, and
    `remove` leaves no trace.
    """

    def __init__(self, targets: Mapping[str, Target], adapters: Mapping[str, Adapter]) -> None:
        self.targets = dict(targets)
        self.adapters = dict(adapters)
        self._hooks = [
            targets[name].layer.register_forward_hook(_make_hook(adapter))
            for name, adapter in adapters.items()
        ]

    def set_multiplier(self, multiplier: float) -> None:
        """Weighs the whole set; 0 switches it off exactly."""
        for adapter in self.adapters.values():
            adapter.multiplier = multiplier

    def remove(self) -> None:
        """Takes the adapters off; the model is the base model again."""
        for hook in self._hooks:
            hook.remove()
        self._hooks = []

    def train(self, mode: bool) -> None:
        """Switches the adapters' dropout on or off."""
        for adapter in self.adapters.values():
            adapter.train(mode)

    def to(self, device: torch.device) -> None:
        """Moves the adapters' weights; they stay fp32."""
        for adapter in self.adapters.values():
            adapter.to(device)

    def named_parameters(self) -> dict[str, nn.Parameter]:
        """Returns all trained weights by `layer.weight` name, in a fixed order."""
        return {
            f"{name}.{weight}": parameter
            for name, adapter in self.adapters.items()
            for weight, parameter in adapter.named_parameters()
        }

    def parameters_of(self, part: Part) -> list[nn.Parameter]:
        """Returns the trained weights of one part."""
        return [
            parameter
            for name, adapter in self.adapters.items()
            if self.targets[name].part == part
            for parameter in adapter.parameters()
        ]

    def state(self) -> dict[str, Tensor]:
        """Returns the trained weights, detached, on the CPU."""
        return {
            name: parameter.detach().cpu().contiguous()
            for name, parameter in self.named_parameters().items()
        }

    def load_state(self, state: Mapping[str, Tensor]) -> None:
        """Sets the trained weights.

        Raises:
            ValueError: names or shapes differ from this set's.
        """
        own = self.named_parameters()
        wrong = sorted(set(own) ^ set(state)) or [
            name for name in own if own[name].shape != state[name].shape
        ]
        if wrong:
            msg = f"the saved adapter does not fit: {len(wrong)} weights differ, first {wrong[0]}"
            raise ValueError(msg)
        with torch.no_grad():
            for name, parameter in own.items():
                parameter.copy_(state[name])

    def factors(self) -> dict[str, Factors]:
        """Returns (down, up, scale) per layer, detached, fp32, on the CPU."""
        found = {}
        for name, adapter in self.adapters.items():
            down, up, scale = adapter.factors()
            found[name] = (down.detach().float().cpu(), up.detach().float().cpu(), scale)
        return found

    def deltas(self) -> dict[str, Tensor]:
        """Returns the exact weight difference per layer at multiplier 1, fp32, on the CPU."""
        with torch.no_grad():
            return {name: item.delta().float().cpu() for name, item in self.adapters.items()}


def inject(targets: Iterable[Target], build: Callable[[Target], Adapter | None]) -> AdapterSet:
    """Puts on each target the adapter that `build` returns for it, if any."""
    built = {target.name: (target, build(target)) for target in targets}
    return AdapterSet(
        {name: target for name, (target, adapter) in built.items() if adapter is not None},
        {name: adapter for name, (_, adapter) in built.items() if adapter is not None},
    )


def _make_hook(adapter: Adapter) -> Callable[[nn.Module, tuple[Any, ...], Tensor], Tensor]:
    def add_change(_layer: nn.Module, inputs: tuple[Any, ...], output: Tensor) -> Tensor:
        if adapter.multiplier == 0:
            return output
        change = adapter(inputs[0])
        if adapter.multiplier != 1:
            change = change * adapter.multiplier
        return output + change.to(output.dtype)

    return add_change
