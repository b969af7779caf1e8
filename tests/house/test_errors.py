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
