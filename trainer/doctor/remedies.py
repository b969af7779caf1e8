"""The one line to type for each remedy, for this system, with uv where it is there, else pip."""

import shlex
import sys
from pathlib import Path

from trainer.doctor.facts import Facts

_INDEX = "https://download.pytorch.org/whl"
# Builds of PyTorch for NVIDIA cards, by the driver's version that they need, the newest first.
_CUDA_BUILDS = ((580, "cu130"), (525, "cu126"))
_ROCM_BUILD = "rocm6.4"


def name_python(system: str = sys.platform) -> str:
    """Returns how this Python is called in a terminal: from the folder where it can, quoted."""
    path = Path(sys.executable)
    if path.is_relative_to(Path.cwd()):
        path = path.relative_to(Path.cwd())
    if system != "win32":
        return shlex.quote(str(path))
    # PowerShell, the usual terminal of Windows, calls a quoted path only with this sign.
    return f'& "{path}"' if " " in str(path) else str(path)


def install_cuda_torch(facts: Facts, python: str) -> str:
    """Returns the command that installs a PyTorch for an NVIDIA card."""
    gpu = facts.find_gpu("nvidia")
    major = int(gpu.driver.split(".")[0]) if gpu and gpu.driver.split(".")[0].isdigit() else 0
    builds = [build for needed, build in _CUDA_BUILDS if major >= needed]
    # Without its version the driver is taken for an old one: this build runs on newer ones, too.
    return _install_torch(facts, python, builds[0] if builds else _CUDA_BUILDS[-1][1])


def install_rocm_torch(facts: Facts, python: str) -> str:
    """Returns the command that installs a PyTorch for an AMD card on Linux."""
    return _install_torch(facts, python, _ROCM_BUILD)


def install_tested(facts: Facts, python: str, *packages: str) -> str:
    """Returns the command that installs packages at their tested versions."""
    pins = [f"{name}=={facts.tested[name]}" if name in facts.tested else name for name in packages]
    if facts.has_uv:
        return " ".join(["uv pip install --python", _name_for_uv(python), *pins])
    return " ".join([python, "-m pip install", *pins])


def remove(facts: Facts, python: str, package: str) -> str:
    """Returns the command that removes a package."""
    if facts.has_uv:
        return f"uv pip uninstall --python {_name_for_uv(python)} {package}"
    return f"{python} -m pip uninstall {package}"


def _install_torch(facts: Facts, python: str, build: str) -> str:
    version = facts.tested["torch"]
    if facts.has_uv:  # it looks for the card and the driver by itself
        return (
            f"uv pip install --python {_name_for_uv(python)} --torch-backend=auto "
            f"--reinstall-package torch torch=={version}"
        )
    # The build is part of the version, so pip replaces another build of the same version.
    return f"{python} -m pip install torch=={version}+{build} --index-url {_INDEX}/{build}"


def _name_for_uv(python: str) -> str:
    """Returns the path as an argument, where it needs no sign to be called."""
    return python.removeprefix("& ")
