"""Names that say nothing, and calls that are not safe, stay out of the packages."""

import ast
from pathlib import PurePosixPath

import pytest

EMPTY_NAMES = {"utils", "util", "common", "helpers", "helper", "misc"}
EMPTY_ENDINGS = ("Manager", "Helper", "Utils")
UNSAFE_MODULES = {"pickle", "cPickle", "dill", "cloudpickle", "marshal", "shelve"}
UNSAFE_CALLS = {"torch.load", "os.system", "os.popen", "eval", "exec"}


def find_empty_names(name, tree):
    """Returns the parts of a path and the class names that name nothing."""
    parts = [part for part in PurePosixPath(name).with_suffix("").parts if part in EMPTY_NAMES]
    classes = [node.name for node in ast.walk(tree) if isinstance(node, ast.ClassDef)]
    return parts + [name for name in classes if name.endswith(EMPTY_ENDINGS)]


def find_unsafe_code(tree):
    """Returns each import, call or argument that runs a shell or unpickles."""
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found += [a.name for a in node.names if a.name.split(".")[0] in UNSAFE_MODULES]
        elif isinstance(node, ast.ImportFrom):
            found += [node.module] if node.module in UNSAFE_MODULES else []
        elif isinstance(node, ast.Call):
            called = ast.unparse(node.func)
            found += [called] if called in UNSAFE_CALLS else []
            found += [f"{word.arg}=True" for word in node.keywords if is_unsafe_argument(word)]
    return found


def is_unsafe_argument(word):
    unsafe = word.arg in {"shell", "allow_pickle", "trust_remote_code"}
    return unsafe and isinstance(word.value, ast.Constant) and word.value.value is True


def test_every_module_and_class_has_a_name_that_says_something(package_trees):
    found = {name: find_empty_names(name, tree) for name, tree in package_trees.items()}
    assert {name: names for name, names in found.items() if names} == {}


def test_no_shell_no_pickle_no_torch_load(package_trees):
    found = {name: find_unsafe_code(tree) for name, tree in package_trees.items()}
    assert {name: code for name, code in found.items() if code} == {}


@pytest.mark.parametrize(
    "code",
    [
        "import pickle",
        "from pickle import loads",
        "torch.load(path)",
        "torch.load(path, weights_only=True)",
        "subprocess.run('ls', shell=True)",
        "numpy.load(path, allow_pickle=True)",
        "os.system('ls')",
        "eval(text)",
    ],
)
def test_the_guard_finds_unsafe_code(code):
    assert len(find_unsafe_code(ast.parse(code))) == 1


@pytest.mark.parametrize(
    "code", ["model.eval()", "subprocess.run(command, shell=False)", "'never torch.load(x)'"]
)
def test_the_guard_lets_safe_code_pass(code):
    assert find_unsafe_code(ast.parse(code)) == []


@pytest.mark.parametrize(
    ("name", "code"),
    [
        ("app/utils.py", ""),
        ("trainer/common/sizes.py", ""),
        ("app/web/server.py", "class RunManager: pass"),
    ],
)
def test_the_guard_finds_empty_names(name, code):
    assert len(find_empty_names(name, ast.parse(code))) == 1
