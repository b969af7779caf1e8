"""Pages that name tests name such as exist; each promise about security has code and a test."""

import ast
import re

import pytest

PAGES = {"security.md": 30, "ux-goals.md": 30}  # and how many tests they name at least


@pytest.fixture(scope="module")
def names(root):
    """The name of every test function."""
    found = set()
    for path in (root / "tests").rglob("test_*.py"):
        tree = ast.parse(path.read_text("utf-8"))
        found |= {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)}
    return found


@pytest.mark.parametrize(("page", "least"), PAGES.items())
def test_every_test_that_is_named_exists(root, names, page, least):
    named = set(re.findall(r"`(test_\w+)`", (root / "docs" / page).read_text("utf-8")))
    assert len(named) >= least
    assert sorted(named - names) == []


def test_every_promise_has_code_and_a_test(root):
    page = (root / "docs" / "security.md").read_text("utf-8")
    section = page.partition("## What is promised")[2].partition("\n## ")[0]
    rows = [line.split("|")[1:-1] for line in section.splitlines() if line.startswith("| ")][1:]
    assert len(rows) > 20
    for promise, code, test in rows:
        assert "`test_" in test, promise
        for path in re.findall(r"`([\w/.]+)`", code):
            assert (root / path).exists(), path
