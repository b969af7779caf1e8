"""What happens on the workbench: values from the browser in, messages out."""

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

from app.combine import drafts, text
from app.combine.recipes import read_recipe
from app.combine.workbench import ImageSettings
from app.core.workspace import Workspace, WorkspaceError
from app.ui.markup import Markup, note


class CombineEvents:
    """The events. What they change is seen in the workspace, which the fragments show.

    `fields` are what `read_recipe` takes: the task, its settings, files with weights, base models.
    """

    def __init__(self, workspace: Workspace) -> None:
        self.workspace = workspace

    def try_recipe(self, prompt: str, seed: Any, strength: Any, **fields: Any) -> dict[str, Markup]:
        """Has a draft made, or reports why not."""
        images = ImageSettings(prompt or "", seed, strength)
        try:
            drafts.try_recipe(self.workspace, read_recipe(**fields), images)
        except WorkspaceError as error:
            return {"message": note(text.refused(str(error)), "error")}
        return {"message": Markup("")}

    def generate_again(self, prompt: str, seed: Any, strength: Any) -> dict[str, Markup]:
        """Generates images again."""
        images = ImageSettings(prompt or "", seed, strength)
        return _report("message", lambda: drafts.generate_again(self.workspace, images))

    def save(self, name: str, **fields: Any) -> dict[str, Markup]:
        """Saves what was tried, or reports why not."""
        recipe = read_recipe(**fields)
        return _report("refusal", lambda: drafts.save(self.workspace, recipe, name))

    def press(
        self, event: SimpleNamespace, *, prompt: str, seed: Any, strength: Any, name: str,
        **fields: Any,
    ) -> dict[str, Markup]:  # fmt: skip
        """Does what a button of a fragment is for."""
        key = getattr(event, "key", "")
        if key == "stop":
            drafts.stop(self.workspace)
        if key == "again":
            return self.generate_again(prompt, seed, strength)
        return self.save(name, **fields) if key == "save" else {}

    def follow(self) -> dict[str, Markup]:
        """Requests the first images once the draft is there."""
        report = _report("message", lambda: drafts.follow(self.workspace))
        return report if report["message"] else {}


def _report(place: str, action: Callable[[], object]) -> dict[str, Markup]:
    try:
        action()
    except WorkspaceError as error:
        return {place: note(str(error), "error")}
    return {place: Markup("")}
