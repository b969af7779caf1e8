"""Events wired by name, in a real Gradio page: values come and go by name."""

import json
import re
from collections import Counter
from pathlib import Path

import gradio as gr
import pytest

import app.ui
from app.ui.wire import wire, wire_in_browser
from app.web.page import build

FOLDER = Path(app.ui.__file__).parent


def run(page, event, values):
    """Runs an event as Gradio does, with the components' values; returns them afterwards."""
    sent = [values[one] for one in event.inputs]
    given = [dict(zip(event.inputs, sent, strict=True))] if event.inputs_as_dict else sent
    return event.fn(*given)


def test_values_reach_the_handler_by_name_and_groups_as_one_dict():
    with gr.Blocks() as page:
        name, button = gr.Textbox(), gr.Button()
        form = {"train.steps": gr.Number(), "adapter.rank": gr.Number()}
        heard = {}

        def start(name, values):
            heard.update(name=name, values=values)
            return {"values": {"adapter.rank": 8}, "name": "new"}

        wire(button.click, start, {"name": name, "values": form}, {"name": name, "values": form})
    (event,) = page.fns.values()
    steps, rank = form.values()
    changed = run(page, event, {name: "cats", steps: 10, rank: 4})
    assert heard == {"name": "cats", "values": {"train.steps": 10, "adapter.rank": 4}}
    assert changed == {rank: 8, name: "new"}  # the steps stay as they are


def test_handler_that_changes_nothing_leaves_everything_as_it_is():
    with gr.Blocks() as page:
        box, button = gr.Textbox(), gr.Button()
        wire(button.click, lambda: None, outputs={"box": box})
    (event,) = page.fns.values()
    assert run(page, event, {}) == {box: gr.skip()}


def test_name_that_no_output_has_is_an_error():
    with gr.Blocks() as page:
        box, button = gr.Textbox(), gr.Button()
        wire(button.click, lambda: {"bux": "x"}, outputs={"box": box})
    (event,) = page.fns.values()
    with pytest.raises(KeyError, match="bux"):
        run(page, event, {})


@pytest.mark.parametrize(
    ("sent", "keys"), [({"key": "stop"}, "stop"), ({}, ""), (None, ""), ("key", ""), ([7], "")]
)
def test_data_of_an_event_is_read_whatever_a_browser_sends(sent, keys):
    heard = []
    with gr.Blocks() as page:
        button = gr.HTML()
        wire(button.select, lambda event: heard.append(getattr(event, "key", "")))
    (event,) = page.fns.values()
    event.fn({}, gr.EventData(button, sent))
    assert heard == [keys]
    assert event.trigger_mode == "multiple"  # a second press is not the first once more


def test_several_triggers_are_one_event_and_one_may_follow_another():
    with gr.Blocks() as page:
        box, button = gr.Textbox(), gr.Button()
        first = wire([box.submit, button.click], lambda box: {}, {"box": box})
        wire(first.then, lambda: None)
    assert [len(event.targets) for event in page.fns.values()] == [2, 1]


def test_event_of_the_browser_asks_the_server_nothing_and_names_its_values():
    with gr.Blocks() as page:
        box, other = gr.Textbox(), gr.Textbox()
        group = {"values": {"train.steps": box}}
        wire_in_browser(box.change, "nameAfter", {"name": box, **group}, {"other": other})
    (event,) = page.fns.values()
    assert event.fn is None
    assert '["nameAfter", ["name", ["values", "train.steps"]], ["other"]]' in event.js
    assert "\n" not in event.js


def list_functions(module):
    """The names that a module of the page offers for events."""
    table = re.search(r"export const functions = \{(.*?)\n?\};", module, re.DOTALL)
    inner = table[1] if table else ""
    inner = re.sub(r"\.\.\.\w+,?", "", inner)  # those of other modules
    return re.findall(r"(?:^|,|\n)\s*(\w+)(?=\s*[:,]|\s*$)", inner)


def test_every_function_that_an_event_names_is_there_once(workspace):
    """Modules put their functions into one table: one of two with a name would be lost."""
    modules = [path.read_text("utf-8") for path in (FOLDER / "js").glob("*.js")]
    counts = Counter(name for module in modules for name in list_functions(module))
    assert [name for name, count in counts.items() if count > 1] == []
    scripts = [event.js for event in build(workspace).fns.values() if event.js]
    used = {json.loads(re.search(r"call\((\[.*\]), given", one)[1])[0] for one in scripts}
    assert used - set(counts) == set()
    assert len(used) > 15
