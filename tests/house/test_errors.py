"""One base for every error of ours, so that whoever shows messages has one class to catch."""

import ast
import builtins

from datasets_tools.errors import LorasmithError

BUILT_IN = {
    name
    for name, value in vars(builtins).items()
    if isinstance(value, type) and issubclass(value, BaseException)
}


def find_errors_without_base(tree):
    """Returns the classes that derive from built-in exceptions and from nothing of ours."""
    return [
        node.name
        for node in ast.walk(tree)
        if isinstance(node, ast.ClassDef)
        and node.name != LorasmithError.__name__
        and node.bases
        and {ast.unparse(base) for base in node.bases} <= BUILT_IN
    ]


def test_every_error_class_derives_from_the_one_base(package_trees):
    found = {
        path: names
        for path, tree in package_trees.items()
        if (names := find_errors_without_base(tree))
    }
    assert found == {}


def test_the_guard_sees_a_class_without_the_base():
    tree = ast.parse("class AError(Exception): ...\nclass BError(LorasmithError, ValueError): ...")
    assert find_errors_without_base(tree) == ["AError"]


# One function words an error of the system, so that its advice fits: a file that is held or
# read-only is not helped by free space. The others make an error that has a `strerror` of its own.
EXPLAINS = {"datasets_tools/files.py", "datasets_tools/disk.py", "trainer/runs/errors.py"}


def find_own_wordings(tree):
    """Returns the lines that put the system's words into a message."""
    return [
        node.lineno
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute) and node.attr == "strerror"
    ]


def test_errors_of_the_system_are_explained_in_one_place(package_trees):
    found = {
        path: lines
        for path, tree in package_trees.items()
        if path not in EXPLAINS and (lines := find_own_wordings(tree))
    }
    assert found == {}, "use datasets_tools.files.explain_os_error instead"


def test_the_guard_sees_an_own_wording():
    assert find_own_wordings(ast.parse("msg = f'{error.strerror or error}. Free some space.'"))
