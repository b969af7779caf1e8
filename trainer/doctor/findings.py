"""What is good and bad about a computer, each with a sentence and the remedy."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal

from trainer.doctor.facts import Facts
from trainer.doctor.probes import REQUIRED
from trainer.doctor.remedies import (
    install_cuda_torch,
    install_rocm_torch,
    install_tested,
    remove,
)

Severity = Literal["error", "warning", "note", "good"]

OLDEST_PYTHON, NEWEST_PYTHON = (3, 11), (3, 14)
GB = 10**9
LEAST_MEMORY, USUAL_MEMORY = 4 * GB, 12 * GB
LEAST_DISK, USUAL_DISK = 2 * GB, 20 * GB
USUAL_GPU_MEMORY = 5.5 * GB  # cards of 6 GB report less


@dataclass(frozen=True)
class Finding:
    """One thing about the computer.

    Attributes:
        code: What it is about, for programs.
        severity: An error stops a training or makes it far slower than the computer could.
        message: For the person, with what to do in words.
        remedy: The line to type; "" where there is none.
    """

    code: str
    severity: Severity
    message: str
    remedy: str = ""


def list_findings(facts: Facts, python: str = "python") -> list[Finding]:
    """Returns what is good and bad about a computer, the worst first.

    Args:
        facts: The computer.
        python: How its Python is called in a terminal.
    """
    findings = [finding for check in _CHECKS for finding in check(facts, python)]
    order = ("error", "warning", "note", "good")
    return sorted(findings, key=lambda finding: order.index(finding.severity))


def _check_python(facts: Facts, _python: str) -> Iterator[Finding]:
    version = ".".join(map(str, facts.python))
    oldest, newest = (".".join(map(str, each)) for each in (OLDEST_PYTHON, NEWEST_PYTHON))
    advice = f"Install Lorasmith with Python {oldest} to {newest}."
    if facts.python[:2] < OLDEST_PYTHON:
        yield Finding("python", "error", f"Python {version} is too old. {advice}")
    elif facts.python[:2] > NEWEST_PYTHON:
        message = f"Python {version} is newer than any that Lorasmith was tried with. {advice}"
        yield Finding("python", "warning", message)
    if not facts.is_64_bit:
        message = "This is a 32-bit Python, for which there is no PyTorch. Install a 64-bit one."
        yield Finding("python", "error", message)


def _check_packages(facts: Facts, python: str) -> Iterator[Finding]:
    missing = [name for name in REQUIRED if not facts.packages.get(name) and name != "torch"]
    if missing:
        message = f"What Lorasmith needs is not installed: {', '.join(missing)}."
        yield Finding("packages", "error", message, install_tested(facts, python, *missing))
    others = {
        name: (version, facts.tested[name])
        for name, version in facts.packages.items()
        if version and name in facts.tested and _read(version) != _read(facts.tested[name])
    }
    if others:
        shown = ", ".join(f"{name} {has} (tested: {pin})" for name, (has, pin) in others.items())
        severity: Severity = "note"
        if any(_read(has)[:1] != _read(pin)[:1] for has, pin in others.values()):
            severity = "warning"
        message = f"Installed in another version than the tested one: {shown}."
        yield Finding("versions", severity, message, install_tested(facts, python, *others))


def _check_torch(facts: Facts, python: str) -> Iterator[Finding]:
    if facts.torch is None:
        nvidia = facts.find_gpu("nvidia")
        remedy = install_cuda_torch if nvidia else lambda *_: install_tested(facts, python, "torch")
        message = "PyTorch is not installed, and nothing can be trained without it."
        yield Finding("torch", "error", message, remedy(facts, python))
    elif facts.system == "darwin" and facts.processor != "arm64":
        message = (
            "PyTorch is not made for Macs with an Intel processor any more. Train on another "
            "computer."
        )
        yield Finding("torch", "error", message)
    elif facts.device is not None and not facts.device.kind:
        message = f"PyTorch cannot be imported: {facts.device.error}. Install it again."
        yield Finding("torch", "error", message, install_tested(facts, python, "torch"))


def _check_gpu(facts: Facts, python: str) -> Iterator[Finding]:
    if facts.torch is None:
        return
    nvidia, amd = facts.find_gpu("nvidia"), facts.find_gpu("amd")
    build = f"the installed PyTorch ({facts.torch.version})"
    if nvidia and not facts.torch.cuda:
        card = nvidia.name or "an NVIDIA card"
        message = (
            f"This computer has {card}, and {build} cannot use it: training would run on the CPU, "
            "many times slower. Install the build for NVIDIA cards and start Lorasmith again."
        )
        yield Finding("nvidia-cpu-torch", "error", message, install_cuda_torch(facts, python))
    elif amd and not nvidia and not facts.torch.rocm:
        card = amd.name or "an AMD card"
        message = f"This computer has {card}, and {build} is not built for ROCm. "
        if facts.system == "linux":
            message += "Where ROCm supports the card, install the build for it."
            yield Finding("amd-cpu-torch", "warning", message, install_rocm_torch(facts, python))
        else:
            message += "AMD cards are only supported on Linux; training runs on the CPU."
            yield Finding("amd-cpu-torch", "warning", message)
    elif not facts.gpus and facts.device is None:
        yield _make_cpu_finding()


def _check_device(facts: Facts, _python: str) -> Iterator[Finding]:
    device, torch = facts.device, facts.torch
    if device is None or not device.kind or torch is None:
        return
    if device.kind == "cpu" and (torch.cuda or torch.rocm) and facts.gpus:
        message = (
            f"PyTorch cannot use the GPU: {device.error or 'it finds none'}. Update the card's "
            "driver and start the computer again."
        )
        yield Finding("driver", "error", message)
    elif device.error:
        message = (
            f"The GPU ({device.name}) cannot compute with this PyTorch: {device.error}. Another "
            "build of PyTorch may support it."
        )
        yield Finding("device", "error", message)
    elif device.kind == "cpu":
        if not facts.gpus:
            yield _make_cpu_finding()
    else:
        yield from _describe_gpu(facts)


def _describe_gpu(facts: Facts) -> Iterator[Finding]:
    device, torch = facts.device, facts.torch
    if device is None or torch is None:
        return
    size = f"{device.memory_bytes / GB:.1f} GB"
    if device.kind == "mps":
        message = (
            f"Training runs on the Apple GPU, which may take {size} of the main memory. Lorasmith "
            "was not tried on a Mac: please report what does not work."
        )
        yield Finding("mps", "note", message)
    elif torch.rocm:
        message = (
            f"Training runs on {device.name} ({size}) through ROCm {torch.rocm}. Lorasmith was not "
            "tried on AMD cards: please report what does not work."
        )
        yield Finding("rocm", "note", message)
    else:
        format_ = "bf16" if device.bf16 else "fp16"
        message = f"Training runs on {device.name} ({size}) in {format_}."
        yield Finding("gpu", "good", message)
    if device.memory_bytes < USUAL_GPU_MEMORY:
        message = (
            f"{size} of GPU memory is little: choose a preset for 6 GB, and look at the estimate "
            "of memory before the start."
        )
        yield Finding("gpu-memory", "warning", message)


def _make_cpu_finding() -> Finding:
    message = (
        "There is no GPU that PyTorch knows: training runs on the CPU. That is enough for the "
        "starter model; a run on SD 1.5 takes hours, one on SDXL days."
    )
    return Finding("cpu", "warning", message)


def _check_memory(facts: Facts, _python: str) -> Iterator[Finding]:
    size = f"{facts.memory_bytes / GB:.1f} GB"
    if facts.memory_bytes < LEAST_MEMORY:
        message = (
            f"{size} of main memory is too little to load any real base model. Close other "
            "programs, or use another computer."
        )
        yield Finding("memory", "error", message)
    elif facts.memory_bytes < USUAL_MEMORY:
        message = f"{size} of main memory is enough for SD 1.5 and little for SDXL."
        yield Finding("memory", "warning", message)
    if facts.memory_bytes >= LEAST_MEMORY and facts.free_memory_bytes < LEAST_MEMORY / 2:
        free = f"{facts.free_memory_bytes / GB:.1f} GB"
        message = f"Only {free} of main memory are free. Close other programs before a training."
        yield Finding("free-memory", "warning", message)


def _check_disk(facts: Facts, _python: str) -> Iterator[Finding]:
    free = f"{facts.free_disk_bytes / GB:.1f} GB"
    if facts.free_disk_bytes < LEAST_DISK:
        message = (
            f"Only {free} are free on the workspace's disk: a run cannot save its checkpoints. "
            "Free some space, or choose another disk with --workspace."
        )
        yield Finding("disk", "error", message)
    elif facts.free_disk_bytes < USUAL_DISK:
        message = f"{free} are free on the workspace's disk; an SDXL model alone takes 7 GB."
        yield Finding("disk", "warning", message)


def _check_workspace(facts: Facts, _python: str) -> Iterator[Finding]:
    if facts.workspace is None:
        return
    number, current = facts.workspace.number, facts.workspace.current
    severity: Severity = "note"
    if facts.workspace.error:
        severity = "error"
        message = f"The workspace's format cannot be read: {facts.workspace.error}"
    elif number is None:
        message = f"There is no workspace yet; a new one gets format {current}."
    elif number > current:
        severity = "error"
        message = (
            f"The workspace was written by a newer version of Lorasmith (its format is {number}, "
            f"and this version knows {current}): this version refuses it. Update Lorasmith, or "
            "choose another folder with --workspace."
        )
    elif number < current:
        message = (
            f"The workspace has format {number}: the next command that uses it brings it up to "
            f"date, to format {current}. Copy the folder first if an older version is to open it "
            "again."
        )
    else:
        severity, message = "good", f"The workspace has the format of this version ({current})."
    yield Finding("workspace", severity, message)


def _check_optional(facts: Facts, python: str) -> Iterator[Finding]:
    for name, state in facts.optional.items():
        if state not in {"works", "missing", "installed"}:
            message = (
                f"{name} is installed and does not work: {state}. It is optional; remove it, or "
                "install one that fits this PyTorch."
            )
            yield Finding(name, "warning", message, remove(facts, python, name))
    unable = [name for name in ("xformers", "bitsandbytes") if facts.optional.get(name) == "works"]
    if unable and facts.device is not None and facts.device.kind == "mps":
        message = f"{' and '.join(unable)} cannot be used on a Mac's GPU."
        yield Finding("optional-mps", "note", message)


def _check_trial(facts: Facts, _python: str) -> Iterator[Finding]:
    trial = facts.trial
    if trial is None:
        return
    if trial.state == "passed":
        message = f"A training of one step on the starter model passed in {trial.seconds:.0f} s."
        yield Finding("trial", "good", message)
    elif trial.state == "failed":
        message = f"A training of one step on the starter model failed: {trial.message}"
        yield Finding("trial", "error", message)
    else:
        yield Finding("trial", "note", f"No training was tried: {trial.message}")


def _read(version: str) -> tuple[int, ...]:
    """Returns the numbers of a version, without the build behind the plus."""
    parts = version.partition("+")[0].split(".")
    return tuple(int(part) for part in parts if part.isdigit())


_CHECKS: tuple[Callable[[Facts, str], Iterator[Finding]], ...] = (
    _check_python,
    _check_torch,
    _check_gpu,
    _check_device,
    _check_packages,
    _check_optional,
    _check_memory,
    _check_disk,
    _check_workspace,
    _check_trial,
)
