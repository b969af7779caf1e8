"""The part of the Library tab where files are combined and changed, seen before they are saved."""

from dataclasses import dataclass
from typing import Any

import gradio as gr

from app.combine import text as words
from app.combine.events import DEFAULTS, WorkbenchEvents
from app.combine.recipes import BLOCKS, FILES, MAX_FILES, SETTINGS
from app.ui.choice import Choice
from app.ui.paint import QUIET
from app.ui.relay import show_when
from app.ui.shell import STATUS_SECONDS, Shell
from app.ui.watch import make_watch
from trainer.formats.precision import PRECISIONS


@dataclass(frozen=True)
class _Widgets:
    task: gr.Dropdown
    settings: dict[str, Any]
    rows: list[tuple[gr.Dropdown, gr.Slider]]
    prompt: gr.Textbox
    seed: gr.Number
    attempt: gr.Button
    stop: gr.Button
    told: gr.HTML
    report: gr.HTML
    strength: gr.Slider
    again: gr.Button
    drawing: gr.HTML
    name: gr.Textbox
    save: gr.Button
    refusal: gr.HTML
    saved: gr.HTML
    watch: gr.HTML

    @property
    def fields(self) -> list[Any]:
        """What makes a recipe, in the order in which the events read it."""
        settings = [self.settings[name] for name in SETTINGS]
        return [self.task, *settings, *(one for row in self.rows for one in row)]

    @property
    def look(self) -> list[Any]:
        """How pictures are drawn."""
        return [self.prompt, self.seed, self.strength]


def draw_workbench(shell: Shell) -> None:
    """Draws the section and wires it."""
    with gr.Accordion(words.HEADING, open=False, elem_id="workbench"):
        page = _draw()
    events = WorkbenchEvents(shell.workspace)
    fields, seen, seen_fields = page.fields, gr.State({}), gr.State({})
    shown = [seen, page.report, page.stop, page.drawing, page.strength, page.again, page.save,
             page.saved]  # fmt: skip
    causes = [*(one.change for one in fields), page.watch.tick]
    show = show_when(shell, "workbench", causes, events.show, [seen, *fields], shown)
    shell.demo.load(events.open_page, None, [*page.look, *fields], **QUIET).then(**show)
    page.task.input(events.choose_task, fields, fields, **QUIET)
    show_when(
        shell,
        "workbench-fields",
        [page.settings["method"].change, *(row[0].change for row in page.rows),
         shell.exports_watch.tick, shell.datasets_watch.tick],
        events.refresh,
        [seen_fields, *fields],
        [seen_fields, *fields],
    )  # fmt: skip
    page.attempt.click(
        events.try_it,
        [*page.look, page.name, *fields],
        [page.told, page.prompt, page.name],
        **QUIET,
    ).then(**show)
    gr.on(
        [page.strength.release, page.again.click],
        events.redraw,
        page.look,
        [page.told],
        trigger_mode="always_last",
        **QUIET,
    ).then(**show)
    page.stop.click(events.stop, None, None, **QUIET)
    page.save.click(events.save, [page.name, *fields], [page.refusal], **QUIET).then(**show)


def _draw() -> _Widgets:
    task = gr.Dropdown(
        choices=[(label, key) for key, label in words.TASKS.items()], value="merge",
        label=words.TASK, info=words.TASKS_INFO["merge"], elem_id="workbench-task",
    )  # fmt: skip
    rows = [_draw_row(number) for number in range(MAX_FILES)]
    settings = _draw_settings()
    with gr.Row():
        prompt = gr.Textbox(
            label=words.PROMPT, info=words.PROMPT_INFO, max_lines=2, max_length=2000, scale=3,
            min_width=280, elem_id="workbench-prompt",
        )  # fmt: skip
        seed = gr.Number(
            1, label=words.PICTURE_SEED, precision=0, scale=1, min_width=160,
            elem_id="workbench-picture-seed",
        )  # fmt: skip
    with gr.Row():
        attempt = gr.Button(
            words.TRY, variant="primary", scale=0, min_width=160, elem_id="workbench-try"
        )
        stop = gr.Button(
            words.STOP, visible=False, scale=0, min_width=120, elem_id="workbench-stop"
        )
    told = gr.HTML("", elem_id="workbench-note")
    report = gr.HTML("", elem_id="workbench-report")
    with gr.Row(elem_classes="with-button"):
        strength = gr.Slider(
            0, 2, value=1, step=0.05, label=words.STRENGTH, info=words.STRENGTH_INFO,
            visible=False, min_width=280, elem_id="workbench-strength",
        )  # fmt: skip
        again = gr.Button(
            words.AGAIN, visible=False, scale=0, min_width=140, elem_id="workbench-again"
        )
    drawing = gr.HTML("", elem_id="workbench-drawing")
    with gr.Row(elem_classes="with-button"):
        name = gr.Textbox(
            label=words.NAME, info=words.NAME_INFO, max_lines=1, max_length=200, min_width=280,
            elem_id="workbench-name",
        )  # fmt: skip
        save = gr.Button(
            words.SAVE, variant="primary", interactive=False, scale=0, min_width=140,
            elem_id="workbench-save",
        )  # fmt: skip
    refusal = gr.HTML("", elem_id="workbench-refusal")
    saved = gr.HTML("", elem_id="workbench-saved")
    watch = make_watch("workbench", STATUS_SECONDS)
    return _Widgets(
        task, settings, rows, prompt, seed, attempt, stop, told, report, strength, again, drawing,
        name, save, refusal, saved, watch,
    )  # fmt: skip


