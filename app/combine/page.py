"""The part of the Library tab where files are combined and changed, seen before they are saved."""

from typing import Any

import gradio as gr

from app.combine import text
from app.combine.events import CombineEvents
from app.combine.html import make_save_button
from app.combine.recipes import FILES, MAX_WEIGHT, list_first_values, list_rows, make_task_form
from app.ui.context import Choice, PageContext
from app.ui.form import build_widget
from app.ui.fragments import fragment
from app.ui.wire import wire, wire_in_browser
from trainer.config import COMBINE_OPTIONS

# What is not always shown; `js/combine.js` decides it, so that all is in the page from the start.
_CONDITIONAL = "conditional"


def build_workbench(context: PageContext) -> None:
    """Builds the section and wires it."""
    events = CombineEvents(context.workspace)
    with gr.Accordion(text.HEADING, open=False, elem_id="workbench"):
        data = fragment("workbench", elem_id="workbench-data", data=True)
        fields = _build_fields()
        images: dict[str, Any] = {}
        with gr.Row():
            images["prompt"] = gr.Textbox(
                label=text.PROMPT, info=text.PROMPT_INFO, max_lines=2, max_length=2000, scale=3,
                min_width=280, elem_id="workbench-prompt",
            )  # fmt: skip
            images["seed"] = gr.Number(
                1, label=text.IMAGE_SEED, precision=0, scale=1, min_width=160,
                elem_id="workbench-picture-seed",
            )  # fmt: skip
        with gr.Row():
            attempt = gr.Button(
                text.TRY, variant="primary", scale=0, min_width=160, elem_id="workbench-try"
            )
            stop = _build_button("stop", elem_id="workbench-working")
        message = {"message": gr.HTML("", elem_id="workbench-note")}
        fragment("workbench-report", "recipe", elem_id="workbench-report")
        with gr.Row(elem_classes="with-button"):
            images["strength"] = gr.Slider(
                0, MAX_WEIGHT, value=1, step=0.05, label=text.STRENGTH, info=text.STRENGTH_INFO,
                min_width=280, elem_id="workbench-strength", elem_classes=_CONDITIONAL,
            )  # fmt: skip
            again = _build_button("again", elem_id="workbench-generated")
        fragment("workbench-images", elem_id="workbench-drawing")
        name, refusal, save = _build_save()
        fragment("workbench-saved", elem_id="workbench-saved")
    everything = {**fields, **images, "name": name}
    changes = [data.tick, *(one.change for one in _list_widgets(fields))]
    wire_in_browser(changes, "arrangeWorkbench", everything, everything)
    wire(data.tick, events.follow, outputs=message)
    wire(attempt.click, events.try_recipe, {**fields, **images}, message)
    released = images["strength"].release
    wire(released, events.generate_again, images, message, trigger_mode="always_last")
    pressed = [one.select for one in (stop, again, save)]
    wire(pressed, events.press, everything, {**message, "refusal": refusal})


def _list_widgets(fields: dict[str, Any]) -> list[Any]:
    groups = [one.values() if isinstance(one, dict) else [one] for one in fields.values()]
    return [widget for group in groups for widget in group]


def _build_save() -> tuple[gr.Textbox, gr.HTML, gr.HTML]:
    """Builds the name, the message where it is refused, and the button that saves."""
    with gr.Row(elem_classes="with-button"):
        name = gr.Textbox(
            label=text.NAME, info=text.NAME_INFO, max_lines=1, max_length=200, min_width=280,
            elem_id="workbench-name",
        )  # fmt: skip
        save = _build_button(
            "save", "recipe", elem_id="workbench-saving",
            placeholder=make_save_button(allowed=False),
        )  # fmt: skip
    return name, gr.HTML("", elem_id="workbench-refusal"), save


def _build_button(key: str, *names: str, **options: Any) -> gr.HTML:
    """Builds a fragment with one button, which wraps where the page is narrow."""
    with gr.Column(scale=0, min_width=190):
        return fragment(f"workbench-{key}", *names, **options)


def _build_fields() -> dict[str, Any]:
    """Builds what makes a recipe, by the names that `read_recipe` has for it."""
    task = gr.Dropdown(
        choices=[(label, key) for key, label in text.TASKS.items()], value="merge",
        label=text.TASK, info=text.TASKS_INFO["merge"], elem_id="workbench-task",
    )  # fmt: skip
    rows = {number: _build_row(number) for number in list_rows()}
    settings: dict[str, Any] = {}
    for name in FILES:
        settings |= _build_settings(name)
    with gr.Row():
        base_model = Choice(
            choices=[(text.BASE_OWN, "")], value="", scale=2, min_width=260,
            label=COMBINE_OPTIONS["merge"].model_fields["base_model"].title,
            elem_id="workbench-base-model",
        )  # fmt: skip
        tuned = COMBINE_OPTIONS["extract"].model_fields["tuned_model"]
        tuned_model = Choice(
            choices=[], label=tuned.title, info=tuned.description, scale=2, min_width=260,
            elem_id="workbench-tuned-model", elem_classes=_CONDITIONAL,
        )  # fmt: skip
    return {
        "task": task,
        "settings": settings,
        "files": {number: file for number, (file, _) in rows.items()},
        "weights": {number: weight for number, (_, weight) in rows.items()},
        "base_model": base_model,
        "tuned_model": tuned_model,
    }


def _build_row(number: str) -> tuple[gr.Dropdown, gr.Slider]:
    with gr.Row(elem_id=f"workbench-row-{number}", elem_classes=_CONDITIONAL):
        file = Choice(
            choices=[(text.NO_FILE, "")], value="", label=text.file_number(int(number)), scale=2,
            min_width=260, elem_id=f"workbench-file-{number}",
        )  # fmt: skip
        weight = gr.Slider(
            0, MAX_WEIGHT, value=1, step=0.05, label=text.WEIGHT, scale=1, min_width=200,
            elem_id=f"workbench-weight-{number}", elem_classes=_CONDITIONAL,
        )  # fmt: skip
    return file, weight


def _build_settings(task: str) -> dict[str, Any]:
    """Builds a task's settings, as their model declares them, by "task.name"."""
    form, first = make_task_form(task), list_first_values()["settings"]
    if not form.fields:
        return {}
    with gr.Column(elem_id=f"workbench-{task}", elem_classes=["setting-section", _CONDITIONAL]):
        return {
            f"{task}.{field.path}": build_widget(
                field,
                first[f"{task}.{field.path}"],
                element_id=f"workbench-{task}-{field.path.replace('_', '-')}",
                labels=text.METHODS if field.path == "method" else None,
                sliders=True,
            )
            for field in form.fields
        }
