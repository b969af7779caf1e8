"""The facts about a computer; which of them are good or bad is decided in `findings`."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

Maker = Literal["nvidia", "amd", "apple"]


@dataclass(frozen=True)
class Gpu:
    """A GPU that is in the computer, whether PyTorch can use it or not; "" and 0 are unknown."""

    maker: Maker
    name: str = ""
    memory_bytes: int = 0
    driver: str = ""


@dataclass(frozen=True)
class TorchBuild:
    """The PyTorch that is installed, and the versions of CUDA or ROCm that it was built for."""

    version: str
    cuda: str = ""
    rocm: str = ""


@dataclass(frozen=True)
class Device:
    """The device on which PyTorch would train.

    Attributes:
        kind: "cuda" (ROCm, too), "mps" or "cpu"; "" where PyTorch cannot be imported.
        name: Of the GPU.
        memory_bytes: Its memory, or what of the main memory it may take.
        bf16: Whether it computes in bf16.
        error: Why PyTorch does not work, or not with the GPU that it was built for.
    """

    kind: str
    name: str = ""
    memory_bytes: int = 0
    bf16: bool = False
    error: str = ""


@dataclass(frozen=True)
class Trial:
    """A training of one step.

    Attributes:
        state: "passed", "failed" or "skipped".
        seconds: How long it took, with loading and export.
        message: Why it failed or was skipped.
    """

    state: Literal["passed", "failed", "skipped"]
    seconds: float = 0.0
    message: str = ""


@dataclass(frozen=True)
class WorkspaceFormat:
    """The format of the workspace on disk, and the one that this version writes.

    Attributes:
        number: 0 is from before there was a number; None where there is no workspace, or where it
            cannot be read.
        current: The number that this version writes.
        error: Why it cannot be read, without the workspace's path.
    """

    number: int | None
    current: int
    error: str = ""


@dataclass(frozen=True)
class Facts:
    """A computer and what is installed on it.

    Attributes:
        lorasmith: Our version.
        system: As in `sys.platform`.
        system_version: Its full name.
        macos: Version of macOS; empty elsewhere.
        processor: As in `platform.machine()`.
        python: Version of Python.
        is_64_bit: Whether Python is.
        has_uv: Whether uv can be called.
        packages: Installed versions of what we need, by name; "" where it is missing.
        tested: The versions that Lorasmith is tested with.
        torch: The PyTorch that is installed; None without.
        gpus: GPUs in the computer.
        memory_bytes: Main memory.
        free_memory_bytes: What of it is free.
        free_disk_bytes: On the workspace's disk.
        workspace: The workspace's format; None where it was not looked at.
        optional: Optional parts: "works", "missing", "installed" (not tried), or why it is broken.
        device: What PyTorch sees; None where it was not asked.
        trial: The training of one step; None where it was not tried.
    """

    lorasmith: str
    system: str
    system_version: str
    processor: str
    python: tuple[int, int, int]
    macos: tuple[int, ...] = ()
    is_64_bit: bool = True
    has_uv: bool = False
    packages: Mapping[str, str] = field(default_factory=dict)
    tested: Mapping[str, str] = field(default_factory=dict)
    torch: TorchBuild | None = None
    gpus: tuple[Gpu, ...] = ()
    memory_bytes: int = 0
    free_memory_bytes: int = 0
    free_disk_bytes: int = 0
    workspace: WorkspaceFormat | None = None
    optional: Mapping[str, str] = field(default_factory=dict)
    device: Device | None = None
    trial: Trial | None = None

    def find_gpu(self, maker: Maker) -> Gpu | None:
        """Returns the first GPU of a maker."""
        return next((gpu for gpu in self.gpus if gpu.maker == maker), None)
