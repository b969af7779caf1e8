"""What it takes to add something: a setting is one declaration, a tab one folder and one line."""

import importlib
import sys
from types import SimpleNamespace

import gradio as gr
import pytest
from pydantic import Field, ValidationError

from app.cli import main
from app.combine.recipes import describe_task, list_first_values, make_arguments, read_recipe
from app.commands import combining
from app.core.workspace import Workspace
from app.ui.form import build_widget, make_form
from trainer.config import (
    COMBINE_OPTIONS,
    MergeOptions,
    RunConfig,
    TrainConfig,
    config_to_toml,
    get_used_with,
)

HELP = "How many steps the knob waits."


class TrainWithKnob(TrainConfig):
    """The one declaration; the second file is the one that uses `config.train.knob`."""

    knob: int = Field(default=3, ge=1, le=9, description=HELP)


class RunWithKnob(RunConfig):
    """A run's config whose training has one setting more."""

    train: TrainWithKnob = Field(default_factory=TrainWithKnob)


class MergeWithKnob(MergeOptions):
    """The one declaration; the second file is the method that uses `options.knob`."""

    knob: float = Field(
        default=0.25,
        ge=0,
        le=1,
        description=HELP,
        json_schema_extra=MergeOptions.model_fields["density"].json_schema_extra,
    )


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


@pytest.fixture
def knob(monkeypatch):
    """Declares one setting more of a merge."""
    monkeypatch.setitem(COMBINE_OPTIONS, "merge", MergeWithKnob)
    monkeypatch.setattr(combining, "MergeOptions", MergeWithKnob)


def test_merge_setting_that_is_declared_once_is_everywhere(
    knob, config_page, tmp_path, monkeypatch, capsys
):
    from app.web.page import build

    # The form: a slider that is shown where the method has the setting.
    workspace = Workspace(tmp_path / "workspace", ())
    page = build(workspace)
    slider = next(one for one in page.blocks.values() if one.elem_id == "workbench-merge-knob")
    assert (slider.label, slider.info, slider.value, slider.maximum) == ("Knob", HELP, 0.25, 1)
    assert describe_task("merge")["conditions"]["knob"] == get_used_with(
        MergeOptions.model_fields["density"]
    )
    # The recipe that the page makes, and the command that follows it.
    for name in ("a", "b"):
        (workspace.loras_path / f"{name}.safetensors").write_bytes(b"x")
    fields = list_first_values()
    fields["settings"] |= {"merge.method": "ties", "merge.knob": 0.7}
    fields["files"] |= {"1": "file:a.safetensors", "2": "file:b.safetensors"}
    used = ("task", "settings", "files", "weights", "base_model", "tuned_model")
    recipe = read_recipe(**{name: fields[name] for name in used})
    assert recipe.settings["knob"] == 0.7
    arguments = make_arguments(workspace, recipe, tmp_path / "ab.safetensors")
    # The command reads it, checks it, and hands it on.
    requests = []
    report = {"cosines": [], "sign_conflicts": -1, "lost": 0, "cut": 0, "layers": []}
    trainer = SimpleNamespace(
        MergeRequest=lambda *request: request,
        merge=lambda request: requests.append(request[2]) or report,
        EXPECTED_ERRORS=(),
    )
    monkeypatch.setitem(sys.modules, "trainer.commands", trainer)
    assert main(arguments) == 0
    assert (requests[0].method, requests[0].knob) == ("ties", 0.7)
    assert main([*arguments, "--knob=7"]) == 2
    assert "--knob: must be less than or equal to 1, but is 7.0." in capsys.readouterr().err
    # The reference.
    line = f"| `knob` | number | `0.25` | ≥ 0, ≤ 1 | {HELP} |"
    assert line in config_page.render_options().splitlines()
