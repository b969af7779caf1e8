"""What the house guards look at: the repository's own Python files, parsed once."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("app", "trainer", "datasets_tools", "presets")
FOLDERS = (*PACKAGES, "benchmarks", "examples")


@pytest.fixture(scope="session")
def root() -> Path:
    return ROOT


@pytest.fixture(scope="session")
def sources() -> dict[str, str]:
    """The text of every Python file that the bars on length hold for, by path from the root."""
    files = [path for folder in FOLDERS for path in sorted((ROOT / folder).rglob("*.py"))]
    return {path.relative_to(ROOT).as_posix(): path.read_text(encoding="utf-8") for path in files}


@pytest.fixture(scope="session")
def package_trees(sources: dict[str, str]) -> dict[str, ast.Module]:
    """The syntax tree of every Python file of the installed packages."""
    return {
        name: ast.parse(text)
        for name, text in sources.items()
        if name.split("/", maxsplit=1)[0] in PACKAGES
    }
