"""What happens on the Train tab: values from the browser in, values for the widgets out."""

import json
from pathlib import Path
from typing import Any

import gradio as gr
import pandas  # type: ignore[import-untyped]  # Gradio brings it, without types

from app.core import run_contents as view
from app.core.examples import list_examples
from app.core.run_views import choose_run, list_run_views
from app.core.workspace import Workspace, WorkspaceError
from app.train import run_actions as training
from app.train import text as words
from app.train.form_values import Chosen, read_config_of_form
from app.train.html import make_problems
from app.train.rates import RATE_SETTINGS, view_rates
from app.train.rates_html import make_no_rates, make_rates
from app.ui.form import Form, put
from app.ui.markup import note
from trainer.config import ConfigError, layer_config

NAME, START_FROM = "name", "adapter.start_from"
# What belongs to the run, the base model or the file that is continued, whatever the preset.
NOT_BY_PRESET = {
    NAME,
    "base_model.family",
    "base_model.prediction",
    "base_model.zero_snr",
    "base_model.vae",
    START_FROM,
}
EXPOSURE = (
    "train.steps",
    "train.batch_size",
    "train.accumulate",
    "adapter.rank",
    "adapter.alpha",
)


class TrainEvents:
    """The tab's events. Whatever is shown of a run is read from its folder each time."""

    def __init__(self, workspace: Workspace, form: Form) -> None:
        self.workspace = workspace
        self.form = form

    def fill_from_preset(self, preset: str) -> list[Any]:
        """Puts a preset's values into the form, but for what it cannot know."""
        if preset == view.OPENED:
            # The note says already whose settings these are.
            return [gr.skip()] * (1 + len(self.form.fields))
        try:
            values = self.form.to_values(view.read_preset_config(preset))
        except ConfigError as error:
            return [note(str(error), "error"), *[gr.skip()] * len(self.form.fields)]
        line = words.preset_line(
            preset or words.DEFAULTS, view.describe_presets().get(preset, words.DEFAULTS_NOTE)
        )
        shown = [
            gr.skip() if path in NOT_BY_PRESET else value
            for path, value in zip(self.form.paths, values, strict=True)
        ]
        return [note(line), *shown]

    def describe_preset(self, preset: str) -> Any:
        """Says what a preset is for."""
        return self.fill_from_preset(preset)[0]

    def describe_dataset(self, dataset: str, name: str) -> list[Any]:
        """Says which dataset a run will use, and names the run after it (`ADOPT_NAME`)."""
        count = self._count_images(dataset)
        line = words.dataset_for_training(dataset or "", count)
        named = json.dumps({"was": name, "found": dataset or name})
        return [note(line, "info" if count else "warning"), named]

    def describe_start(self, start_from: str) -> list[Any]:
        """Says from which file a run will go on, and offers to start anew."""
        shown = bool((start_from or "").strip())
        line = words.starts_from(Path(start_from).name) if shown else ""
        return [note(line), gr.update(visible=shown)]

    def describe_exposure(self, dataset: str, *values: Any) -> Any:
        """Says how often each picture will be seen."""
        tree: dict[str, Any] = {}
        for path, value in zip(EXPOSURE, values, strict=True):
            put(tree, path, value)
        try:
            config = layer_config(settings=tree)
        except ConfigError:
            return ""  # half a number is being typed; Start says what is wrong
        return note(words.describe_exposure(config, self._count_images(dataset)))

    def draw_rates(self, *values: Any) -> Any:
        """Draws the learning rates over the run, from the values of `RATE_SETTINGS`."""
        fields = {field.path: field for field in self.form.fields}
        tree = Form(tuple(fields[path] for path in RATE_SETTINGS)).to_tree(values)
        put(tree, "dataset.trigger", "word")  # a learned word asks for one; it changes no rate
        try:
            return make_rates(view_rates(layer_config(settings=tree)))
        except ConfigError as error:
            return make_no_rates(" ".join(str(problem) for problem in error.problems))

    def start(self, dataset: str, base_model: str, values: dict[str, Any]) -> dict[str, Any]:
        """Starts a run, or says next to each setting what is wrong with it."""
        fine = {path: gr.update(info=line) for path, line in self.form.explain(()).items()}
        try:
            training.check_before_start(self.workspace, dataset, base_model)
            chosen = Chosen(dataset, base_model, values)
            config = read_config_of_form(self.workspace, self.form, chosen)
            run = training.start_run(self.workspace, config)
        except ConfigError as error:
            lines = [str(problem) for problem in error.problems]
            explained = self.form.explain(error.problems)
            return {
                "message": "",
                "problems": make_problems(lines),
                "settings": gr.update(open=True),
                "values": {path: gr.update(info=line) for path, line in explained.items()},
            }
        except WorkspaceError as error:
            return {"message": note(str(error), "error"), "problems": "", "values": fine}
        runs = [(f"{one.name} · {one.id}", one.id) for one in list_run_views(self.workspace)]
        return {
            "message": note(words.started(config.name), "good"),
            "problems": "",
            "run": gr.update(choices=runs, value=run.id),
            "values": fine,
        }

    def command(self, event: gr.EventData) -> dict[str, Any]:
        """Asks the run whose buttons were shown for what was pressed."""
        pressed, run_id = getattr(event, "key", ""), getattr(event, "run", "")
        try:
            shown = choose_run(list_run_views(self.workspace), run_id)
            run = self.workspace.find_run(shown.id if shown else run_id)
            if pressed == "resume":
                return {"message": note(training.continue_run(self.workspace, run), "good")}
            if pressed not in training.REQUESTS:
                return {}
            return {"message": note(training.ask_run(run, pressed))}
        except WorkspaceError as error:
            return {"message": note(str(error), "error")}

    def draw_chart(self, run: str | None) -> dict[str, Any]:
        """Draws the losses of the run that is shown."""
        shown = choose_run(list_run_views(self.workspace), run)
        points = view.view_losses(self.workspace.find_run(shown.id)) if shown else []
        return {"chart": make_frame(points)}

    def _count_images(self, dataset: str) -> int:
        try:
            return len(list_examples(self.workspace.find_dataset(dataset)))
        except WorkspaceError:
            return 0


def make_frame(points: list[view.LossPoint]) -> pandas.DataFrame:
    """Returns the chart's table.

    Before the first point it holds one empty point per series: the chart fixes its colours and
    the types of its columns when it is first drawn, and never looks again.
    """
    rows: list[tuple[int, float | None, str]] = [
        (point.step, point.loss, words.RAW) for point in points
    ]
    rows += [(point.step, point.smoothed, words.SMOOTHED) for point in points]
    rows = rows or [(0, None, words.RAW), (0, None, words.SMOOTHED)]
    frame = pandas.DataFrame(rows, columns=["step", "loss", "series"])
    return frame.astype({"step": "int64", "loss": "float64", "series": "str"})