def _draw_row(number: int) -> tuple[gr.Dropdown, gr.Slider]:
    least, _ = FILES["merge"]
    with gr.Row():
        file = Choice(
            choices=[(words.NO_FILE, "")], value="", label=words.file_number(number + 1),
            visible=number < least, scale=2, min_width=260, elem_id=f"workbench-file-{number + 1}",
        )  # fmt: skip
        weight = gr.Slider(
            0, 2, value=1, step=0.05, label=words.WEIGHT, visible=number < least, scale=1,
            min_width=200, elem_id=f"workbench-weight-{number + 1}",
        )  # fmt: skip
    return file, weight


def _draw_settings() -> dict[str, Any]:
    found: dict[str, Any] = {}
    with gr.Row():
        found["method"] = gr.Dropdown(
            choices=[(label, key) for key, label in words.METHODS.items()],
            value=DEFAULTS["method"], label=words.METHOD,
            info=words.METHODS_INFO[DEFAULTS["method"]], scale=2, min_width=280,
            elem_id="workbench-method",
        )  # fmt: skip
        found["rank"] = _draw_number("rank", words.RANK, words.RANK_INFO["merge"])
        found["energy"] = gr.Slider(
            50, 100, value=100, step=0.5, label=words.ENERGY, info=words.ENERGY_INFO,
            min_width=240, elem_id="workbench-energy",
        )  # fmt: skip
        found["density"] = gr.Slider(
            5, 100, value=50, step=5, label=words.DENSITY, info=words.DENSITY_INFO, visible=False,
            min_width=220, elem_id="workbench-density",
        )  # fmt: skip
        found["seed"] = _draw_number("seed", words.SEED, words.SEED_INFO, visible=False)
    with gr.Row():
        for block in BLOCKS:
            found[block] = gr.Slider(
                0, 2, value=1, step=0.05, label=words.BLOCKS[block], info=words.BLOCKS_INFO,
                visible=False, min_width=200, elem_id=f"workbench-{block}",
            )  # fmt: skip
        found["patterns"] = gr.Textbox(
            label=words.PATTERNS, info=words.PATTERNS_INFO, placeholder=words.PATTERNS_EXAMPLE,
            max_lines=1, max_length=2000, visible=False, min_width=280,
            elem_id="workbench-patterns",
        )  # fmt: skip
    with gr.Row():
        found["base_model"] = Choice(
            choices=[(words.BASE_OWN, "")], value="", label=words.BASE_OPTIONAL,
            info=words.BASE_OPTIONAL_INFO, scale=2, min_width=260, elem_id="workbench-base-model",
        )  # fmt: skip
        found["tuned_model"] = Choice(
            choices=[], label=words.TUNED, info=words.TUNED_INFO, visible=False, scale=2,
            min_width=260, elem_id="workbench-tuned-model",
        )  # fmt: skip
        found["precision"] = gr.Dropdown(
            choices=list(PRECISIONS), value=PRECISIONS[0], label=words.PRECISION,
            info=words.PRECISION_INFO, min_width=180, elem_id="workbench-precision",
        )  # fmt: skip
    return found


def _draw_number(name: str, label: str, info: str, *, visible: bool = True) -> gr.Number:
    return gr.Number(
        DEFAULTS[name], label=label, info=info, visible=visible, min_width=150,
        elem_id=f"workbench-{name}",
    )  # fmt: skip
