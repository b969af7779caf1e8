"""The form is made of the config model, and gives back what it was filled with."""

from pathlib import Path

import pytest
from pydantic import BaseModel

from app.train.settings import FORM
from app.ui.form import build_widget, make_form, put
from trainer.config import ConfigError, Problem, RunConfig, layer_config, list_presets


def list_paths(model, prefix=""):
    for name, field in model.model_fields.items():
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            yield from list_paths(field.annotation, f"{prefix}{name}.")
        else:
            yield prefix + name


def as_a_browser_sends(field, value):
    """JSON knows one kind of number: 8.0 comes back as 8."""
    return int(value) if field.kind == "number" and float(value).is_integer() else value


@pytest.mark.parametrize("preset", ["", *list_presets()])
def test_form_gives_back_the_preset_it_was_filled_with(preset):
    config = layer_config(preset=preset)
    form = make_form()
    values = form.to_values(config)
    sent = {field.path: as_a_browser_sends(field, values[field.path]) for field in form.fields}
    assert layer_config(settings=form.to_tree(sent)) == config


def test_every_setting_with_a_choice_is_in_the_form():
    single = {"version", "adapter.kind", "optimizer.kind"}  # one allowed value each
    assert set(make_form().paths) | single == set(list_paths(RunConfig)) | single


def test_every_setting_has_a_widget_with_its_help_and_its_bounds():
    for field in make_form().fields:
        widget = build_widget(field)
        assert field.help
        assert widget.info.startswith(field.help)
        if field.kind in {"whole", "number"}:
            assert field.bounds
            assert field.bounds in widget.info
        if field.kind == "choice":
            assert [value for _, value in widget.choices] == list(field.choices)


def test_settings_asked_elsewhere_exist_and_are_left_out():
    elsewhere = {"base_model.path", "dataset.path", "dataset.trigger"}
    assert set(make_form().paths) - set(FORM.paths) == elsewhere


def test_prompts_are_one_a_line_without_empty_ones():
    form = make_form()
    values = form.to_values(RunConfig())
    values["samples.prompts"] = " a cat \n\n a dog\n"
    assert form.to_tree(values)["samples"]["prompts"] == ["a cat", "a dog"]


def test_small_tables_are_one_a_line_with_what_is_set_in_them():
    form = make_form()
    rows = [{"pattern": "*.attn2.*", "rank": 4}, {"pattern": "unet.mid_block.*", "rate": 0.5}]
    config = layer_config(settings={"adapter": {"blocks": rows}})
    values = form.to_values(config)
    assert (
        values["adapter.blocks"]
        == 'pattern = "*.attn2.*", rank = 4\npattern = "unet.mid_block.*", rate = 0.5'
    )
    assert layer_config(settings=form.to_tree(values)) == config
    values["adapter.blocks"] += '\n\n  {pattern = "*", rank = 0},\n'
    assert form.to_tree(values)["adapter"]["blocks"][2] == {"pattern": "*", "rank": 0}


@pytest.mark.parametrize(
    "line", ["mid_block", "rank = 4", 'pattern = "x", rang = 4', 'pattern = "']
)
def test_wrong_small_table_is_explained_next_to_its_setting(line):
    form = make_form()
    values = form.to_values(RunConfig())
    values["adapter.blocks"] = line
    with pytest.raises(ConfigError) as caught:
        layer_config(settings=form.to_tree(values))
    lines = form.explain(caught.value.problems)
    assert [name for name, line in lines.items() if line.startswith("✕")] == ["adapter.blocks"]


@pytest.mark.parametrize(
    ("path", "value"),
    [("adapter.rank", 0), ("adapter.rank", 2.5), ("adapter.rank", None), ("train.steps", "many"),
     ("optimizer.schedule", "magic"), ("name", "../x"), ("dataset.flip", "yes")],
)  # fmt: skip
def test_wrong_value_is_explained_next_to_its_setting(path, value):
    form = make_form()
    tree = form.to_tree(form.to_values(RunConfig()))
    put(tree, path, value)
    with pytest.raises(ConfigError) as caught:
        layer_config(settings=tree)
    lines = form.explain(caught.value.problems)
    assert [name for name, line in lines.items() if line.startswith("✕")] == [path]


def test_bounds_are_said_as_the_config_has_them():
    bounds = {field.path: field.bounds for field in make_form().fields}
    assert bounds["adapter.rank"] == "at least 1, at most 4096"
    assert bounds["adapter.alpha"] == "above 0, at most 4096"
    assert bounds["adapter.dropout"] == "at least 0.0, below 1.0"
    assert bounds["dataset.path"] == ""


def test_form_leaves_no_files_beside_its_code():
    import app.ui.form

    assert not Path(app.ui.form.__file__).with_suffix(".pyi").exists()


def test_problem_without_a_place_marks_no_setting():
    form = make_form()
    assert form.explain([Problem("", "two settings disagree")]) == {
        field.path: field.info for field in form.fields
    }


def test_type_without_a_widget_is_an_error_and_not_a_gap():
    class Odd(BaseModel):
        when: dict[str, int]

    with pytest.raises(TypeError, match="when"):
        make_form(Odd)
