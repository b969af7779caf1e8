"""The window stays light: the app neither loads torch nor knows the trainer's rooms."""

import ast
import json
import subprocess
import sys

import pytest

HEAVY = {"torch", "diffusers", "transformers", "accelerate", "peft"}
TRAINER_FOR_THE_APP = {"trainer.config", "trainer.doctor", "trainer.formats", "trainer.runs"}
# The command line hands over to the trainer from there, inside functions.
HANDS_OVER = {"app/commands/": "trainer.commands"}


def load_in_fresh_interpreter(statement, root):
    """Returns the top-level modules that are loaded after an import statement."""
    code = (
        f"{statement}\nimport json, sys\n"
        "print(json.dumps(sorted({name.split('.')[0] for name in sys.modules})))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return set(json.loads(done.stdout.splitlines()[-1]))


@pytest.mark.parametrize(
    "statement",
    [
        "import app.cli, app.web.server",
        "import trainer.config, trainer.runs",
        "import trainer.doctor",
        "import datasets_tools",
        "import datasets_tools.captioning, datasets_tools.captioners.places",
        "import datasets_tools.captioners.table",
    ],
)
def test_import_does_not_load_torch(statement, root):
    assert load_in_fresh_interpreter(statement, root) & HEAVY == set()


def test_the_guard_would_see_torch(root):
    assert "torch" in load_in_fresh_interpreter("import torch", root)


def list_imports(tree):
    """Returns (line, module) for each import anywhere in a file, also inside functions."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module == "trainer":
            yield from ((node.lineno, f"trainer.{alias.name}") for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.lineno, node.module or ""


def find_trainer_imports(tree, also=""):
    """Returns what a file imports of the trainer beyond its light rooms and one module."""
    return [
        f"line {line}: {module}"
        for line, module in list_imports(tree)
        if module.split(".")[0] == "trainer"
        and ".".join(module.split(".")[:2]) not in TRAINER_FOR_THE_APP
        and module != also
    ]


def test_app_imports_of_the_trainer_only_config_and_runs(package_trees):
    found = {
        name: imports
        for name, tree in package_trees.items()
        if name.startswith("app/")
        and (imports := find_trainer_imports(tree, find_other_side(name)))
    }
    assert found == {}


def find_other_side(name):
    """Returns the module to which a file may hand over; "" for most files."""
    return next((other for folder, other in HANDS_OVER.items() if name.startswith(folder)), "")


def test_the_guard_finds_imports_of_other_rooms():
    source = (
        "import trainer.training.loop\nfrom trainer import training, config\n"
        "def f():\n    from trainer.export.kohya import write\n"
        "from trainer.runs.folder import Run\nfrom trainer.config import RunConfig\n"
    )
    assert sorted(find_trainer_imports(ast.parse(source))) == [
        "line 1: trainer.training.loop",
        "line 2: trainer.training",
        "line 4: trainer.export.kohya",
    ]


def test_no_relative_imports(package_trees):
    found = [
        f"{name}:{node.lineno}"
        for name, tree in package_trees.items()
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and node.level
    ]
    assert found == []
