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

from datasets_tools.disk import remove_file, remove_folder, remove_quietly, rename, sync_folder
from datasets_tools.files import explain_os_error
from trainer.adapters import AdapterSet
from trainer.optim import Average, pack_optimizer, restore_optimizer
from trainer.runs import Checkpoint, RunError, RunFolder
from trainer.runs.checkpoints import (
    META,
    META_VERSION,
    TENSORS,
    find_damage,
    name_checkpoint,
    read_meta,
    write_files,
)
from trainer.tensor_file import load_tensors
from trainer.training.origin import Origin, compare_origins


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


def save_checkpoint(run: RunFolder, state: TrainState, origin: Origin) -> Checkpoint:
    """Writes a checkpoint aside and renames it.

    Args:
        run: Where to.
        state: What to save.
        origin: What decides the result, so that a resumed run notices what changed.

    Raises:
        RunError: it cannot be written; nothing half-written stays.
    """
    path = run.checkpoints_path / f"step-{state.step:06d}"
    aside = run.checkpoints_path / f".step-{state.step:06d}"
    try:
        run.checkpoints_path.mkdir(exist_ok=True)
        remove_quietly(aside)
        aside.mkdir()
        write_files(aside, _list_contents(state, origin))
        if path.exists():
            remove_folder(path)
        rename(aside, path)
        # Before an older checkpoint may be removed: a power failure could undo the renaming alone.
        sync_folder(run.checkpoints_path)
    except OSError as error:
        remove_quietly(aside)
        msg = f"The checkpoint at step {state.step} could not be saved: {explain_os_error(error)}"
        raise RunError(msg) from error
    return Checkpoint(state.step, path)


def _list_contents(state: TrainState, origin: Origin) -> Iterator[tuple[str, bytes]]:
    """Yields the names and contents of a checkpoint's files."""
    tensors, numbers = state.pack()
    meta = {
        "version": META_VERSION,
        "step": state.step,
        "optimizer": numbers,
        "scaler": state.scaler.state_dict() if state.scaler else {},
        **origin.to_dict(),
    }
    adapter, training = TENSORS
    yield adapter, save(state.adapters.state())
    yield training, save(tensors)
    yield META, json.dumps(meta, indent=1).encode()


def load_checkpoint(checkpoint: Checkpoint, state: TrainState, origin: Origin) -> None:
    """Restores a checkpoint.

    Raises:
        RunError: it is damaged, or something changed that decides the result.
    """
    meta, adapter, tensors = _read_whole(checkpoint)
    compare_origins(meta, origin)
    try:
        state.adapters.load_state(adapter)
        state.restore(tensors, meta["optimizer"])
        if state.scaler and meta["scaler"]:
            state.scaler.load_state_dict(meta["scaler"])
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        msg = (
            f"The checkpoint {checkpoint.path.name} does not fit the run's config ({error}). The "
            "adapter's settings cannot change within a run; start a new run for that."
        )
        raise RunError(msg) from error
    state.step = checkpoint.step


def _read_whole(
    checkpoint: Checkpoint,
) -> tuple[dict[str, Any], dict[str, Tensor], dict[str, Tensor]]:
    """Returns a checkpoint's meta.json and tensors; raises RunError where it is damaged."""
    damage = find_damage(checkpoint)
    try:
        if not damage:
            meta = read_meta(checkpoint)
            adapter, tensors = (load_tensors(checkpoint.path / name) for name in TENSORS)
            return meta, adapter, tensors
    except (OSError, ValueError, SafetensorError) as error:
        damage = str(error)
    msg = f"The checkpoint {checkpoint.path.name} is damaged ({damage}). Choose another."
    raise RunError(msg)


def read_weights(folder: Path) -> dict[str, Tensor]:
    """Returns a checkpoint's weights as samples and exports use them: averaged, where they are.

    Raises:
        RunError: it is damaged.
    """
    _, adapter, tensors = _read_whole(name_checkpoint(folder))
    return adapter | _select(tensors, "average.")


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
                remove_file(checkpoint.path / META, missing_ok=True)
                remove_quietly(checkpoint.path)
