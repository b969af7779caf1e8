"""What is asked about the Train tab's settings, and what other tabs put there."""

from typing import Any

import gradio as gr

from app.core.jobs import Job, read_job
from app.core.run_contents import OPENED
from app.core.workspace import Workspace, WorkspaceError
from app.train import memory_text
from app.train.events import NAME, START_FROM
from app.train.form_values import Chosen, ask_about_settings, read_config_of_form
from app.train.html import make_problems
from app.train.memory import view_memory
from app.train.memory_html import make_memory
from app.train.opening import keep_prediction, open_file
from app.ui.form import Form
from app.ui.headers import make_future_header
from app.ui.markup import note
from app.ui.paint import Seen, forget, paint
from trainer.config import ConfigError


class SettingsEvents:
    """The events. A question about settings is a job, known to the browser by its id."""

    def __init__(self, workspace: Workspace, form: Form) -> None:
        self.workspace = workspace
        self.form = form

    def ask_memory(self, seen: Seen, dataset: str, base_model: str, *values: Any) -> list[Any]:
        """Asks how much memory the settings take; returns seen, job, trouble, and no note.

        Where there is no trouble `show_answers` paints what there is of the answer.
        """
        return [*self.ask_memory_again(seen, dataset, base_model, *values), ""]

    def ask_memory_again(
        self, seen: Seen, dataset: str, base_model: str, *values: Any
    ) -> list[Any]:
        """The same after a change, whose note stays."""
        job, trouble = self._ask("estimate", Chosen(dataset, base_model, values))
        return [forget(seen), job.id, trouble]

    def ask_header(self, seen: Seen, dataset: str, base_model: str, *values: Any) -> list[Any]:
        """Asks what the file's header would say; returns seen, the job's id, and trouble."""
        job, trouble = self._ask("header", Chosen(dataset, base_model, values))
        return [forget(seen), job.id, trouble]

    def show_answers(self, seen: Seen, memory: str | None, header: str | None) -> list[Any]:
        """Paints the answers when they have come."""
        parts = {}
        if memory:
            parts["memory"] = make_memory(read_job(self.workspace, memory))
        if header:
            parts["header"] = make_future_header(read_job(self.workspace, header))
        painted = dict(zip(parts, paint(seen, parts), strict=True))
        return [seen, *(painted.get(name, gr.skip()) for name in ("memory", "header"))]

    def obey(self, wish: str | None) -> list[Any]:
        """Puts the settings of a file from the Library into the form.

        Returns:
            Note, preset, dataset, base model, and the form's values.
        """
        kind, _, rest = (wish or "").partition("|")
        file_id = rest.partition("|")[2]  # after a number that makes every wish another one
        nothing = [gr.skip()] * len(self.form.paths)
        try:
            opened = open_file(self.workspace, kind, file_id)
            keep_prediction(self.workspace, opened)
        except WorkspaceError as error:
            return [note(str(error), "error"), *[gr.skip()] * 3, *nothing]
        values = nothing if opened.config is None else self.form.to_values(opened.config)
        shown = dict(zip(self.form.paths, values, strict=True))
        shown |= {NAME: gr.skip(), START_FROM: opened.start_from}
        return [
            note(opened.told),
            gr.skip() if opened.config is None else OPENED,
            opened.dataset or gr.skip(),
            opened.base_model or gr.skip(),
            *shown.values(),
        ]

    def apply_change(self, job_id: str | None, event: gr.EventData) -> list[Any]:
        """Puts the settings of a change that would save memory into the form."""
        memory = view_memory(read_job(self.workspace, job_id))
        key = str(getattr(event, "key", ""))
        place = int(key) if key.isdecimal() else -1
        if memory is None or not 0 <= place < len(memory.changes):
            return [gr.skip()] * (1 + len(self.form.paths))
        change = memory.changes[place]
        values = [change.all_settings.get(path, gr.skip()) for path in self.form.paths]
        return [note(memory_text.applied(change.all_settings), "good"), *values]

    def _ask(self, word: str, chosen: Chosen) -> tuple[Job, Any]:
        try:
            config = read_config_of_form(self.workspace, self.form, chosen, needs_images=False)
            return ask_about_settings(self.workspace, word, config), gr.skip()
        except ConfigError as error:
            return Job(), make_problems([str(problem) for problem in error.problems])
        except WorkspaceError as error:
            return Job(), note(str(error), "error")
