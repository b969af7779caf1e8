"""What happens on the Preview tab: values from the browser in, values for the widgets out."""

import secrets
from typing import Any

import gradio as gr

from app.core.generation import (
    GenerationRequest,
    cancel_generation,
    generate,
    make_request,
    view_generation,
)
from app.core.grid_jobs import AxisValues, send_grid, view_grid
from app.core.jobs import stop_job
from app.core.lora_files import LORA_PREFIX, keep_lora, list_adapters
from app.core.workspace import Workspace, WorkspaceError
from app.preview import text
from app.preview.html import STOP_GRID
from app.ui.markup import join, note


class PreviewEvents:
    """The tab's events.

    The adapters are a fixed number of rows, each with an adapter and a weight, by the row's number.
    A row without an adapter is not shown, but for the first one.
    """

    def __init__(self, workspace: Workspace) -> None:
        self.workspace = workspace

    def list_base_models(self) -> dict[str, Any]:
        """Lists the base models that images can be generated with."""
        models = [(name, name) for name in self.workspace.list_base_models()]
        return {"base_model": gr.update(choices=[(text.OWN_BASE, ""), *models])}

    def keep_files(self, drop: list[str] | None, adapters: dict[str, Any]) -> dict[str, Any]:
        """Keeps dropped LoRA files, the last one chosen in the last row that is shown."""
        messages, added = [], None
        for upload in drop or []:
            try:
                added, known = keep_lora(self.workspace, upload)
                line = text.lora_known(added.name) if known else text.lora_added(added.name)
                messages.append(note(line, "good"))
            except WorkspaceError as error:
                messages.append(note(str(error), "error"))
        answer: dict[str, Any] = {"message": join(*messages), "drop": None}
        if added is not None:
            shown = [number for number, adapter in adapters.items() if adapter]
            choices = [(one.label, one.id) for one in list_adapters(self.workspace)]
            update = gr.update(choices=choices, value=f"{LORA_PREFIX}{added.name}")
            answer["adapters"] = {shown[-1] if shown else next(iter(adapters)): update}
        return answer

    def generate(
        self, adapters: dict[str, Any], weights: dict[str, Any], base_model: Any, **numbers: Any
    ) -> dict[str, Any]:
        """Asks for images; the page shows them when they are there.

        Args:
            adapters: The adapters' ids by row.
            weights: Their weights by row.
            base_model: A listed base model, or "".
            numbers: Prompts, seed, steps, guidance, sampler, aspect ratio and count.
        """
        try:
            values = _read_values(adapters, weights, base_model, numbers)
            generate(self.workspace, make_request(self.workspace, values))
        except WorkspaceError as error:
            return {"message": note(str(error), "error")}
        return {"message": ""}

    def generate_grid(
        self, adapters: dict[str, Any], weights: dict[str, Any], base_model: Any, **numbers: Any
    ) -> dict[str, Any]:
        """Starts the command for a grid; the page shows its images as they come.

        Args:
            adapters: As for `generate`.
            weights: As for `generate`.
            base_model: As for `generate`.
            numbers: As for `generate`; and the axes, each with its values as lines.
        """
        rows, columns = (
            AxisValues(numbers[which], str(numbers[f"{which}_lines"] or ""))
            for which in ("rows", "columns")
        )
        try:
            values = _read_values(adapters, weights, base_model, numbers)
            send_grid(self.workspace, values, rows, columns)
        except WorkspaceError as error:
            return {"message": note(str(error), "error")}
        return {"message": ""}

    def cancel(self, event: Any) -> dict[str, Any]:
        """Cancels the request, or stops the grid, whose button was pressed."""
        view = view_grid(self.workspace) if getattr(event, "key", None) == STOP_GRID else None
        if view is not None:
            stop_job(self.workspace, view.job.id)
            return {"message": ""}
        try:
            cancel_generation(self.workspace.preview, getattr(event, "key", None))
        except WorkspaceError as error:
            return {"message": note(str(error), "error")}
        return {"message": ""}

    def choose_seed(self) -> dict[str, Any]:
        """Returns a seed at random."""
        return {"seed": secrets.randbelow(2**31)}

    def generate_again(self, **values: Any) -> dict[str, Any]:
        """Generates at another weight, once anything was generated."""
        if view_generation(self.workspace.preview) is None:
            return {}
        return self.generate(**values)


def _read_values(
    adapters: dict[str, Any], weights: dict[str, Any], base_model: Any, numbers: dict[str, Any]
) -> GenerationRequest:
    rows = [(one, weights[number]) for number, one in adapters.items() if one]
    # Before the list has arrived, the newest adapter is meant.
    return GenerationRequest(
        adapters=rows or [(None, next(iter(weights.values())))],
        base_model=base_model,
        prompt=numbers["prompt"],
        seed=numbers["seed"],
        inference_steps=numbers["steps"],
        guidance=numbers["guidance"],
        negative_prompt=numbers["negative"],
        sampler=numbers["sampler"],
        aspect=numbers["aspect"],
        count=numbers["count"],
    )
