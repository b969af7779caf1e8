"""What happens on the Preview tab: values from the browser in, values for the widgets out."""

from pathlib import Path
from typing import Any

import gradio as gr
from PIL import Image

from app.actions.drawing import draw, make_request
from app.markup import note
from app.paint import Seen, paint
from app.parts.preview import make_pictures, make_status
from app.text import preview as words
from app.views import preview as view
from app.views.runs import find_busy_run
from app.workspace import Workspace, WorkspaceError


class PreviewEvents:
    """The tab's events. The newest request in the folder is what every tab shows."""

    def __init__(self, workspace: Workspace) -> None:
        self.workspace = workspace

    def open_page(self) -> list[Any]:
        """Shows what was asked for last: adapter, prompt, seed, steps, guidance, weight."""
        drawing = view.view_drawing(self.workspace.preview)
        entries = view.list_adapters(self.workspace)
        asked = drawing.asked if drawing else None
        listed = self._list(entries, "")
        if asked is None:
            return [listed, *[gr.skip()] * 5]
        paths = {str(entry.path.resolve()): entry.id for entry in entries}
        choice = asked.adapters[0] if asked.adapters else None
        if choice is not None and choice.path in paths:
            listed["value"] = paths[choice.path]
        weight = min(2.0, max(0.0, choice.weight)) if choice else 1.0
        return [listed, asked.prompt, asked.seed, asked.inference_steps, asked.guidance, weight]

    def choose(self, adapter_id: str | None, prompt: str | None) -> list[Any]:
        """Says what belongs to an adapter, and offers its prompt, steps and guidance."""
        config = view.read_adapter_config(self.workspace, adapter_id)
        if config is None:
            return [note(words.NO_ADAPTER), *[gr.skip()] * 3]
        told = note(words.adapter_note(Path(config.base_model.path).name, config.dataset.trigger))
        if (prompt or "").strip():
            return [told, *[gr.skip()] * 3]
        samples = config.samples
        return [told, view.suggest_prompt(config), samples.inference_steps, samples.guidance]

    def generate(  # one value per widget
        self,
        adapter_id: str | None,
        weight: float,
        prompt: str,
        seed: float,
        steps: float,
        guidance: float,
    ) -> Any:
        """Asks for a picture; the page shows it when it is there."""
        numbers = {"seed": seed, "inference_steps": steps, "guidance": guidance}
        try:
            wanted = make_request(self.workspace, adapter_id, weight, prompt, numbers)
            draw(self.workspace, wanted)
        except WorkspaceError as error:
            return note(str(error), "error")
        return ""

    def redraw(
        self,
        adapter_id: str | None,
        weight: float,
        prompt: str,
        seed: float,
        steps: float,
        guidance: float,
    ) -> Any:
        """Draws again at another weight, once anything was drawn."""
        if view.view_drawing(self.workspace.preview) is None:
            return gr.skip()
        return self.generate(adapter_id, weight, prompt, seed, steps, guidance)

    def show_drawing(self, seen: Seen) -> list[Any]:
        """Paints status and pictures, and the slider when a new pair is there."""
        drawing = view.view_drawing(self.workspace.preview)
        training = find_busy_run(self.workspace) is not None
        parts = {
            "status": make_status(drawing, training=training),
            "pictures": make_pictures(drawing),
        }
        answers = paint(seen, parts)
        done = drawing.id if drawing and drawing.result.state == "done" else ""
        pair = gr.skip()
        if done and seen.get("pair") != done:
            pair = gr.update(value=_read_pair(drawing), visible=True)
            seen["pair"] = done
        return [seen, *answers, pair]

    def refresh_adapters(self, seen: Seen, adapter_id: str | None) -> list[Any]:
        """Lists the adapters anew when there are others."""
        parts = {"adapters": self._list(view.list_adapters(self.workspace), adapter_id)}
        return [seen, *paint(seen, parts)]

    def _list(self, entries: list[view.AdapterEntry], adapter_id: str | None) -> dict[str, Any]:
        update: dict[str, Any] = gr.update(choices=[(one.label, one.id) for one in entries])
        if not any(one.id == adapter_id for one in entries):
            update["value"] = entries[0].id if entries else None
        return update


def _read_pair(drawing: view.Drawing | None) -> tuple[Image.Image, Image.Image] | None:
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
