"""What happens on the Preview tab: values from the browser in, values for the widgets out."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import gradio as gr
from PIL import Image

from app.core import adapters as view
from app.core.adapters import MAX_ADAPTERS
from app.core.run_views import find_busy_run
from app.core.workspace import Workspace, WorkspaceError
from app.library.lora_actions import keep_lora
from app.preview import text as words
from app.preview.generation import Wish, draw, make_request
from app.preview.html import make_pictures, make_status
from app.ui.markup import join, note
from app.ui.paint import Seen, paint

_ROW_VALUES = 2 * MAX_ADAPTERS


class PreviewEvents:
    """The tab's events. The newest request in the folder is what every tab shows.

    The adapters are a fixed number of rows, each with an adapter and a weight, of which the first
    `count` are shown. The page's values come in one order: count, rows, then the rest as `Wish` has
    it.
    """

    def __init__(self, workspace: Workspace) -> None:
        self.workspace = workspace

    def open_page(self, *was: Any) -> list[Any]:
        """Shows what was asked for last: the rows, base models, and what belongs to the picture.

        Prompt, seed, steps and guidance are found for the browser, which takes those that still are
        what they `was` (`ADOPT_IF_UNTOUCHED`).
        """
        drawing = view.view_generation(self.workspace.preview)
        entries = view.list_adapters(self.workspace)
        asked = drawing.request if drawing else None
        ids = {str(entry.path.resolve()): entry.id for entry in entries}
        chosen: list[tuple[str | None, float]] = [
            (ids[one.path], min(2.0, max(0.0, one.weight)))
            for one in (asked.adapters if asked else ())
            if one.path in ids
        ]
        chosen = chosen or [(entries[0].id if entries else None, 1.0)]
        base = self.list_base_models()
        found: list[Any] = []
        if asked is not None:
            found = [asked.prompt, asked.seed, asked.inference_steps, asked.guidance]
        told = json.dumps({"was": was, "found": found}, ensure_ascii=False)
        return [*self._show_rows(chosen, entries), base, told]

    def choose(self, prompt: str | None, found: str | None, count: float, *rows: Any) -> list[Any]:
        """Says what belongs to the adapters, and suggests the first one's prompt and numbers.

        The browser takes the suggestion where the prompt is empty (`ADOPT_SUGGESTION`). There is
        none before `open_page` has `found` what was asked for last, which comes first.
        """
        chosen = _read_rows(count, rows)
        notes: list[str] = []
        bases: set[str] = set()
        for adapter_id, _ in chosen:
            try:
                entry = view.find_adapter(self.workspace, adapter_id)
            except WorkspaceError as error:
                return [note(str(error)), gr.skip()]
            config = view.read_adapter_config(self.workspace, adapter_id)
            base = Path(config.base_model.path).name if config else ""
            trigger = config.dataset.trigger if config else ""
            notes.append(words.adapter_note(entry.name, base, trigger))
            bases |= {base} if base else set()
        told = note(" ".join(notes))
        if len(bases) > 1:
            told = join(told, note(words.SAME_FAMILY, "warning"))
        first = view.read_adapter_config(self.workspace, chosen[0][0])
        if first is None or not found or (prompt or "").strip():
            return [told, gr.skip()]
        suggested = {
            "adapter": chosen[0][0],  # so that another adapter's is news even if it is the same
            "prompt": view.suggest_prompt(first),
            "steps": first.samples.inference_steps,
            "guidance": first.samples.guidance,
        }
        return [told, json.dumps(suggested, ensure_ascii=False)]

    def add_row(self, count: float, *rows: Any) -> list[Any]:
        """Shows one row more, with the adapter that the others do not have."""
        chosen = _read_rows(count, rows)
        entries = view.list_adapters(self.workspace)
        used = {adapter_id for adapter_id, _ in chosen}
        fresh = next((one.id for one in entries if one.id not in used), None)
        if len(chosen) < MAX_ADAPTERS and entries:
            chosen.append((fresh or entries[0].id, 1.0))
        return self._show_rows(chosen, entries)

    def remove_row(self, index: int, count: float, *rows: Any) -> list[Any]:
        """Takes a row away; those below move up."""
        chosen = _read_rows(count, rows)
        if len(chosen) > 1 and index < len(chosen):
            del chosen[index]
        return self._show_rows(chosen, view.list_adapters(self.workspace))

    def take_in(self, uploads: list[str] | None, count: float, *rows: Any) -> list[Any]:
        """Keeps dropped LoRA files, the last one chosen in the last row."""
        told, place = [], None
        for upload in uploads or []:
            try:
                place, known = keep_lora(self.workspace, upload)
                line = words.lora_known(place.name) if known else words.lora_kept(place.name)
                told.append(note(line, "good"))
            except WorkspaceError as error:
                told.append(note(str(error), "error"))
        chosen = _read_rows(count, rows)
        if place is not None:
            chosen[-1] = (f"{view.LORA_MARK}{place.name}", chosen[-1][1])
        listed = self._show_rows(chosen, view.list_adapters(self.workspace))
        return [join(*told), None, *listed]

    def generate(self, count: float, *values: Any) -> Any:
        """Asks for a picture; the page shows it when it is there."""
        rows, rest = values[:_ROW_VALUES], values[_ROW_VALUES:]
        wish = Wish(_read_rows(count, rows), *rest)
        try:
            draw(self.workspace, make_request(self.workspace, wish))
        except WorkspaceError as error:
            return note(str(error), "error")
        return ""

    def redraw(self, *values: Any) -> Any:
        """Draws again at another weight, once anything was drawn."""
        if view.view_generation(self.workspace.preview) is None:
            return gr.skip()
        return self.generate(*values)

    def show_drawing(self, seen: Seen) -> list[Any]:
        """Paints status and pictures, and the slider when a new pair is there."""
        drawing = view.view_generation(self.workspace.preview)
        training = find_busy_run(self.workspace) is not None
        entries = view.list_adapters(self.workspace)
        names = {str(entry.path.resolve()): entry.name for entry in entries}
        parts = {
            "status": make_status(drawing, training=training),
            "pictures": make_pictures(drawing, names),
        }
        answers = paint(seen, parts)
        done = drawing.id if drawing and drawing.result.state == "done" else ""
        pair = gr.skip()
        if done and seen.get("pair") != done:
            pair = gr.update(value=_read_pair(drawing), visible=True)
            seen["pair"] = done
        return [seen, *answers, pair]

    def refresh_adapters(self, seen: Seen, count: float, *rows: Any) -> list[Any]:
        """Lists the adapters anew when there are others; returns the rows' adapters.

        A first row that shows the newest checkpoint of a run goes on to the run's next one and to
        its finished file, until somebody draws with it.
        """
        entries = view.list_adapters(self.workspace)
        ids = [one.id for one in entries]
        shown = len(_read_rows(count, rows))
        follows = bool(rows[0]) and rows[0] == seen.get("newest") and self._is_untried(rows[0])
        parts = {}
        for index in range(MAX_ADAPTERS):
            update: dict[str, Any] = gr.update(choices=[(one.label, one.id) for one in entries])
            if seen and index < shown and rows[2 * index] not in ids:
                # Only then: a late answer must not undo a choice that was made in the meantime,
                # nor the first one what `open_page` is about to choose.
                update["value"] = ids[0] if ids else None
            elif index == 0 and follows and _find_run(rows[0]) == _find_run(ids[0]):
                update["value"] = ids[0]
            parts[f"adapter {index}"] = update
        painted = paint(seen, parts)
        seen["newest"] = ids[0] if ids else ""
        return [seen, *painted, gr.update(interactive=bool(ids) and shown < MAX_ADAPTERS)]

    def list_base_models(self) -> Any:
        """Returns the base models that a picture can be drawn with."""
        models = [(name, name) for name in self.workspace.list_base_models()]
        return gr.update(choices=[(words.OWN_BASE, ""), *models])

    def _is_untried(self, adapter_id: str) -> bool:
        """Tells whether the newest drawing is of other adapters."""
        drawing = view.view_generation(self.workspace.preview)
        try:
            path = view.find_adapter(self.workspace, adapter_id).path
        except WorkspaceError:
            return True
        asked = drawing.request.adapters if drawing and drawing.request else ()
        return str(path.resolve()) not in {one.path for one in asked}

    def _show_rows(
        self, chosen: list[tuple[Any, float]], entries: list[view.AdapterEntry]
    ) -> list[Any]:
        """Returns updates for count, the rows, and the button that adds one."""
        choices = [(one.label, one.id) for one in entries]
        ids = {one.id for one in entries}
        newest = entries[0].id if entries else None
        updates: list[Any] = [len(chosen)]
        for index in range(MAX_ADAPTERS):
            shown = index < len(chosen)
            adapter_id, weight = chosen[index] if shown else (None, 1.0)
            value = adapter_id if adapter_id in ids else (newest if shown else None)
            updates += [
                gr.update(visible=shown),
                gr.update(choices=choices, value=value),
                gr.update(value=weight),
                gr.update(visible=len(chosen) > 1),
            ]
        room = bool(entries) and len(chosen) < MAX_ADAPTERS
        return [*updates, gr.update(interactive=room)]


def _find_run(adapter_id: str) -> str:
    """Returns the run that an adapter comes from; for a file from elsewhere, the file."""
    return adapter_id if adapter_id.startswith(view.LORA_MARK) else adapter_id.split("/")[0]


def _read_rows(count: float | None, rows: Sequence[Any]) -> list[tuple[Any, float]]:
    """Returns adapter and weight of the rows that are shown; there is always one."""
    pairs = list(zip(rows[::2], rows[1::2], strict=True))
    return pairs[: max(1, min(MAX_ADAPTERS, int(count or 1)))]


def _read_pair(drawing: view.Generation | None) -> tuple[Image.Image, Image.Image] | None:
    """Returns both pictures in memory, so that no folder has to be opened to Gradio."""
    if drawing is None:
        return None
    paths = (drawing.result.without_path, drawing.result.with_path)
    pictures = []
    for path in paths:
        if path is None or not path.is_file():
            return None
        with Image.open(path, formats=("PNG",)) as image:
            pictures.append(image.convert("RGB"))
    return pictures[0], pictures[1]
