"""The real peak memory of a computation, from the allocator; nothing here is estimated.

On CUDA the caching allocator records the peak. On a CPU PyTorch's profiler records every
allocation and release while the function runs, temporary buffers of kernels included, in addition
to the tensors that existed before. Memory that libraries allocate outside of PyTorch (oneDNN's
workspace, Python) is not included; `peak_resident_bytes` includes everything.
"""

import contextlib
import gc
import os
import sys
import warnings
from collections.abc import Callable
from typing import Any

import psutil
import torch
from torch import Tensor
from torch.profiler import ProfilerActivity, profile


def measure_peak(work: Callable[[], object], device: torch.device) -> int:
    """Calls a function and returns the peak bytes of tensors while it ran."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
        torch.cuda.reset_peak_memory_stats(device)
        work()
        torch.cuda.synchronize(device)
        return int(torch.cuda.max_memory_allocated(device))
    # The profiler would print two lines to the terminal.
    os.environ.setdefault("KINETO_LOG_LEVEL", "99")
    before = count_allocated_bytes()
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as record:
        work()
    return before + _find_peak(record)


def count_allocated_bytes() -> int:
    """Returns the bytes of all tensors of this process, each storage once."""
    gc.collect()
    sizes: dict[int, int] = {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # inspecting some libraries' objects warns
        for each in gc.get_objects():
            if isinstance(each, Tensor) and not each.is_meta:
                with contextlib.suppress(RuntimeError):  # a wrapper without storage
                    storage = each.untyped_storage()
                    sizes[storage.data_ptr()] = storage.nbytes()
    return sum(sizes.values())


def peak_resident_bytes() -> int:
    """Returns the peak main memory of this process since it started."""
    if sys.platform == "win32":
        peak = int(psutil.Process().memory_info().peak_wset)
    else:
        import resource  # Windows has no such module

        unit = 1 if sys.platform == "darwin" else 1024
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
    return peak


def _find_peak(record: profile) -> int:
    results = record.profiler.kineto_results if record.profiler else None
    recorded: list[Any] = results.events() if results else []  # the type stubs are incomplete
    events = [
        (event.start_ns(), event.nbytes())
        for event in recorded
        if event.name() == "[memory]" and event.device_type().name == "CPU"
    ]
    now = peak = 0
    for _, size in sorted(events, key=lambda event: event[0]):
        now += size
        peak = max(peak, now)
    return peak
