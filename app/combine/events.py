"""What happens on the workbench: values from the browser in, values for the widgets out."""

from collections.abc import Sequence
from typing import Any

import gradio as gr

from app.combine import drafts as actions
from app.combine import recipes
from app.combine import text as words
from app.combine.html import make_drawing, make_report, make_saved
from app.combine.recipes import MAX_FILES, SETTINGS, WEIGHTED
from app.combine.workbench import Look, read_bench, view_bench
from app.core.run_views import find_busy_run
from app.core.workspace import Workspace, WorkspaceError
from app.ui.markup import note
from app.ui.paint import Seen, paint

DEFAULTS: dict[str, Any] = {
    "method": "svd", "rank": 0, "energy": 100, "density": 50, "seed": 0, "precision": "fp16",
    "down": 1, "middle": 1, "up": 1, "text": 1, "patterns": "", "base_model": "",
    "tuned_model": None,
}  # fmt: skip
_FIRST_RANKS = {"merge": 0, "resize": 8, "extract": 32}


class WorkbenchEvents:
    """The events. The page's values come in one order: the task, `SETTINGS`, files with weights."""

    def __init__(self, workspace: Workspace) -> None:
        self.workspace = workspace

    def open_page(self) -> list[Any]:
        """Shows what was last tried, else two files to merge; returns look and fields."""
        bench = read_bench(self.workspace)
        if bench is None:
            files = self._offer_files()
            values = [*DEFAULTS.values(), *(one for file in files for one in (file, 1.0))]
            values += ["", 1.0] * (MAX_FILES - 2)
            return [*[gr.skip()] * 3, *self._arrange("merge", values, set_all=True)]
        recipe = bench.recipe
        values = [recipe.settings.get(name, DEFAULTS[name]) for name in SETTINGS]
        rows = [*recipe.files, *[("", 1.0)] * (MAX_FILES - len(recipe.files))]
        values += [one for row in rows for one in row]
        look = [bench.look.prompt, bench.look.seed, bench.look.weight]
        return [*look, *self._arrange(recipe.task, values, set_all=True)]

    def choose_task(self, task: str, *values: Any) -> list[Any]:
        """Shows the fields of a task, with a rank that makes sense for it."""
        updates = self._arrange(task, values)
        place = 1 + SETTINGS.index("rank")
        updates[place] = updates[place] | {"value": _FIRST_RANKS.get(task, 0)}
        return updates

    def refresh(self, seen: Seen, task: str, *values: Any) -> list[Any]:
        """Lists files and base models anew, and shows one row more when the last one is filled.

        The first files of a workspace are offered as `open_page` would have done; where there were
        none before, there is no choice that this could undo.
        """
        updates = self._arrange(task, values)
        files = self._offer_files()
        chosen = values[len(SETTINGS) :][::2]
        if seen.get("files") == "none" and any(files) and not any(chosen):
            for place, file in zip((-2 * MAX_FILES, -2 * MAX_FILES + 2), files, strict=True):
                updates[place] = updates[place] | {"value": file}
        painted = paint(seen, {str(place): one for place, one in enumerate(updates)})
        seen["files"] = "some" if any(files) else "none"
        return [seen, *painted]

    def try_it(self, prompt: str, seed: Any, weight: Any, name: str, *fields: Any) -> list[Any]:
        """Has a draft made; returns the refusal, prompt and name."""
        recipe = recipes.read_recipe(fields[0], fields[1:])
        told, shown_prompt, shown_name = "", gr.skip(), gr.skip()
        own_name = self._is_own(name)
        try:
            actions.try_recipe(self.workspace, recipe, Look(prompt or "", seed, weight))
            bench = read_bench(self.workspace)
            shown_prompt = bench.look.prompt if bench else gr.skip()
            if not own_name:
                shown_name = actions.suggest_name(self.workspace, recipe)
        except WorkspaceError as error:
            told = note(words.refused(str(error)), "error")
        return [told, shown_prompt, shown_name]

    def redraw(self, prompt: str, seed: Any, weight: Any) -> Any:
        """Draws again; returns the refusal."""
        try:
            actions.redraw(self.workspace, Look(prompt or "", seed, weight))
        except WorkspaceError as error:
            return note(str(error), "error")
        return ""

    def stop(self) -> None:
        """Ends the making of the draft; the next look shows it."""
        actions.stop(self.workspace)

    def save(self, name: str, *fields: Any) -> Any:
        """Saves what was tried; returns the refusal."""
        recipe = recipes.read_recipe(fields[0], fields[1:])
        try:
            actions.save(self.workspace, recipe, name)
        except WorkspaceError as error:
            return note(str(error), "error")
        return ""

    def show(self, seen: Seen, *fields: Any) -> list[Any]:
        """Paints the draft with its report and pictures, and what can be done with it."""
        recipe = recipes.read_recipe(fields[0], fields[1:])
        try:
            actions.follow(self.workspace)
        except WorkspaceError as error:
            return [seen, note(str(error), "error"), *[gr.skip()] * 6]
        shown = view_bench(self.workspace, recipe)
        bench = shown.bench
        known = {one.id: one.name for one in recipes.list_sources(self.workspace)}
        names = [known.get(one, one) for one, _ in bench.recipe.files] if bench else []
        training = find_busy_run(self.workspace) is not None
        running = shown.job.state == "running" and not (bench and bench.makes_model)
        strength = shown.can_draw and not (bench and bench.makes_model)
        parts = {
            "report": make_report(shown, names),
            "stop": gr.update(visible=running),
            "drawing": make_drawing(shown, training=training),
            "strength": gr.update(visible=strength),
            "again": gr.update(visible=shown.can_draw),
            "save": gr.update(interactive=shown.can_save),
            "saved": make_saved(shown),
        }
        return [seen, *paint(seen, parts)]

    def _offer_files(self) -> list[str]:
        """Returns the two newest files, "" where there is none."""
        known = [one.id for one in recipes.list_sources(self.workspace)[:2]]
        return [*known, "", ""][:2]

    def _is_own(self, name: str | None) -> bool:
        """Tells whether a name is the person's: neither empty, nor suggested, nor used up."""
        bench = read_bench(self.workspace)
        known = {""}
        if bench is not None:
            known |= {actions.suggest_name(self.workspace, bench.recipe)}
            known |= {bench.saved, bench.saved.removesuffix(".safetensors")}
        return (name or "").strip() not in known

    def _arrange(self, task: str, values: Sequence[Any], *, set_all: bool = False) -> list[Any]:
        """Returns updates for all fields: which are shown, what they are called, what they list."""
        given = dict(zip(SETTINGS, values, strict=False))
        used = recipes.list_used(task, given.get("method"))
        fields: dict[str, dict[str, Any]] = {name: {"visible": name in used} for name in SETTINGS}
        fields["method"] |= {"info": words.METHODS_INFO.get(str(given.get("method")), "")}
        fields["rank"] |= {"info": words.RANK_INFO.get(task, "")}
        models = list(self.workspace.list_base_models())
        label, info = words.BASE_OF.get(task, (words.BASE_OPTIONAL, words.BASE_OPTIONAL_INFO))
        # The empty choice is always listed: what the browser sends may be older than the list.
        none = words.NO_FILE if task in words.BASE_OF else words.BASE_OWN
        listed = [(none, ""), *((name, name) for name in models)]
        fields["base_model"] |= {"choices": listed, "label": label, "info": info}
        chosen = given.get("base_model")
        if chosen and chosen not in models:
            fields["base_model"]["value"] = ""
        elif not chosen and task in words.BASE_OF and models:
            fields["base_model"]["value"] = models[0]
        fields["tuned_model"] |= {"choices": models}
        if given.get("tuned_model") not in {None, *models}:
            fields["tuned_model"]["value"] = None
        updates = [{"info": words.TASKS_INFO.get(task, "")}, *fields.values()]
        updates += self._arrange_rows(task, values[len(SETTINGS) :])
        if set_all:
            for update, value in zip(updates, [task, *values], strict=True):
                update.setdefault("value", value)
        return [gr.update(**update) for update in updates]

    def _arrange_rows(self, task: str, rows: Sequence[Any]) -> list[dict[str, Any]]:
        chosen = rows[::2]
        shown = recipes.count_rows(task, chosen)
        known = [(one.label, one.id) for one in recipes.list_sources(self.workspace)]
        updates: list[dict[str, Any]] = []
        for row in range(MAX_FILES):
            visible = row < shown
            choices = [(words.NO_FILE, ""), *known]
            file: dict[str, Any] = {"visible": visible, "choices": choices}
            if chosen[row] and chosen[row] not in {one for _, one in known}:
                file["value"] = ""  # it was removed, and a list refuses what it does not hold
            updates.append(file)
            updates.append({"visible": visible and task in WEIGHTED})
        return updates
