"""Putting adapters on a model, weighing them, and taking them off again."""

import contextlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from trainer.adapters.base import Adapter
from trainer.adapters.low_rank import LowRank
from trainer.adapters.rules import Rule, gather_memory, restore_memory
from trainer.adapters.targets import Role, Target
from trainer.config import Part

Factors = tuple[Tensor, Tensor, float]  # down, up, scale: delta = scale * up @ down
_WORD = "word"


class Word(Protocol):
    """A word that the text encoders learn together with the adapters."""

    spelling: str
    enabled: bool

    @property
    def vectors(self) -> Iterable[Tensor]:
        """Returns them per text encoder, [count, width]."""
        ...

    def named_parameters(self) -> Iterable[tuple[str, nn.Parameter]]:
        """Returns its vectors."""
        ...

    def to(self, device: torch.device) -> Any:
        """Moves its vectors."""
        ...

    def forget(self) -> None:
        """Takes it out of the model."""
        ...


class AdapterSet:
    """The adapters on one model, by layer name.

    They are attached as forward hooks: the model's modules and their names stay as they are, and
    `remove` leaves no trace.

    Attributes:
        rules: What the training keeps beside following the gradient.
        word: What is learned beside the layers, if there is such.
    """

    def __init__(self, targets: Mapping[str, Target], adapters: Mapping[str, Adapter]) -> None:
        self.targets = dict(targets)
        self.adapters = dict(adapters)
        self._hooks = [
            targets[name].layer.register_forward_hook(_make_hook(adapter))
            for name, adapter in adapters.items()
        ]
        self.rules: list[Rule] = []
        self.word: Word | None = None

    def unite(self, generator: torch.Generator) -> None:
        """Gives adapters of one kind their shared random weights, from a generator on the CPU."""
        for kind in dict.fromkeys(type(adapter) for adapter in self.adapters.values()):
            kind.unite([a for a in self.adapters.values() if type(a) is kind], generator)

    def penalty(self) -> Tensor | None:
        """Returns what the rules add to the loss, a scalar; None for nothing."""
        penalties = [each for rule in self.rules if (each := rule.penalty()) is not None]
        return sum(penalties[1:], penalties[0]) if penalties else None

    def after_step(self, step: int) -> None:
        """Lets the rules change the weights after an update, while its gradients are there."""
        for rule in self.rules:
            rule.after_step(step)

    def memory(self) -> dict[str, Tensor]:
        """Returns what the rules remember, for a checkpoint."""
        return gather_memory(self.rules)

    def load_memory(self, memory: Mapping[str, Tensor]) -> None:
        """Restores the state of the rules.

        Raises:
            ValueError: it is the state of other rules.
        """
        restore_memory(self.rules, memory)

    def set_multiplier(self, multiplier: float, text: float | None = None) -> None:
        """Weighs the whole set; 0 switches it off exactly.

        An embedding is used fully or, at 0, not at all.

        Args:
            multiplier: The weight.
            text: That of the text encoders' layers and of the embedding, where it is another one.
        """
        text = multiplier if text is None else text
        for name, adapter in self.adapters.items():
            adapter.multiplier = text if self.targets[name].part == "text" else multiplier
        if self.word:
            self.word.enabled = text != 0

    @contextlib.contextmanager
    def restored(self) -> Iterator[None]:
        """After the block each adapter has its former weight and mode again, the word too."""
        before = [(each, each.multiplier, each.training) for each in self.adapters.values()]
        word, enabled = self.word, bool(self.word and self.word.enabled)
        try:
            yield
        finally:
            for adapter, multiplier, training in before:
                adapter.multiplier = multiplier
                adapter.train(training)
            if word:
                word.enabled = enabled

    def remove(self) -> None:
        """Takes the adapters off; the model is the base model again."""
        for hook in self._hooks:
            hook.remove()
        self._hooks = []
        if self.word:
            self.word.forget()
        self.word = None

    def train(self, mode: bool) -> None:
        """Switches the adapters' dropout on or off."""
        for adapter in self.adapters.values():
            adapter.train(mode)

    def to(self, device: torch.device) -> None:
        """Moves the adapters' weights; they stay fp32."""
        for adapter in self.adapters.values():
            adapter.to(device)
        if self.word:
            self.word.to(device)

    def named_parameters(self) -> dict[str, nn.Parameter]:
        """Returns all trained weights by `layer.weight` name, in a fixed order."""
        return {
            f"{name}.{weight}": parameter
            for name, adapter in self.adapters.items()
            for weight, parameter in adapter.named_parameters()
        } | self._named_vectors()

    def sort_parameters(self) -> dict[tuple[Part, float, Role], list[nn.Parameter]]:
        """Returns the trained weights by what decides their learning rate and their decay.

        That is the part, the layer's own factor, and what a weight is to its kind: "zero" where it
        starts there, "steady" where decay must leave it alone, "random" otherwise.
        """
        groups: dict[tuple[Part, float, Role], list[nn.Parameter]] = {}
        for name, adapter in self.adapters.items():
            target = self.targets[name]
            for weight, parameter in adapter.named_parameters():
                key = (target.part, target.rate, _find_role(adapter, weight))
                groups.setdefault(key, []).append(parameter)
        if self.word:
            groups["word", 1.0, "steady"] = list(self._named_vectors().values())
        return groups

    @property
    def changes_text(self) -> bool:
        """Whether what a caption means changes while the set learns."""
        return bool(self.word) or any(target.part == "text" for target in self.targets.values())

    def state(self) -> dict[str, Tensor]:
        """Returns the trained weights and what belongs to them, detached, on the CPU."""
        return {
            name: value.detach().cpu().contiguous() for name, value in self._named_state().items()
        }

    def _named_state(self) -> dict[str, Tensor]:
        return {
            f"{name}.{weight}": value
            for name, adapter in self.adapters.items()
            for weight, value in adapter.state_dict(keep_vars=True).items()
        } | self._named_vectors()

    def _named_vectors(self) -> dict[str, nn.Parameter]:
        vectors = self.word.named_parameters() if self.word else ()
        return {f"{_WORD}.{name}": parameter for name, parameter in vectors}

    def load_state(self, state: Mapping[str, Tensor]) -> None:
        """Sets what `state` returned.

        Raises:
            ValueError: names or shapes differ from this set's.
        """
        own = self._named_state()
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
        """Returns (down, up, scale) per layer, detached, fp32, on the CPU.

        Raises:
            ValueError: an adapter is not of low rank, so its change has no such form.
        """
        factors = {}
        for name, adapter in self.adapters.items():
            if not isinstance(adapter, LowRank):
                msg = f"{name} carries {adapter.kind}, which has no down and up"
                raise ValueError(msg)
            factors[name] = _to_factors(adapter)
        return factors

    def kinds(self) -> set[str]:
        """Returns the kinds of adapter that a file of the set holds; it can mix them."""
        return {adapter.file_kind for adapter in self.adapters.values()}

    def modules(self) -> dict[str, Factors | dict[str, Tensor]]:
        """Returns what the writers take: (down, up, scale) of low rank, the tensors of others."""
        return {
            name: _to_factors(adapter) if isinstance(adapter, LowRank) else _to_tensors(adapter)
            for name, adapter in self.adapters.items()
        }

    def tensors(self) -> dict[str, dict[str, Tensor]]:
        """Returns per layer what a file holds of it, for every kind, fp32, on the CPU."""
        return {name: _to_tensors(adapter) for name, adapter in self.adapters.items()}

    def deltas(self) -> "Deltas":
        """Returns the exact weight difference per layer at multiplier 1, fp32, on the CPU."""
        return Deltas(self.adapters)


