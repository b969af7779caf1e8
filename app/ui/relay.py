"""Events that paint, each told by a box of its own that nobody sees.

Such an event has many causes, and a cause that comes while it is under way must not be lost. Gradio
can keep one (`always_last`): it then raises that cause again when the event has ended, with
everything else that hangs on it. Two such events with one cause would raise each other for ever,
which was seen (docs/lab-log.md, 2026-11-29). So the causes only stir a box in the browser, and
nothing but the event hangs on that box.

What is in a tab that nobody has opened yet has no events, so the boxes stand beside the tabs.
"""

from collections.abc import Callable, Sequence
from typing import Any

import gradio as gr

from app.ui.context import Shell
from app.ui.paint import QUIET
from app.ui.scripts import STIR


def carry(shell: Shell, name: str) -> gr.Textbox:
    """Returns a box that nobody sees, in which the browser carries something."""
    with shell.backstage:
        return gr.Textbox(visible="hidden", elem_id=name, label=name)


def show_when(
    shell: Shell,
    name: str,
    causes: Sequence[Any],
    fn: Callable[..., Any],
    inputs: Sequence[Any],
    outputs: Sequence[Any],
) -> dict[str, Any]:
    """Has an event run whenever one of its causes comes, and never twice at a time.

    A cause that comes while the event is under way has it run once more afterwards, with what the
    browser holds by then.

    Args:
        shell: What the pages share.
        name: Of the event.
        causes: Events of widgets, `demo.load`, ticks of a watch.
        fn: What runs.
        inputs: Its inputs.
        outputs: What it paints.

    Returns:
        What has it run after another event: `other.then(**show_when(...))`.
    """
    stir = carry(shell, f"stir-{name}")
    told: dict[str, Any] = {"fn": None, "outputs": [stir], "js": STIR}
    gr.on(list(causes), **told)
    stir.change(fn, list(inputs), list(outputs), trigger_mode="always_last", **QUIET)
    return told
