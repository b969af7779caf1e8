"""The processes that compute the steps of a run together.

Each computes its share of the examples of an update. The gradients are added up in all of them, so
that each does the same update: weights, optimiser and averages stay equal without being sent.
"""

import contextlib
import os
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import timedelta
from itertools import accumulate, pairwise
from pathlib import Path
from typing import Any

import psutil
import torch
import torch.distributed as dist
from torch import Tensor, nn

from trainer.runs import RunError

_CONNECTING = timedelta(seconds=120)
# A run may be paused for days, during which the others wait. They end with the first process.
_WAITING = timedelta(days=365)
# The first process looks after the others so often while it waits for them, and gives up after the
# time that it needed itself, many times, and this one.
_LOOK = timedelta(seconds=5)
PATIENCE_SECONDS = 600.0
_PATIENCE_TIMES = 20.0

DIFFERENT = (
    "The processes of this run do not start from the same settings, images and weights. Resume it "
    "when nothing changes its files."
)


class ProcessGroup:
    """The processes of a run, seen by one of them; without arguments it is the only one.

    Args:
        index: Of this process; 0 is the one that owns the run's folder.
        count: How many there are.
        threads: That each may use on a CPU while it computes a step.
        store: A file by which they find each other.
    """

    def __init__(
        self, index: int = 0, count: int = 1, threads: int = 0, store: Path | None = None
    ) -> None:
        self.index, self.count, self.threads, self.store = index, count, threads, store
        self._all_threads = torch.get_num_threads()
        self._gpus: Any = None  # the connections between GPUs, beside those between processes
        self._since = time.monotonic()

    @property
    def is_first(self) -> bool:
        """Whether this process owns the run's folder."""
        return self.index == 0

    def connect(self, fingerprint: Callable[[], int], device: torch.device) -> None:
        """Connects the processes; each waits here for all others.

        Args:
            fingerprint: Returns what must be equal in all of them, as 63 bits.
            device: Of the gradients.

        Raises:
            RunError: it is not, or one of them has ended.
        """
        if self.count == 1:
            return
        # Not in every build of PyTorch.
        from torch.distributed import FileStore  # type: ignore[attr-defined]
        from torch.distributed.distributed_c10d import _set_pg_timeout

        _keep_to_this_computer()
        store = FileStore(str(self.store), self.count)
        try:
            dist.init_process_group(
                "gloo",
                store=store,
                timeout=_CONNECTING,
                rank=self.index,
                world_size=self.count,
            )
        except RuntimeError as error:
            self._explain(error)
        _set_pg_timeout(_WAITING)
        if device.type == "cuda":
            # With its own time limit, since nobody waits long for what all have begun.
            self._gpus = dist.new_group(backend="nccl")
        own = torch.tensor([fingerprint()])
        every = [torch.zeros_like(own) for _ in range(self.count)]
        self._wait(dist.all_gather(every, own, async_op=True), own.device)
        if len({int(each) for each in every}) > 1:
            raise RunError(DIFFERENT)

    def disconnect(self) -> None:
        """Closes the connections."""
        if self.count > 1 and dist.is_initialized():
            dist.destroy_process_group()

    @contextlib.contextmanager
    def sharing_cores(self) -> Iterator[None]:
        """Uses only this process's share of the CPU's cores while the block runs."""
        torch.set_num_threads(self.threads or self._all_threads)
        try:
            yield
        finally:
            torch.set_num_threads(self._all_threads)

    @contextlib.contextmanager
    def using_all_cores(self) -> Iterator[None]:
        """Uses all cores again while the block runs and the other processes wait."""
        before = torch.get_num_threads()
        torch.set_num_threads(self._all_threads)
        try:
            yield
        finally:
            torch.set_num_threads(before)

    def count_largest_share(self, examples: int) -> int:
        """Returns how many examples of an update the process with most of them has."""
        return -(-examples // self.count)

    def deal(self, sizes: Sequence[int]) -> list[tuple[int, int]]:
        """Returns which examples of each batch of an update this process computes.

        The batches are dealt out as one row of examples, in equal parts but for one example.

        Args:
            sizes: Examples of each batch.

        Returns:
            The first one and the one behind the last, per batch; they are equal for none.
        """
        total = sum(sizes)
        first, last = (-(-total * each // self.count) for each in (self.index, self.index + 1))
        starts = pairwise(accumulate(sizes, initial=0))
        return [
            (min(max(first - start, 0), stop - start), min(max(last - start, 0), stop - start))
            for start, stop in starts
        ]

    def add_up(self, parameters: Iterable[nn.Parameter], loss: Tensor, *, failed: bool) -> bool:
        """Adds up the gradients and the loss of all processes, in each of them.

        Args:
            parameters: The trained weights, in the same order everywhere.
            loss: A scalar, which becomes the sum.
            failed: Whether this process ran out of memory; then nothing is added up anywhere.

        Returns:
            Whether any of them failed.

        Raises:
            RunError: one of them has ended.
        """
        if self.count == 1:
            return failed
        weights = list(parameters)
        # Which weights have a gradient at all decides what an optimiser does, and is known on the
        # CPU: what GPUs compute meanwhile is not waited for.
        flags = torch.tensor([failed, *(each.grad is not None for each in weights)]).int()
        self._add(flags)
        any_failed, *used = flags.tolist()
        if any_failed:
            return True
        weights = [each for each, count in zip(weights, used, strict=True) if count]
        gradients = [torch.zeros_like(w) if w.grad is None else w.grad for w in weights]
        row = torch.cat([*(each.flatten() for each in gradients), loss.reshape(1)])
        self._add(row)
        *sums, total = row.split([*(each.numel() for each in weights), 1])
        for weight, each in zip(weights, sums, strict=True):
            weight.grad = each.view_as(weight)
        loss.copy_(total[0])
        return False

    def _add(self, values: Tensor) -> None:
        """Replaces values by their sum over all processes; bitwise equal in all of them."""
        group = self._gpus if values.is_cuda else None
        self._wait(dist.all_reduce(values, group=group, async_op=True), values.device)

    def _wait(self, work: Any, device: torch.device) -> None:
        try:
            # On a GPU the work is only put behind what was begun before.
            if self.is_first and device.type == "cpu":
                self._wait_for_others(work)
            work.wait()
        except RuntimeError as error:
            self._explain(error)
        self._since = time.monotonic()

    def _wait_for_others(self, work: Any) -> None:
        """Waits, but not for ever where one of them has died or hangs."""
        limit = PATIENCE_SECONDS + _PATIENCE_TIMES * (time.monotonic() - self._since)
        waited = 0.0  # in turns, so that the time in which a computer sleeps does not count
        while not work.is_completed():
            with contextlib.suppress(RuntimeError):  # that this turn is over
                work.wait(_LOOK)
            self.check_others(hang=waited > limit)
            waited += _LOOK.total_seconds()

    def _explain(self, error: RuntimeError) -> None:
        self.check_others(lost=True)
        msg = f"The connection between the processes of this run was lost: {error}. Resume the run."
        raise RunError(msg) from error

    def check_others(self, *, lost: bool = False, hang: bool = False) -> None:
        """Raises where another process has ended; the first one knows.

        Args:
            lost: The connection to one of them is lost, so that one is about to end.
            hang: One of them has not answered for too long.

        Raises:
            RunError: which one, and how it ended.
        """


def _keep_to_this_computer() -> None:
    """Has the processes listen where only this computer can connect; Windows has no such name."""
    for name, addresses in psutil.net_if_addrs().items():
        if os.name == "posix" and any(each.address == "127.0.0.1" for each in addresses):
            os.environ.setdefault("GLOO_SOCKET_IFNAME", name)
            return
