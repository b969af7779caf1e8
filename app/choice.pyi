"""A choice among what lies in the folders."""

from typing import Any

import gradio as gr

from gradio.events import Dependency

class Choice(gr.Dropdown):
    """A dropdown whose list changes while an answer is under way.

    Gradio refuses an event whose value is not in the list that was sent last. What a browser sends
    may be older than that, and the event would be lost, with whatever else it was to do. So the
    value comes through as it is, and like everything from a browser it is looked up by those who
    use it (`Workspace.find_dataset` and the like).
    """

    is_template = True  # in the browser it is the Dropdown that it is built on

    def preprocess(self, payload: Any) -> str | None:
        """Returns what the browser sent, if it is a text."""
        return payload if isinstance(payload, str) else None
    from typing import Callable, Literal, Sequence, Any, TYPE_CHECKING
    from gradio.blocks import Block
    if TYPE_CHECKING:
        from gradio.components import Timer
        from gradio.components.base import Component