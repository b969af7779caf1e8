"""Reading the facts: first what costs nothing, then what starts processes."""

import json
import os
import re
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from trainer.doctor.facts import Device, Facts, Gpu, TorchBuild, WorkspaceFormat
from trainer.doctor.host import Host
from trainer.runs import RunError
from trainer.runs.workspace import FORMAT, is_workspace, read_format

_TESTED = Path(__file__).with_name("tested.txt")
# Of constraints.txt: what a training or the app needs; the rest are tools of developers.
REQUIRED = (
    "accelerate", "diffusers", "filelock", "gradio", "huggingface-hub", "lion-pytorch", "numpy",
    "pandas", "pillow", "prodigyopt", "psutil", "pydantic", "safetensors", "schedulefree",
    "starlette", "tomlkit", "torch", "tqdm", "transformers",
)  # fmt: skip
# Extras, by the module whose import shows whether they work.
OPTIONAL = {
    "xformers": "xformers.ops",
    "bitsandbytes": "bitsandbytes",
    "onnxruntime": "onnxruntime",
    "keyring": "keyring",
    "pillow-heif": "pillow_heif",
}
_NVIDIA_QUERY = ("--query-gpu=name,memory.total,driver_version", "--format=csv,noheader,nounits")
_AMD = "0x1002"  # the maker's number on the PCI bus
_IMPORT = "import importlib, sys; importlib.import_module(sys.argv[1])"
# xformers imports without its kernels and only warns.
_WARNS = re.compile(r"can't load C\+\+/CUDA extensions[^\n]*")


def read_facts(host: Host, workspace: Path) -> Facts:
    """Returns what can be read without importing anything or starting more than nvidia-smi."""
    total, free = host.memory()
    return Facts(
        lorasmith=host.find_version("lorasmith"),
        system=host.system,
        system_version=host.system_version,
        processor=host.processor,
        python=host.python,
        macos=tuple(int(part) for part in host.macos.split(".") if part.isdigit()),
        is_64_bit=sys.maxsize > 2**32,
        has_uv=host.which("uv") is not None,
        packages={name: host.find_version(name) for name in (*REQUIRED, *OPTIONAL)},
        tested=read_tested(),
        torch=read_torch(host),
        gpus=(*_find_nvidia(host), *_find_amd(host), *_find_apple(host, total)),
        memory_bytes=total,
        free_memory_bytes=free,
        free_disk_bytes=host.free_disk(workspace),
        workspace=read_workspace(workspace),
        optional={name: "installed" if host.find_module(name) else "missing" for name in OPTIONAL},
    )


def read_deep_facts(host: Host, facts: Facts) -> Facts:
    """Returns the facts with what only imports show: the device, and whether optional parts work.

    Each is imported in a process of its own: a broken one may end it.
    """
    optional = {
        name: _try_import(host, OPTIONAL[name]) if state == "installed" else state
        for name, state in facts.optional.items()
    }
    return replace(facts, optional=optional, device=_read_device(host))


def read_tested() -> dict[str, str]:
    """Returns the versions that Lorasmith is tested with, by package."""
    lines = _TESTED.read_text(encoding="utf-8").splitlines()
    pins = (line.split("==") for line in lines if "==" in line and not line.startswith("#"))
    return {name.strip(): version.strip() for name, version in pins}


def read_workspace(root: Path) -> WorkspaceFormat:
    """Returns the format of a workspace, which is left as it is."""
    try:
        number = read_format(root)
        if root.exists() and not root.is_dir():
            reason = "it is a file. Choose a folder with --workspace."
            return WorkspaceFormat(None, FORMAT, reason)
        return WorkspaceFormat(number if is_workspace(root) else None, FORMAT)
    except RunError as error:
        # The path is left out: the app shows this to people on other computers, too.
        return WorkspaceFormat(None, FORMAT, str(error).replace(f"{root}{os.sep}", ""))


def read_torch(host: Host) -> TorchBuild | None:
    """Returns the build of PyTorch from its file of versions, without importing it."""
    module = host.find_module("torch")
    if module is None:
        return None
    try:
        text = module.with_name("version.py").read_text(encoding="utf-8")
    except OSError:
        return TorchBuild(host.find_version("torch"))
    values = dict(re.findall(r"^(\w+)(?:: [^=\n]*)? = '([^'\n]*)'", text, re.MULTILINE))
    version = values.get("__version__") or host.find_version("torch")
    return TorchBuild(version, values.get("cuda", ""), values.get("hip", ""))


def _find_nvidia(host: Host) -> Iterator[Gpu]:
    program = host.which("nvidia-smi")
    lines = host.run([program, *_NVIDIA_QUERY]).output.splitlines() if program else []
    rows = [[cell.strip() for cell in line.split(",")] for line in lines]
    rows = [row for row in rows if len(row) == 3]
    if rows:
        for name, memory, driver in rows:
            size = int(memory) * 1024**2 if memory.isdigit() else 0
            yield Gpu("nvidia", name, size, driver)
        return
    # The driver is there, but not its program.
    for path in sorted(host.root.glob("proc/driver/nvidia/gpus/*/information")):
        model = re.search(r"^Model:\s*(.+)$", _read(path), re.MULTILINE)
        yield Gpu("nvidia", model[1].strip() if model else "")
        rows.append([])
    library = host.root / "usr/lib/wsl/lib/libcuda.so.1"
    if host.system == "win32":
        library = Path(host.environment.get("SystemRoot", "C:/Windows")) / "System32/nvcuda.dll"
    if not rows and library.exists():
        yield Gpu("nvidia")


def _find_amd(host: Host) -> Iterator[Gpu]:
    if host.system == "win32":
        folder = Path(host.environment.get("SystemRoot", "C:/Windows")) / "System32"
        if any(folder.glob("amdhip64*.dll")):
            yield Gpu("amd")
        return
    if not (host.root / "dev/kfd").exists():  # the driver for computing
        return
    for vendor in sorted(host.root.glob("sys/class/drm/card*/device/vendor")):
        if _read(vendor).strip() == _AMD:
            size = _read(vendor.with_name("mem_info_vram_total")).strip()
            name = _read(vendor.with_name("product_name")).strip()
            yield Gpu("amd", name, int(size) if size.isdigit() else 0)


def _find_apple(host: Host, memory: int) -> Iterator[Gpu]:
    if host.system == "darwin" and host.processor == "arm64":
        yield Gpu("apple", "Apple GPU", memory)


def _read_device(host: Host) -> Device:
    answer = host.run([sys.executable, "-m", "trainer.doctor.torch_device"])
    try:
        return Device(**json.loads(answer.output.splitlines()[-1]))
    except (IndexError, ValueError, TypeError):
        return Device("", error=_last_line(answer.errors) or f"exit code {answer.code}")


def _try_import(host: Host, module: str) -> str:
    answer = host.run([sys.executable, "-c", _IMPORT, module])
    if answer.code != 0:
        return _last_line(answer.errors) or f"exit code {answer.code}"
    warning = _WARNS.search(answer.errors)
    return warning[0] if warning else "works"


def _last_line(text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1] if lines else ""


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
