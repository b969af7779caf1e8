"""The page of what is promised names tests and files that exist, and each promise has a test."""

import ast
import re

import pytest


@pytest.fixture(scope="module")
def page(root):
    return (root / "docs" / "security.md").read_text("utf-8")


@pytest.fixture(scope="module")
def names(root):
    """The name of every test function."""
    found = set()
    for path in (root / "tests").rglob("test_*.py"):
        tree = ast.parse(path.read_text("utf-8"))
        found |= {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)}
    return found


def test_every_test_that_is_named_exists(page, names):
    named = set(re.findall(r"`(test_\w+)`", page))
    assert len(named) > 30
    assert sorted(named - names) == []


def test_every_promise_has_code_and_a_test(page, root):
    section = page.partition("## What is promised")[2].partition("\n## ")[0]
    rows = [line.split("|")[1:-1] for line in section.splitlines() if line.startswith("| ")][1:]
    assert len(rows) > 20
    for promise, code, test in rows:
        assert "`test_" in test, promise
        for path in re.findall(r"`([\w/.]+)`", code):
            assert (root / path).exists(), path
