"""What happens around the base model on the Train tab: values in, values for the widgets out."""

from typing import Any

import gradio as gr

from app.core import base_models as view
from app.core import run_contents as train_view
from app.core.workspace import Workspace, WorkspaceError
from app.models import actions as change
from app.models import text as words
from app.models.html import make_download, make_model_card
from app.ui.markup import note
from app.ui.paint import Seen, paint


class BaseModelEvents:
    """The events. A base model is known to the browser by its name in the list."""

    def __init__(self, workspace: Workspace) -> None:
        self.workspace = workspace

    def show(self, seen: Seen, name: str | None, preset: str | None) -> list[Any]:
        """Paints what is known of a base model; one that was just chosen is looked at first.

        The settings that say what a base model is belong to the one before, so they are set anew.
        Of presets the first that fits is chosen, once.

        Returns:
            seen, card, question, preset, family and prediction.
        """
        settings: list[Any] = [gr.skip(), gr.skip()]
        if seen.get("chosen") != (name or ""):
            seen |= {"chosen": name or "", "refused": "", "fitted": ""}
            if name:
                settings = [
                    "auto",
                    view.read_answers(self.workspace, name).get("prediction", "auto"),
                ]
                seen["refused"] = self._look_at(name)
        found = view.view_base_model(self.workspace, name)
        # Another tab may have had it looked at since.
        refused = seen["refused"] if found is None or found.state == "unasked" else ""
        parts = {
            "card": note(refused, "error") if refused else make_model_card(found),
            "question": _make_question(found),
        }
        painted = paint(seen, parts)
        fitting: Any = gr.skip()
        if found is not None and found.state == "known" and seen["fitted"] != found.name:
            seen["fitted"] = found.name
            fitting = self._suggest_preset(name, preset)
        return [seen, *painted, fitting, *settings]

    def _look_at(self, name: str) -> str:
        try:
            change.look_at_base_model(self.workspace, name)
        except WorkspaceError as error:
            return str(error)
        return ""

    def answer(self, name: str | None, prediction: str | None) -> list[Any]:
        """Keeps what a base model predicts; returns what went wrong, and the setting."""
        try:
            return ["", change.answer_for_base_model(self.workspace, name, prediction)]
        except WorkspaceError as error:
            return [note(str(error), "error"), gr.skip()]

    def add(self, typed: str) -> list[Any]:
        """Adds a base model by its path and chooses it; returns note, box and list."""
        try:
            name = change.add_base_model(self.workspace, typed)
        except WorkspaceError as error:
            return [note(str(error), "error"), gr.skip(), gr.skip()]
        return [note(words.added(name), "good"), "", self._list(name)]

    def download(self, seen: Seen, typed: str) -> list[Any]:
        """Starts a download; returns a note where it cannot, and what `show_download` has seen."""
        try:
            seen["running"] = change.start_download(self.workspace, typed).id
        except WorkspaceError as error:
            return [note(str(error), "error"), seen]
        return ["", seen]

    def cancel(self) -> None:
        """Stops the download; the next look shows it."""
        change.stop_download(self.workspace)

    def show_download(self, seen: Seen) -> list[Any]:
        """Paints the download, and chooses what has arrived, once."""
        job = change.find_download(self.workspace)
        running = job.state == "running"
        listed: Any = gr.skip()
        if seen.get("running") == job.id and job.state == "done":
            arrived = change.find_downloaded(self.workspace, job)
            listed = self._list(arrived) if arrived else gr.skip()
        seen["running"] = job.id if running else ""
        parts = {
            "progress": make_download(job),
            "start": gr.update(interactive=not running),
            "cancel": gr.update(interactive=running),
        }
        return [seen, *paint(seen, parts), listed]

    def refresh_list(self, seen: Seen) -> list[Any]:
        """Lists the base models anew when there are others, such as a file put into `models/`."""
        choices = gr.update(choices=list(self.workspace.list_base_models()))
        return [seen, *paint(seen, {"list": choices})]

    def _list(self, name: str) -> Any:
        return gr.update(choices=list(self.workspace.list_base_models()), value=name)

    def _suggest_preset(self, name: str | None, preset: str | None) -> Any:
        found = view.view_base_model(self.workspace, name)
        family = found.family if found else ""
        presets = train_view.describe_presets()
        if found is None or found.state != "known":
            return gr.skip()  # a look at it tells the family; until then any preset is a guess
        if preset and train_view.fits_preset(preset, name or "", family):
            return gr.skip()
        return train_view.suggest_preset(name or "", presets, family)


def _make_question(found: view.BaseModelView | None) -> Any:
    """Returns the question's widget, the likely answer first, hidden where there is none."""
    if found is None or not found.asks:
        return gr.update(visible=False)
    likely = [found.prediction] if found.prediction in words.ANSWERS else []
    ordered = [*likely, *(key for key in words.ANSWERS if key not in likely)]
    choices = [(words.ANSWERS[key], key) for key in ordered]
    return gr.update(visible=True, choices=choices, value=found.answered or None)
