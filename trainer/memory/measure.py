"""What a piece of work really takes, from the allocator's own books; nothing here is estimated.

On CUDA the caching allocator keeps a peak. On a CPU there is none, so PyTorch's profiler writes
down every allocation and every release of the allocator while the work runs, temporary buffers
inside of kernels included, on top of the tensors that lived before. What libraries allocate past
PyTorch (oneDNN's own scratch, Python) is not in it; `peak_resident_bytes` has everything.
"""

import contextlib
import gc
import os
import resource
import sys
import warnings
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.profiler import ProfilerActivity, profile


def measure_peak(work: Callable[[], object], device: torch.device) -> int:
    """Does some work and returns the most bytes of tensors that lived at once while it ran."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
        torch.cuda.reset_peak_memory_stats(device)
        work()
        torch.cuda.synchronize(device)
        return int(torch.cuda.max_memory_allocated(device))
    # The profiler's library would write two lines to the terminal.
    os.environ.setdefault("KINETO_LOG_LEVEL", "99")
    before = count_living_bytes()
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as record:
        work()
    return before + _find_peak(record)


def count_living_bytes() -> int:
    """Returns the bytes of all tensors of this process, each storage once."""
    gc.collect()
    sizes: dict[int, int] = {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # merely looking at some library's objects warns
        for each in gc.get_objects():
            if isinstance(each, Tensor) and not each.is_meta:
                with contextlib.suppress(RuntimeError):  # it wraps another and has no storage
                    storage = each.untyped_storage()
                    sizes[storage.data_ptr()] = storage.nbytes()
    return sum(sizes.values())


def peak_resident_bytes() -> int:
    """Returns the most main memory that this process has had since it started."""
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def _find_peak(record: profile) -> int:
    results = record.profiler.kineto_results if record.profiler else None
    found: list[Any] = results.events() if results else []  # the stubs know half of an event
    events = [
        (event.start_ns(), event.nbytes())
        for event in found
        if event.name() == "[memory]" and event.device_type().name == "CPU"
    ]
    now = peak = 0
    for _, size in sorted(events, key=lambda event: event[0]):
        now += size
        peak = max(peak, now)
    return peak
