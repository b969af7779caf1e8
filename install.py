"""Installs Lorasmith into the folder `.venv` beside this file.

`install.sh` and `install.bat` find a Python and call it. uv chooses the torch that fits the
graphics card. Where uv can't be had, or can't do it, pip installs the ordinary torch, which has
CUDA on Linux and none on Windows. No syntax newer than Python 3.6 here: an older Python must be
able to say that it is too old.
"""

import argparse
import os
import shutil
import subprocess
import sys
import venv

HERE = os.path.dirname(os.path.abspath(__file__))
NEEDED = (3, 11)
CONSTRAINTS = os.path.join(HERE, "constraints.txt")
_NO_VENV = """This Python cannot make environments (the modules venv and ensurepip).
On Debian and Ubuntu: sudo apt install python3-venv
Then run this again."""
_NO_CUDA = """There is an NVIDIA card, but the torch that was installed has no CUDA, so training
would use the processor. The command "doctor" shows the line to type:
    {command} doctor"""


def main():
    """Installs, reports what came out of it, and returns the exit code."""
    parser = argparse.ArgumentParser(description="Install Lorasmith into .venv.")
    parser.add_argument(
        "--venv", default=os.path.join(HERE, ".venv"), help="folder to install into"
    )
    parser.add_argument("--torch", default="auto", help="torch's kind for uv: auto, cpu, cu130 ...")
    parser.add_argument("--pip", action="store_true", help="install with pip, without uv")
    args = parser.parse_args()
    if sys.version_info < NEEDED:
        print("Lorasmith needs Python 3.11 or newer; this is %s." % sys.version.split()[0])
        return 1
    python = make_environment(args.venv)
    if python is None:
        print(_NO_VENV)
        return 1
    print("Installing into %s. torch is large, so this takes some minutes." % args.venv, flush=True)
    if (args.pip or not install_with_uv(python, args.torch)) and not install_with_pip(python):
        print("\nIt could not be installed; the lines above say why. Run this again to go on.")
        return 1
    return report(python)


def make_environment(folder):
    """Returns the Python of the environment, made where there is none; None where it can't be."""
    inside = ("Scripts", "python.exe") if os.name == "nt" else ("bin", "python")
    python = os.path.join(folder, *inside)
    if not run([python, "-m", "pip", "--version"], quiet=True):
        try:
            venv.create(folder, with_pip=True)
        except (ImportError, subprocess.CalledProcessError):
            return None
    return python


def install_with_uv(python, torch):
    """Whether uv could install everything."""
    pip = [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    uv = shutil.which("uv") or os.path.join(os.path.dirname(python), "uv")
    if not shutil.which(uv) and not run([*pip, "uv"]):
        return False
    options = ["--python", python, "--torch-backend", torch, "--constraint", CONSTRAINTS]
    if run([uv, "pip", "install", *options, "--editable", HERE]):
        return True
    print("uv could not install it, so pip does.", flush=True)
    return False


def install_with_pip(python):
    """Whether pip could install everything."""
    pip = [python, "-m", "pip", "install", "--disable-pip-version-check"]
    return run([*pip, "--constraint", CONSTRAINTS, "--editable", HERE])


def report(python):
    """Prints what was installed and how to start it; returns the exit code."""
    command = os.path.join(os.path.dirname(python), "lorasmith")
    code = "import torch; print(torch.__version__, torch.cuda.is_available())"
    done = subprocess.run([python, "-c", code], stdout=subprocess.PIPE, universal_newlines=True)
    if done.returncode != 0:
        print("\ntorch was installed, but it cannot be imported; the lines above say why.")
        return 1
    version, has_cuda = done.stdout.split()
    print("\nLorasmith is installed, with torch %s." % version)
    if has_cuda == "False" and shutil.which("nvidia-smi"):
        print(_NO_CUDA.format(command=command))
    print("Start it with %s" % ("run.bat" if os.name == "nt" else command))
    return 0


def run(command, quiet=False):
    """Whether a command succeeds."""
    output = subprocess.DEVNULL if quiet else None
    try:
        return subprocess.call(command, stdout=output, stderr=output) == 0
    except OSError:
        return False


if __name__ == "__main__":
    sys.exit(main())
