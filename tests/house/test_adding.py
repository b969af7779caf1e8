"""What it takes to add something: a setting is one declaration, a tab one folder and one line."""

import importlib

import gradio as gr
import pytest
from pydantic import Field, ValidationError

from app.core.workspace import Workspace
from app.ui.form import build_widget, make_form
from trainer.config import RunConfig, TrainConfig, config_to_toml

HELP = "How many steps the knob waits."


class TrainWithKnob(TrainConfig):
    """The one declaration; the second file is the one that uses `config.train.knob`."""

    knob: int = Field(default=3, ge=1, le=9, description=HELP)


class RunWithKnob(RunConfig):
    """A run's config whose training has one setting more."""

    train: TrainWithKnob = Field(default_factory=TrainWithKnob)


@pytest.fixture
def config_page(root, monkeypatch):
    monkeypatch.syspath_prepend(str(root))
    monkeypatch.syspath_prepend(str(root / "docs"))
    return importlib.import_module("config_page")


def test_setting_that_is_declared_once_is_in_form_file_docs_and_messages(config_page):
    field = next(one for one in make_form(RunWithKnob).fields if one.path == "train.knob")
    assert (field.kind, field.default, field.help) == ("whole", 3, HELP)
    with gr.Blocks():
        widget = build_widget(field)
    assert (widget.label, widget.elem_id) == ("Knob", "setting-train-knob")
    assert "1" in widget.info
    assert "9" in widget.info
    assert f"# {HELP}" in config_to_toml(RunWithKnob())
    assert "knob = 3" in config_to_toml(RunWithKnob())
    lines = config_page._render_section(RunWithKnob, prefix="", values=RunWithKnob(), level=2)
    assert f"| `train.knob` | whole number | `3` | ≥ 1, ≤ 9 | {HELP} |" in lines
    with pytest.raises(ValidationError, match=r"train\.knob"):
        RunWithKnob.model_validate({"train": {"knob": 10}})


def test_tab_is_a_draw_function_and_a_line(tmp_path, monkeypatch):
    from app.web import page

    def draw_queue(context):
        gr.Textbox(label=str(context.workspace.root.name), elem_id="queue-box")

    monkeypatch.setitem(page.TABS, "queue", page.Tab("Queue", draw_queue))
    built = page.build(Workspace(tmp_path / "workspace", ()))
    blocks = {block.elem_id: block for block in built.blocks.values() if block.elem_id}
    assert blocks["tab-queue"].label == "5 Queue"
    assert blocks["queue-box"].label == "workspace"
