"""What all pages are given: the workspace, and the choices that are made on one page for all."""

from abc import ABCMeta
from dataclasses import dataclass
from typing import Any

import gradio as gr
from gradio.component_meta import ComponentMeta

from app.core.workspace import Workspace


class _NoStub(ComponentMeta):
    """Makes a component without the stub file that Gradio writes beside the source of each."""

    def __new__(cls, name: str, bases: tuple[type, ...], attributes: dict[str, Any]) -> Any:
        return ABCMeta.__new__(cls, name, bases, attributes)


class Choice(gr.Dropdown, metaclass=_NoStub):
    """A dropdown whose list changes while an answer is under way.

    Gradio refuses an event whose value is not in the list that was sent last. What a browser sends
    may be older than that, and the event would be lost, with whatever else it was to do. So the
    value comes through as it is, and like everything from a browser it is looked up by those who
    use it (`Workspace.find_dataset` and the like).
    """

    is_template = True  # in the browser it is the Dropdown that it is built on

    def render(self) -> Any:
        """Puts it into the page, into the block that is being built."""
        return super().render()  # type: ignore[no-untyped-call]

    def preprocess(self, payload: Any) -> str | None:
        """Returns what the browser sent, if it is a text."""
        return payload if isinstance(payload, str) else None


@dataclass(frozen=True)
class PageContext:
    """Each choice is put into the page (`render`) by the page that owns it."""

    workspace: Workspace
    demo: gr.Blocks
    tabs: gr.Tabs
    dataset: Choice
    base_model: Choice
    run: Choice
