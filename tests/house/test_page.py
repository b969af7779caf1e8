"""The built page: values have names, few events, almost nothing hidden, no code in strings."""

import ast
import inspect
import re

import gradio as gr
import pytest

from app.core.workspace import Workspace
from app.ui.wire import wire, wire_in_browser

MAX_UNNAMED = 3
# 70 before the queue, the folders of a dataset and what a finished run offers.
MAX_EVENTS = 79
MAX_HIDDEN = 4


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    from app.web.page import build

    return build(Workspace(tmp_path_factory.mktemp("page") / "workspace", ()))


def find_unnamed(page):
    """Returns the events that move more than three values by position, or take any number."""
    return [reason for event in page.fns.values() if (reason := judge(event))]


def judge(event):
    name = getattr(event.fn, "__qualname__", "browser")
    if event.fn is None:
        named = "call([" in (event.js or "")
    else:
        named = event.inputs_as_dict
        parameters = inspect.signature(event.fn).parameters.values()
        if any(one.kind is one.VAR_POSITIONAL for one in parameters):
            return f"{name} takes *values"
    if not named and max(len(event.inputs), len(event.outputs)) > MAX_UNNAMED:
        return f"{name} moves {len(event.inputs)} and {len(event.outputs)} values by position"
    return ""


def count_hidden(page):
    return [
        block.elem_id or type(block).__name__
        for block in page.blocks.values()
        if block.visible == "hidden"
        or isinstance(block, gr.State)
        or "data-only" in (getattr(block, "elem_classes", None) or [])
    ]


def find_code(page):
    """Returns the JavaScript that is more than one line of calling a function."""
    scripts = [event.js for event in page.fns.values() if isinstance(event.js, str)]
    usual = inspect.signature(gr.HTML).parameters["js_on_load"].default
    scripts += [
        block.js_on_load
        for block in page.blocks.values()
        if isinstance(block, gr.HTML) and block.js_on_load not in {None, usual}
    ]
    return [one for one in scripts if "\n" in one or one.count(";") > 0]


def test_values_have_names(page):
    assert find_unnamed(page) == []


def test_there_are_few_events(page):
    assert len(page.fns) <= MAX_EVENTS


def test_almost_nothing_is_hidden(page):
    hidden = count_hidden(page)
    assert len(hidden) <= MAX_HIDDEN, hidden


def test_code_is_in_files(page):
    assert find_code(page) == []


def test_the_guards_find_what_they_forbid():
    with gr.Blocks() as page:
        boxes = [gr.Textbox(visible="hidden") for _ in range(4)]
        gr.State({})
        named = {f"box_{place}": box for place, box in enumerate(boxes)}
        boxes[0].change(lambda *values: values, boxes, boxes)
        boxes[1].change(lambda a, b, c, d: [a, b, c, d], boxes, boxes)
        boxes[2].change(fn=None, inputs=boxes, js="() => {\n  return 1;\n}")
        boxes[3].change(lambda a: a, boxes[:1], boxes[:1])
        wire(boxes[0].submit, lambda box_0, box_1, box_2, box_3: {}, named, named)
        wire_in_browser(boxes[1].submit, "applyChoices", named, named)
    assert [reason.split(">.")[-1] for reason in find_unnamed(page)] == [
        "<lambda> takes *values",
        "<lambda> moves 4 and 4 values by position",
        "browser moves 4 and 0 values by position",
    ]
    assert len(count_hidden(page)) == 5
    assert len(find_code(page)) == 1


# A counted skip is a list by position in disguise, a slice of values is one that moves.
FORBIDDEN = {
    r"\[\s*gr\.skip\(\)\s*\]\s*\*": "a counted gr.skip()",
    r"\bvalues\[[^\]]*:[^\]]*\]": "a slice of values",
}


def find_forbidden(text):
    return [reason for pattern, reason in FORBIDDEN.items() if re.search(pattern, text)]


def find_star_values(tree):
    """Returns the functions that take `*values`."""
    return [
        node.name
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef) and node.args.vararg is not None
    ]


def test_handlers_count_nothing(sources, package_trees):
    found = {
        name: reasons
        for name, text in sources.items()
        if name.startswith("app/") and (reasons := find_forbidden(text))
    }
    stars = {
        name: functions
        for name, tree in package_trees.items()
        if name.startswith("app/")
        and name.endswith("events.py")
        and (functions := find_star_values(tree))
    }
    assert (found, stars) == ({}, {})


def test_the_guard_finds_counted_skips_and_slices():
    assert find_forbidden("return [gr.skip()] * 3") == ["a counted gr.skip()"]
    assert find_forbidden("rows = values[2:]") == ["a slice of values"]
    assert find_forbidden("rows = values['a']") == []
    assert find_star_values(ast.parse("def f(a, *values): ...\ndef g(a): ...")) == ["f"]


# Names that say enough in their folder may stand in each of them.
SHARED_NAMES = {"page", "events", "html", "text", "__init__"}
# 85 files and 11,500 lines before conversion, what a base model predicts, checks and presets, 88
# and 11,900 before the doctor and proxies, 91 and 12,490 before lists of thousands of runs, uploads
# that are counted as they arrive, runs in several processes and evaluation, 94 and 12,940 before
# `batches` and logging out, 95 and 13,060 before groups of images with repeats and the import of
# folders and zips, 96 and 13,290 before the queue, 103 and 13,960 before the check-up with its
# remedies, 105 and 14,420 before the form that is put back, and settings and run with their results
# beside them, 109 and 14,870 before previews that show their steps: a feature raises them by what
# it needs.
MAX_APP_FILES = 110
MAX_APP_LINES = 15_560


def test_a_file_name_is_used_once_in_the_app(sources):
    names = [
        name.rsplit("/", maxsplit=1)[-1].removesuffix(".py")
        for name in sources
        if name.startswith("app/")
    ]
    assert sorted({one for one in names if names.count(one) > 1} - SHARED_NAMES) == []


def test_the_app_stays_small(sources):
    files = {name: text for name, text in sources.items() if name.startswith("app/")}
    assert len(files) <= MAX_APP_FILES
    assert sum(len(text.splitlines()) for text in files.values()) <= MAX_APP_LINES
