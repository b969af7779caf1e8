"""Fresh environments, and the two installers, with the package index that pip is set up with."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
SCRIPTS = "Scripts" if os.name == "nt" else "bin"


def find_uv():
    """Returns the path of uv, or None."""
    return shutil.which("uv", path=str(Path(sys.executable).parent)) or shutil.which("uv")


def call(*command, folder, **variables):
    """Runs a command without this environment's own modules; returns what it printed."""
    environment = {**os.environ, **{name: str(value) for name, value in variables.items()}}
    for name in ("PYTHONPATH", "VIRTUAL_ENV", "LORASMITH_WORKSPACE"):
        if name not in variables:
            environment.pop(name, None)
    done = subprocess.run(
        [str(part) for part in command],
        cwd=folder, env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, f"{command}\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}"
    return done.stdout


def read_index(folder):
    """Returns the variables that tell uv of the places where pip looks for packages."""
    kinds = {"extra-index-url": "UV_EXTRA_INDEX_URL", "find-links": "UV_FIND_LINKS"}
    kinds |= {"index-url": "UV_DEFAULT_INDEX", "cert": "SSL_CERT_FILE"}
    found = {"UV_INDEX_STRATEGY": "unsafe-best-match"}  # as pip chooses
    for line in call(sys.executable, "-m", "pip", "config", "list", folder=folder).splitlines():
        key, _, value = line.partition("=")
        if name := kinds.get(key.rpartition(".")[2]):
            found[name] = value.strip("'")
    # Places that are not there are skipped by pip, and an error for uv.
    for name in ("UV_EXTRA_INDEX_URL", "UV_FIND_LINKS"):
        places = [one for one in found.get(name, "").split() if _is_there(one)]
        found[name] = " ".join(places) if name == "UV_EXTRA_INDEX_URL" else ",".join(places)
    return {name: value for name, value in found.items() if value}


def _is_there(place):
    local = place.removeprefix("file://")
    return not local.startswith("/") or Path(local).exists()


def make_environment(folder):
    """Makes an empty environment; returns its Python."""
    call(sys.executable, "-m", "venv", folder, folder=folder.parent)
    return folder / SCRIPTS / "python"


def list_files(environment):
    """Returns the files of an environment but compiled ones, by path below it."""
    return {
        path.relative_to(environment).as_posix()
        for path in environment.rglob("*")
        if path.is_file() and path.suffix != ".pyc"
    }
