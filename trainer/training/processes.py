"""How many processes compute the steps of a run, and starting and ending them."""

import contextlib
import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import psutil
import torch
import torch.distributed as dist

from datasets_tools.disk import temporary_folder
from trainer.config import RunConfig, change_settings
from trainer.device_kinds import find_kind
from trainer.models import check_config
from trainer.runs import RunError, RunFolder, save_config
from trainer.runs.base_models import locate_base_model
from trainer.runs.children import Child
from trainer.training.group import ProcessGroup
from trainer.training.progress import warn

# The function that the other processes call.
_COMPUTE = "trainer.training.share:compute_shares"
# Threads gain nothing where each operation is small, and much where it is large. A UNet of this
# size in its file counts as small: the starter model has 22 MB, SD 1.5 in fp16 1.7 GB.
SMALL_UNET_BYTES = 256_000_000
# What a process with a small base model takes of the main memory, amply.
_PROCESS_BYTES = 1_500_000_000
_READY_SECONDS = 5.0  # between two looks at the processes that load their base model


def choose_devices(text: str, config: RunConfig, processes: int = 0) -> int:
    """Has this process, and those that it starts, use some of the CUDA devices alone.

    Args:
        text: Their numbers, "0,1".
        config: The settings of the run that they will train.
        processes: How many processes are asked for besides; 0 for no number.

    Returns:
        How many devices there are, which is the number of processes.

    Raises:
        RunError: they are no numbers, not there, or not as many as processes; or the run names
            another device.
    """
    names = [each.strip() for each in text.split(",")]
    if not all(each.isdecimal() for each in names) or len(set(names)) < len(names):
        msg = f"--devices is {text!r}. Give the numbers of different CUDA devices, such as 0,1."
        raise RunError(msg)
    if processes not in {0, len(names)}:
        msg = f"--devices names {len(names)} devices, but --processes is {processes}. Leave it out."
        raise RunError(msg)
    if config.train.device not in {"auto", "cuda"}:
        msg = (
            f"--devices names CUDA devices, but train.device is {config.train.device}. Set it to "
            "cuda, or leave out --devices."
        )
        raise RunError(msg)
    os.environ["CUDA_VISIBLE_DEVICES"] = ",".join(names)
    count = torch.cuda.device_count()
    if count < len(names):
        msg = (
            f"--devices is {text}, but PyTorch sees {count} of these CUDA devices. `lorasmith "
            "doctor` lists those that are there."
        )
        raise RunError(msg)
    return len(names)


def plan_processes(run: RunFolder, processes: int = 0) -> int:
    """Returns how many processes a run takes, and writes it into its settings.

    So a run that is resumed, or repeated with its settings, is computed in the same way again.

    Args:
        run: The run, which this process owns.
        processes: Replaces the number in its settings; 0 leaves that.

    Raises:
        ConfigError: the number is not in its bounds.
        ModelError, RunError: the base model is missing or damaged, or the settings cannot be saved.
    """
    config = run.config
    number = processes or config.train.processes or choose_processes(run)
    if config.train.processes != number:
        save_config(run, change_settings(config, {"train.processes": number}))
    count = min(number, _count_images(config))
    possible = _count_places(config)
    if count > possible:
        warn(run, f"train.processes is {number}, of which this computer can run {possible}.")
    return min(count, possible)


def choose_processes(run: RunFolder) -> int:
    """Returns the number of processes for `train.processes = 0`.

    One process on a GPU. On a CPU as many as there are cores and images of an update, where the
    base model is small; no more than are needed for the largest share to have as few images.

    Raises:
        ModelError, RunError: the base model is missing or damaged.
    """
    config = run.config
    if find_kind(config.train.device) != "cpu" or not dist.is_available():
        return 1
    info = check_config(locate_base_model(config.base_model, run.models_path))
    size = sum(file.path.stat().st_size for file in info.parts["unet"].files)
    if size > SMALL_UNET_BYTES:
        return 1
    memory = int(psutil.virtual_memory().available) // _PROCESS_BYTES
    return divide_images(_count_images(config), min(_count_cores(), max(memory, 1)))


def divide_images(images: int, most: int) -> int:
    """Returns the fewest processes whose largest share is as small as that of the most."""
    largest = -(-images // min(images, most))
    return -(-images // largest)


@contextlib.contextmanager
def start_processes(run: RunFolder, cache: Path, count: int) -> Iterator["FirstProcess"]:
    """Starts the other processes of a run and yields the group; they end with the block.

    They import their libraries while this one prepares the run.

    Args:
        run: The run, which this process owns.
        cache: Folder of encoded images and captions.
        count: Of all processes, with this one.
    """
    children: list[Child] = []
    with temporary_folder() as folder:
        group = FirstProcess(children, count, folder / "store")
        try:
            for index in range(1, count):
                words = (str(run.path), str(cache), index, count, group.threads, str(group.store))
                children.append(Child(_COMPUTE, words, RunFolder(run.path, index).log_path))
            yield group
        finally:
            for child in children:
                child.end()
            group.disconnect()


class FirstProcess(ProcessGroup):
    """The group, seen by the process that owns the run's folder and has started the others.

    Args:
        children: The other processes, in order.
        count: Of all.
        store: A file by which they find each other.
    """

    def __init__(self, children: Sequence[Child], count: int, store: Path) -> None:
        threads = max(1, torch.get_num_threads() // count)
        super().__init__(0, count, threads, store)
        self._children = children

    def open_sessions(self) -> None:
        """Has the others read the run, whose settings and cached images are complete by now."""
        for child in self._children:
            child.send("open")

    def connect(self, fingerprint: Callable[[], int], device: torch.device) -> None:
        """Waits until the others have loaded the base model, and connects them.

        Raises:
            RunError: one of them has ended, or starts from something else.
        """
        for child in self._children:
            with contextlib.suppress(EOFError):  # it is reported below
                child.receive()
        self.check_others()
        super().connect(fingerprint, device)

    def check_others(self, *, lost: bool = False, hang: bool = False) -> None:
        """Raises where another process has ended or does not answer."""
        for index, child in enumerate(self._children, 1):
            if hang or child.has_ended(_READY_SECONDS if lost else 0.0):
                end = child.describe_end().rstrip(".")
                msg = (
                    f"Process {index + 1} of the {self.count} that train this run {end}. Resume "
                    "the run: it continues from its last checkpoint. What the process printed is "
                    f"in {child.log.name}."
                )
                raise RunError(msg)


def _count_images(config: RunConfig) -> int:
    return config.train.batch_size * config.train.accumulate


def _count_cores() -> int:
    """Returns the physical cores that PyTorch may use; fewer where OMP_NUM_THREADS is lower."""
    return min(torch.get_num_threads(), psutil.cpu_count(logical=False) or 1)


def _count_places(config: RunConfig) -> int:
    """Returns how many processes can run on the device of a run."""
    kind = find_kind(config.train.device)
    if kind == "cuda":
        first = int(config.train.device.partition(":")[2] or 0)
        return max(1, torch.cuda.device_count() - first)
    return 1 if kind == "mps" or not dist.is_available() else config.train.processes or 64
