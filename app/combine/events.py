"""What happens on the workbench: values from the browser in, messages out."""

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
        """Has a draft made, or says why not."""
        images = ImageSettings(prompt or "", seed, strength)
        try:
            drafts.try_recipe(self.workspace, read_recipe(**fields), images)
        except WorkspaceError as error:
            return {"message": note(text.refused(str(error)), "error")}
        return {"message": Markup("")}

    def generate_again(self, prompt: str, seed: Any, strength: Any) -> dict[str, Markup]:
        """Generates images again."""
        try:
            drafts.generate_again(self.workspace, ImageSettings(prompt or "", seed, strength))
        except WorkspaceError as error:
            return {"message": note(str(error), "error")}
        return {"message": Markup("")}

    def save(self, name: str, **fields: Any) -> dict[str, Markup]:
        """Saves what was tried, or says why not."""
        try:
            drafts.save(self.workspace, read_recipe(**fields), name)
        except WorkspaceError as error:
            return {"refusal": note(str(error), "error")}
        return {"refusal": Markup("")}

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
        """Asks for the first images once the draft is there."""
        try:
            drafts.follow(self.workspace)
        except WorkspaceError as error:
            return {"message": note(str(error), "error")}
        return {}
