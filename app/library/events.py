"""What happens on the Library tab: values from the browser in, values for the widgets out."""

import time
from typing import Any

import gradio as gr

from app.core import lora_files as files_view
from app.core.workspace import Workspace, WorkspaceError
from app.library import cards as view
from app.library import files_text
from app.library import text as words
from app.library.file_actions import look_into_file, pack_file
from app.library.files_html import make_about, make_pack
from app.library.html import make_cards, make_download, make_facts, make_log_box, make_lora_facts
from app.library.singular_values import read_spectrum_job
from app.train import run_actions as training
from app.ui.markup import element, note
from app.ui.paint import Seen, paint


class LibraryEvents:
    """The tab's events. What is opened is known by a run's id or a file's, a file by its id."""

    def __init__(self, workspace: Workspace) -> None:
        self.workspace = workspace

    def show(self, seen: Seen, opened: str, chosen: str | None) -> list[Any]:
        """Paints the cards, and the opened run or file with its buttons."""
        cards = view.view_cards(self.workspace)
        loras = files_view.list_loras(self.workspace)
        parts: dict[str, Any] = {"cards": make_cards(cards, loras, opened)}
        files = files_view.list_files(self.workspace, opened)
        file = files_view.find_file(self.workspace, opened, chosen)
        try:
            run = view.view_opened(self.workspace.find_run(opened))
        except WorkspaceError:
            run = None
        trigger = run.trigger if run else ""
        syntax = view.prompt_syntax(file.path.stem) if file else ""
        if run is not None:
            parts["facts"] = make_facts(run)
        elif file is not None:
            parts["facts"] = make_lora_facts(file)
        else:
            parts["facts"] = element("p", words.LIBRARY_HINT, class_="quiet") if cards else ""
        parts |= {
            "file": gr.update(
                choices=[(one.path.name, one.id) for one in files],
                value=file.id if file else None,
                visible=len(files) > 1,
            ),
            "download": make_download(file) if run or file else "",
            "trigger": gr.update(value=trigger, visible=bool(trigger)),
            "syntax": gr.update(value=syntax, visible=bool(syntax)),
            "resume": gr.update(visible=bool(run and run.view.can_resume)),
            "continue": gr.update(visible=file is not None),
            "settings": gr.update(visible=file is not None),
            "about": gr.update(visible=file is not None),
            "share": gr.update(visible=file is not None),
            "log": make_log_box(run) if run else "",
        }
        return [seen, *paint(seen, parts)]

    def resume(self, opened: str) -> Any:
        """Starts the trainer on the opened run again."""
        try:
            run = self.workspace.find_run(opened)
            return note(training.continue_run(self.workspace, run), "good")
        except WorkspaceError as error:
            return note(str(error), "error")

    def look(self, opened: str, chosen: str | None) -> Any:
        """Has the file looked into; returns what went wrong."""
        file = files_view.find_file(self.workspace, opened, chosen)
        try:
            look_into_file(self.workspace, file)
        except WorkspaceError as error:
            return note(str(error), "error")
        return ""

    def pack(self, kind: str, opened: str, chosen: str | None) -> Any:
        """Has the file packed for Civitai or for the hub; returns what went wrong."""
        file = files_view.find_file(self.workspace, opened, chosen)
        try:
            pack_file(self.workspace, file, kind)
        except WorkspaceError as error:
            return note(str(error), "error")
        return ""

    def show_file(self, seen: Seen, opened: str, chosen: str | None) -> list[Any]:
        """Paints what was found in the file, and what was packed from it."""
        file = files_view.find_file(self.workspace, opened, chosen)
        parts = {"about": self._make_about(file)}
        parts |= {kind: self._make_pack(file, kind) for kind in files_view.PACKS}
        command = files_text.upload_command(file.path) if file else ""
        parts["upload"] = gr.update(value=command)
        return [seen, *paint(seen, parts)]

    def wish(self, kind: str, opened: str, chosen: str | None) -> Any:
        """Returns what the Train tab is asked: a word, a number of its own, and the file."""
        file = files_view.find_file(self.workspace, opened, chosen)
        return f"{kind}|{time.time_ns()}|{file.id if file else ''}"

    def _make_about(self, file: files_view.FileView | None) -> Any:
        if file is None:
            return ""
        job = files_view.read_file_job(self.workspace, files_view.INSPECT, file.path)
        return make_about(file, job, read_spectrum_job(self.workspace, file.path))

    def _make_pack(self, file: files_view.FileView | None, kind: str) -> Any:
        if file is None:
            return ""
        return make_pack(file, kind, files_view.read_file_job(self.workspace, kind, file.path))
