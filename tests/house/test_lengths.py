"""Bars on the tail: no long file, no long function, no wide signature."""

import ast

MAX_FILE_LINES = 300
MAX_FUNCTION_LINES = 60
MAX_PARAMETERS = 8

# What may be longer: the offence as the guard words it, without its number -> (reason, date).
# This list only shrinks: an entry that is no longer needed fails the last test.
EXCEPTIONS: dict[str, tuple[str, str]] = {}


def find_offences(name: str, text: str) -> dict[str, int]:
    """Returns each bar that a file breaks, with the number that breaks it."""
    offences = {f"{name}: lines": len(text.splitlines())}
    limits = {f"{name}: lines": MAX_FILE_LINES}
    for node in ast.walk(ast.parse(text)):
        if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            continue
        place = f"{name}: {node.name}"
        arguments = node.args
        count = len(arguments.posonlyargs) + len(arguments.args) + len(arguments.kwonlyargs)
        lines = (node.end_lineno or node.lineno) - node.lineno + 1
        for key, number, limit in (
            (f"{place} lines", lines, MAX_FUNCTION_LINES),
            (f"{place} parameters", count, MAX_PARAMETERS),
        ):
            offences[key] = max(number, offences.get(key, 0))
            limits[key] = limit
    return {key: number for key, number in offences.items() if number > limits[key]}


def test_no_file_or_function_is_too_long_or_too_wide(sources):
    offences = {
        k: n for name, text in sources.items() for k, n in find_offences(name, text).items()
    }
    assert {key: n for key, n in offences.items() if key not in EXCEPTIONS} == {}


def test_every_exception_is_still_needed(sources):
    offences = {key for name, text in sources.items() for key in find_offences(name, text)}
    assert set(EXCEPTIONS) - offences == set()


def test_the_guard_sees_the_packages(sources):
    assert {"app", "trainer", "datasets_tools"} <= {name.split("/")[0] for name in sources}


def test_the_guard_finds_a_long_file_a_long_function_and_a_wide_signature():
    body = "    x = 1\n" * 60
    wide = ", ".join(f"p{i}" for i in range(9))
    text = f"def long():\n{body}\n\nasync def wide({wide}):\n    pass\n" + "y = 2\n" * 240
    assert find_offences("a.py", text) == {
        "a.py: lines": 305,
        "a.py: long lines": 61,
        "a.py: wide parameters": 9,
    }


def test_the_guard_lets_a_file_at_the_bars_pass():
    text = f"def edge({', '.join(f'p{i}' for i in range(8))}):\n" + "    x = 1\n" * 59
    assert find_offences("a.py", text + "\n" * 240) == {}
