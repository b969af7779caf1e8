"""Files are moved and removed in one module, which knows what to do when they are in use."""

import ast

import pytest

PLACE = "datasets_tools/disk.py"
CALLS = {
    "os": {"replace", "rename", "renames", "remove", "unlink", "rmdir", "removedirs", "fsync"},
    "shutil": {"rmtree", "move"},
    "tempfile": {"TemporaryDirectory", "NamedTemporaryFile"},
}
METHODS = {"rename", "unlink", "rmdir"}
# A reader that maps a file keeps it open as long as its tensors live; these two copy them.
MAPPING = {"load_file", "safe_open"}
READERS = {"trainer/tensor_file.py", "trainer/files/read/adapter_file.py"}
# Values are looked at one by one and none is returned; the captioner's process ends with its job.
CLOSED_AT_ONCE = {"trainer/files/verify/facts.py", "datasets_tools/captioners/starter.py"}
# The one place that writes through a descriptor.
FLUSHES = {"datasets_tools/files.py": {"fsync"}}


def find_moves(tree):
    """Returns (line, call) for each call that moves, removes or flushes a file."""
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module in CALLS:
            names = {each.name for each in node.names} & CALLS[node.module]
            found += [(node.lineno, name) for name in sorted(names)]
        if not isinstance(node, ast.Attribute):
            continue
        owner = node.value.id if isinstance(node.value, ast.Name) else ""
        if node.attr in CALLS.get(owner, METHODS if owner not in CALLS else ()):
            found.append((node.lineno, node.attr))
    return found + find_replacements(tree)


def find_replacements(tree):
    """Returns the calls of `Path.replace`, which has one argument, where that of texts has two."""
    return [
        (node.lineno, "replace")
        for node in ast.walk(tree)
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and node.func.attr == "replace"
        and len(node.args) == 1
        and not node.keywords
    ]


def find_mappings(tree):
    """Returns (line, name) for each import of a reader that maps the file."""
    return [
        (node.lineno, each.name)
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("safetensors")
        for each in node.names
        if each.name in MAPPING
    ]


def test_files_are_moved_and_removed_in_one_module(package_trees):
    found = {
        f"{name}:{line} {call}"
        for name, tree in package_trees.items()
        if name != PLACE
        for line, call in find_moves(tree)
        if call not in FLUSHES.get(name, ())
    }
    assert found == set(), f"use {PLACE} instead"


def test_files_of_tensors_are_read_by_copy(package_trees):
    found = {
        name for name, tree in package_trees.items() if find_mappings(tree)
    } - READERS - CLOSED_AT_ONCE  # fmt: skip
    assert found == set(), "use trainer.tensor_file.load_tensors instead"


@pytest.mark.parametrize("code", [
    "os.replace(a, b)", "path.replace(other)", "(folder / 'x').unlink(missing_ok=True)",
    "path.rename(other)", "shutil.rmtree(folder, ignore_errors=True)", "act = path.unlink",
    "from shutil import rmtree", "from os import rename", "os.fsync(file.fileno())",
    "folder.rmdir()", "with tempfile.TemporaryDirectory() as name: pass",
])  # fmt: skip
def test_the_guard_finds(code):
    assert find_moves(ast.parse(code))


@pytest.mark.parametrize("code", [
    "text.replace('a', 'b')", "replace(config, a=1)", "when.replace(tzinfo=None)",
    "disk.remove_file(path)", "shutil.copyfile(a, b)", "items.remove(one)",
])  # fmt: skip
def test_the_guard_leaves(code):
    assert find_moves(ast.parse(code)) == []


def test_the_guard_finds_readers_that_map():
    assert find_mappings(ast.parse("from safetensors.torch import load_file, save"))
    assert not find_mappings(ast.parse("from safetensors.torch import save"))