class Deltas(Mapping[str, Tensor]):
    """Weight differences by layer, each made when it is looked at: all of SDXL's are 10 GB."""

    def __init__(self, adapters: Mapping[str, Adapter]) -> None:
        self._adapters = adapters

    def __getitem__(self, layer: str) -> Tensor:
        with torch.no_grad():
            return self._adapters[layer].delta().float().cpu()

    def __iter__(self) -> Iterator[str]:
        return iter(self._adapters)

    def __len__(self) -> int:
        return len(self._adapters)


def inject(targets: Iterable[Target], build: Callable[[Target], Adapter | None]) -> AdapterSet:
    """Puts on each target the adapter that `build` returns for it, if any."""
    built = {target.name: (target, build(target)) for target in targets}
    return AdapterSet(
        {name: target for name, (target, adapter) in built.items() if adapter is not None},
        {name: adapter for name, (_, adapter) in built.items() if adapter is not None},
    )


def _find_role(adapter: Adapter, weight: str) -> Role:
    if weight in adapter.never_decayed:
        return "steady"
    return "zero" if weight in adapter.starts_at_zero else "random"


def _to_tensors(adapter: Adapter) -> dict[str, Tensor]:
    return {
        part: value.detach().float().cpu().contiguous() for part, value in adapter.tensors().items()
    }


def _to_factors(adapter: LowRank) -> Factors:
    down, up, scale = adapter.factors()
    return down.detach().float().cpu(), up.detach().float().cpu(), scale


def _make_hook(adapter: Adapter) -> Callable[[nn.Module, tuple[Any, ...], Tensor], Tensor]:
    def add_change(_layer: nn.Module, inputs: tuple[Any, ...], output: Tensor) -> Tensor:
        return output if adapter.multiplier == 0 else adapter.add_to(output, inputs[0])

    return add_change
