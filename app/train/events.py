"""What happens on the Train tab: values from the browser in, values for the widgets out."""

from collections.abc import Callable
from typing import Any

import gradio as gr
import pandas  # type: ignore[import-untyped]  # Gradio brings it, without types

from app.core import run_contents as view
from app.core.queues import enqueue_new_run
from app.core.run_lists import choose_run, list_run_views
from app.core.workspace import Workspace, WorkspaceError
from app.train import run_actions as training
from app.train import text
from app.train.form_html import HEADER, make_problems
from app.train.memory import ESTIMATE
from app.train.settings import (
    FORM,
    Chosen,
    ask_about_settings,
    open_file,
    read_config_of_form,
    save_prediction,
)
from app.ui.fragments import fill_fragment
from app.ui.markup import Markup, note
from trainer.config import ConfigError, RunConfig, check_settings
from trainer.runs import RunFolder


class TrainEvents:
    """The tab's events. Whatever is shown of a run is read from its folder each time."""

    def __init__(self, workspace: Workspace) -> None:
        self.workspace = workspace

    def save_prediction(self, event: gr.EventData) -> dict[str, Any]:
        """Saves the prediction type that the settings of an opened file state for their base model.

        The browser fills the form itself (`askForm`).
        """
        if getattr(event, "kind", "") not in {"settings", "continue"}:
            return {}
        try:
            opened = open_file(self.workspace, event.kind, getattr(event, "file", ""))
        except WorkspaceError:
            return {}  # the form's note shows it
        try:
            save_prediction(self.workspace, opened)
        except WorkspaceError as error:
            return {"message": note(str(error), "error")}
        return {}

    def ask_memory(
        self, dataset: str | None, base_model: str | None, values: dict[str, Any]
    ) -> dict[str, Any]:
        """Asks how much memory the settings take."""
        answer = self._ask(ESTIMATE, "memory", Chosen(dataset, base_model, values))
        return {"answer": answer, "message": ""}

    def ask_memory_again(
        self, dataset: str | None, base_model: str | None, values: dict[str, Any]
    ) -> dict[str, Any]:
        """Asks it after a suggestion was put into the form, whose message stays."""
        return {"answer": self._ask(ESTIMATE, "memory", Chosen(dataset, base_model, values))}

    def ask_header(
        self, dataset: str | None, base_model: str | None, values: dict[str, Any]
    ) -> dict[str, Any]:
        """Requests the header that the LoRA file would have."""
        return {"answer": self._ask(HEADER, "header", Chosen(dataset, base_model, values))}

    def start(self, dataset: str, base_model: str, values: dict[str, Any]) -> dict[str, Any]:
        """Starts a run, or shows next to each setting what is wrong with it."""

        def start(config: RunConfig) -> dict[str, Any]:
            run = training.start_run(self.workspace, config)
            runs = [(f"{one.name} · {one.id}", one.id) for one in list_run_views(self.workspace)]
            line = note(text.started(config.name), "good")
            return {"message": line, "run": gr.update(choices=runs, value=run.id)}

        return self._check_and_do(Chosen(dataset, base_model, values), start)

    def add_to_queue(self, dataset: str, base_model: str, values: dict[str, Any]) -> dict[str, Any]:
        """Adds a run to the queue, or shows next to each setting what is wrong with it."""

        def add(config: RunConfig) -> dict[str, Any]:
            place = enqueue_new_run(self.workspace, config)
            return {"message": note(text.queued(config.name, place), "good")}

        return self._check_and_do(Chosen(dataset, base_model, values), add)

    def _check_and_do(
        self, chosen: Chosen, act: Callable[[RunConfig], dict[str, Any]]
    ) -> dict[str, Any]:
        fine = {path: gr.update(info=line) for path, line in FORM.explain(()).items()}
        try:
            training.check_before_start(self.workspace, chosen.dataset, chosen.base_model)
            config = read_config_of_form(self.workspace, chosen)
            check_settings(config)  # what is only a waste is shown above the button
            changes = act(config)
        except ConfigError as error:
            lines = [str(problem) for problem in error.problems]
            explained = FORM.explain(error.problems)
            return {
                "refusal": "",
                "problems": make_problems(lines),
                "settings": gr.update(open=True),
                "values": {path: gr.update(info=line) for path, line in explained.items()},
            }
        except WorkspaceError as error:
            return {"refusal": note(str(error), "error"), "problems": "", "values": fine}
        return {"problems": "", "refusal": "", "values": fine, **changes}

    def save_prompts(self, run: str | None, prompts: str) -> dict[str, Any]:
        """Replaces the sample prompts of the shown run; a running one takes them over."""
        try:
            training.change_prompts(self._find_shown(run), str(prompts or "").splitlines())
        except ConfigError as error:
            return {"message": make_problems([str(each) for each in error.problems])}
        except WorkspaceError as error:
            return {"message": note(str(error), "error")}
        return {"message": note(text.PROMPTS_SAVED, "good")}

    def _find_shown(self, run: str | None) -> RunFolder:
        shown = choose_run(list_run_views(self.workspace), run)
        return self.workspace.find_run(shown.id if shown else run)

    def command(self, event: gr.EventData, prompt: str | None = None) -> dict[str, Any]:
        """Asks the run whose buttons were shown for what was pressed."""
        pressed: Any = getattr(event, "key", "")
        run_id = getattr(event, "run", "")
        try:
            shown = choose_run(list_run_views(self.workspace), run_id)
            run = self.workspace.find_run(shown.id if shown else run_id)
            if pressed == "resume":
                return {"message": note(training.continue_run(self.workspace, run), "good")}
            if pressed not in training.REQUESTS:
                return {}
            own = str(prompt or "").strip() if pressed == "sample" else ""
            return {"message": note(training.ask_run(run, pressed, own))}
        except WorkspaceError as error:
            return {"message": note(str(error), "error")}

    def plot_losses(self, run: str | None) -> dict[str, Any]:
        """Plots the losses of the run that is shown."""
        shown = choose_run(list_run_views(self.workspace), run)
        points = view.view_losses(self.workspace.find_run(shown.id)) if shown else []
        # One point is no line; what it is stands below the chart.
        return {"chart": make_frame(points if len(points) > 1 else [])}

    def _ask(self, command: str, fragment: str, chosen: Chosen) -> Markup:
        """Asks a command about the settings; returns the fragment that shows its answer."""
        try:
            config = read_config_of_form(self.workspace, chosen, needs_images=False)
            job = ask_about_settings(self.workspace, command, config)
        except ConfigError as error:
            return make_problems([str(problem) for problem in error.problems])
        except WorkspaceError as error:
            return note(str(error), "error")
        return fill_fragment(fragment, job=job.id)


def make_frame(points: list[view.LossPoint]) -> pandas.DataFrame:
    """Returns the chart's table.

    Before the first point it holds one empty point per series: the chart fixes its colours and
    the types of its columns when it is first shown, and keeps them.
    """
    rows: list[tuple[int, float | None, str]] = [
        (point.step, point.loss, text.RAW) for point in points
    ]
    rows += [(point.step, point.smoothed, text.SMOOTHED) for point in points]
    rows = rows or [(0, None, text.RAW), (0, None, text.SMOOTHED)]
    frame = pandas.DataFrame(rows, columns=["step", "loss", "series"])
    return frame.astype({"step": "int64", "loss": "float64", "series": "str"})
