"""A fact stands once: no second table of number formats or families beside the leaf's own."""

import ast

import pytest

from trainer.formats.families import FAMILIES
from trainer.formats.precision import BY_CODE, BY_PRECISION, NUMBER_FORMATS, PRECISIONS

NUMBER_FORMAT_WORDS = {
    *PRECISIONS,
    *BY_CODE,
    *(each.dtype for each in NUMBER_FORMATS if each.dtype),
} - {"BOOL"}
# Leaf → the words of which two in one literal make a table.
TABLES = {
    "trainer/formats/precision.py": NUMBER_FORMAT_WORDS,
    "trainer/formats/families.py": {
        word for each in FAMILIES.values() for word in (each.name, each.title, each.long_title)
    },
}


def read_words(node):
    """Returns the texts and the names of attributes that a literal holds itself."""
    if isinstance(node, ast.Dict):
        parts = [*node.keys, *node.values]
    elif isinstance(node, ast.Tuple | ast.List | ast.Set):
        parts = node.elts
    else:
        return set()
    texts = {each.value for each in parts if isinstance(each, ast.Constant)}
    return texts | {each.attr for each in parts if isinstance(each, ast.Attribute)}


def find_tables(tree, words):
    """Returns the lines of literals that hold two of these words or more."""
    return [node.lineno for node in ast.walk(tree) if len(read_words(node) & words) > 1]


@pytest.mark.parametrize("leaf", TABLES)
def test_no_other_module_keeps_such_a_table(package_trees, leaf):
    found = {
        path: lines
        for path, tree in package_trees.items()
        if path != leaf and (lines := find_tables(tree, TABLES[leaf]))
    }
    assert found == {}


@pytest.mark.parametrize(
    "text",
    ['{"fp16": 1, "bf16": 2}', 'A = ("fp16", "fp32")', "{torch.float16: x, torch.bfloat16: y}"],
)
def test_the_guard_sees_a_table(text):
    assert find_tables(ast.parse(text), NUMBER_FORMAT_WORDS) == [1]


def find_comparisons(tree, words):
    """Returns the lines that compare something with one of these words."""
    return [
        node.lineno
        for node in ast.walk(tree)
        if isinstance(node, ast.Compare)
        and any(
            isinstance(each, ast.Constant) and each.value in words
            for each in [node.left, *node.comparators]
        )
    ]


def test_nothing_depends_on_the_name_of_a_family(package_trees):
    found = {
        path: lines
        for path, tree in package_trees.items()
        if (lines := find_comparisons(tree, set(FAMILIES)))
    }
    assert found == {}


def test_the_guard_sees_a_comparison_with_a_family():
    assert find_comparisons(ast.parse('if family == "sdxl": pass'), set(FAMILIES)) == [1]


def test_rows_of_number_formats_agree_with_torch():
    import torch

    from trainer.dtypes import CODES, DTYPES, STORED_DTYPES

    assert list(DTYPES.items()) == [
        ("fp16", torch.float16),
        ("bf16", torch.bfloat16),
        ("fp32", torch.float32),
    ]
    for code, dtype in STORED_DTYPES.items():
        assert dtype.itemsize == BY_CODE[code].bytes
        assert CODES[dtype] == code
    assert [BY_PRECISION[name].code for name in PRECISIONS] == ["F16", "BF16", "F32"]
