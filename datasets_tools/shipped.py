"""Where the files lie that come along: the starter model, example datasets, pages of docs.

In a checkout they are its folders `examples` and `docs`. A wheel installs them beside the packages
as `lorasmith_examples` and `lorasmith_docs` (`setup.py`), because the plain names may be another
project's there.
"""

from pathlib import Path

_HOME = Path(__file__).resolve().parents[1]


def find_shipped(name: str, home: Path = _HOME) -> Path:
    """Returns the folder `examples` or `docs`, whether or not it is there.

    Args:
        name: Of the folder in a checkout.
        home: The folder that holds the packages.
    """
    return home / name if is_checkout(home) else home / f"lorasmith_{name}"


def is_checkout(home: Path = _HOME) -> bool:
    """Whether the packages lie in a checkout of the repository and not in an environment."""
    return (home / "pyproject.toml").is_file() and (home / "examples").is_dir()


EXAMPLES = find_shipped("examples")
DOCS = find_shipped("docs")
