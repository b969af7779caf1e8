"""Everything that changes while a run learns, saved and restored exactly, without pickle."""

import contextlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import save
from torch import Tensor

from datasets_tools.disk import remove_file, remove_folder, remove_quietly, rename
from datasets_tools.files import explain_os_error, write_atomically
from trainer.adapters import AdapterSet
from trainer.optim import Average, pack_optimizer, restore_optimizer
from trainer.runs import Checkpoint, RunError, RunFolder
from trainer.tensor_file import load_tensors


@dataclass
class TrainState:
    """What a checkpoint holds.

    Attributes:
        adapters: Trained weights.
        kind: Of the optimiser.
        optimizer: Its state.
        average: Running average of the weights, if there is one.
        scaler: The loss scaler of fp16, if there is one.
        step: Updates done.
    """

    adapters: AdapterSet
    kind: str
    optimizer: Any  # torch's, some of which can `train` and `eval`
    average: Average | None
    scaler: Any | None
    step: int = 0

    def start_learning(self) -> None:
        """Switches dropout on, and an optimiser that averages to the weights that it trains."""
        self.adapters.train(mode=True)
        if hasattr(self.optimizer, "train"):
            self.optimizer.train()

    @contextlib.contextmanager
    def shown(self) -> Iterator[None]:
        """Puts the weights in place that samples and files show: averaged, where there are such."""
        if self.average:
            with self.average.swapped_in():
                yield
            return
        if not hasattr(self.optimizer, "eval"):
            yield
            return
        self.optimizer.eval()
        try:
            yield
        finally:
            self.optimizer.train()

    def pack(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """Returns the optimiser's memory and averages as tensors by name, and as numbers."""
        parameters = self.adapters.named_parameters()
        memory, numbers = pack_optimizer(self.kind, self.optimizer, parameters)
        tensors = {f"optimizer.{name}": value for name, value in memory.items()}
        if self.average:
            tensors |= {f"average.{name}": value for name, value in self.average.values.items()}
        elif hasattr(self.optimizer, "eval"):
            with self.shown():
                tensors |= {f"average.{name}": p.clone() for name, p in parameters.items()}
        tensors |= {f"rules.{name}": value for name, value in self.adapters.memory().items()}
        return {name: value.detach().cpu().contiguous() for name, value in tensors.items()}, numbers

    def restore(self, tensors: dict[str, Tensor], numbers: dict[str, Any]) -> None:
        """Restores what `pack` returned.

        Raises:
            ValueError, KeyError: it belongs to other weights or another optimiser.
        """
        memory = _select(tensors, "optimizer.")
        restore_optimizer(self.optimizer, self.adapters.named_parameters(), memory, numbers)
        self.adapters.load_memory(_select(tensors, "rules."))
        if self.average:
            for name, value in self.average.values.items():
                value.copy_(tensors[f"average.{name}"])


def save_checkpoint(run: RunFolder, state: TrainState, examples: dict[str, str]) -> Checkpoint:
    """Writes a checkpoint aside and renames it.

    Args:
        run: Where to.
        state: What to save.
        examples: Content per image name, so that a resumed run notices a changed dataset.

    Raises:
        RunError: it cannot be written; nothing half-written stays.
    """
    path = run.checkpoints_path / f"step-{state.step:06d}"
    aside = run.checkpoints_path / f".step-{state.step:06d}"
    tensors, numbers = state.pack()
    meta = {
        "step": state.step,
        "optimizer": numbers,
        "examples": examples,
        "scaler": state.scaler.state_dict() if state.scaler else {},
    }
    try:
        run.checkpoints_path.mkdir(exist_ok=True)
        remove_quietly(aside)
        aside.mkdir()
        write_atomically(aside / "adapter.safetensors", save(state.adapters.state()))
        write_atomically(aside / "training.safetensors", save(tensors))
        write_atomically(aside / "meta.json", json.dumps(meta, indent=1))
        if path.exists():
            remove_folder(path)
        rename(aside, path)
    except OSError as error:
        remove_quietly(aside)
        msg = (
            f"The checkpoint at step {state.step} could not be saved: {explain_os_error(error)} "
            "When it is started again, the run continues from the checkpoint before."
        )
        raise RunError(msg) from error
    return Checkpoint(state.step, path)


def load_checkpoint(checkpoint: Checkpoint, state: TrainState, examples: dict[str, str]) -> None:
    """Restores a checkpoint.

    Raises:
        RunError: it is damaged, the adapter's settings changed, or the dataset did.
    """
    try:
        meta = json.loads((checkpoint.path / "meta.json").read_text(encoding="utf-8"))
        adapter = load_tensors(checkpoint.path / "adapter.safetensors")
        tensors = load_tensors(checkpoint.path / "training.safetensors")
    except (OSError, ValueError, SafetensorError) as error:
        msg = (
            f"The checkpoint {checkpoint.path.name} is damaged ({error}). Delete its folder to "
            "continue from the one before."
        )
        raise RunError(msg) from error
    _check_examples(meta["examples"], examples)
    try:
        state.adapters.load_state(adapter)
        state.restore(tensors, meta["optimizer"])
    except (ValueError, KeyError) as error:
        msg = (
            f"The checkpoint {checkpoint.path.name} does not fit the run's config ({error}). The "
            "adapter's settings cannot change within a run; start a new run for that."
        )
        raise RunError(msg) from error
    if state.scaler and meta["scaler"]:
        state.scaler.load_state_dict(meta["scaler"])
    state.step = int(meta["step"])


def read_weights(checkpoint: Path) -> dict[str, Tensor]:
    """Returns a checkpoint's weights as samples and exports use them: averaged, where they are.

    Raises:
        RunError: it is damaged.
    """
    try:
        averages = _select(load_tensors(checkpoint / "training.safetensors"), "average.")
        return load_tensors(checkpoint / "adapter.safetensors") | averages
    except (OSError, SafetensorError) as error:
        msg = f"The checkpoint {checkpoint.name} is damaged ({error}). Choose another."
        raise RunError(msg) from error


def _select(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {
        name.removeprefix(prefix): value
        for name, value in tensors.items()
        if name.startswith(prefix)
    }


def remove_old_checkpoints(run: RunFolder, keep: int) -> None:
    """Removes all but the newest `keep` checkpoints; 0 keeps all."""
    if keep:
        for checkpoint in run.list_checkpoints()[:-keep]:
            with contextlib.suppress(OSError):
                # First what makes it a checkpoint: nobody continues from what may stay of it.
                remove_file(checkpoint.path / "meta.json", missing_ok=True)
                remove_quietly(checkpoint.path)


def _check_examples(before: dict[str, str], now: dict[str, str]) -> None:
    changes = {
        "added": sorted(set(now) - set(before)),
        "removed": sorted(set(before) - set(now)),
        "changed": sorted(name for name in set(now) & set(before) if now[name] != before[name]),
    }
    texts = [f"{', '.join(names[:3])} {how}" for how, names in changes.items() if names]
    if texts:
        msg = (
            f"The dataset is not the one this run was trained on: {'; '.join(texts)}. Put it back "
            "as it was to continue, or start a new run."
        )
        raise RunError(msg)
