"""The queue, on the Train tab."""

import gradio as gr

from app.queue.events import QueueEvents
from app.ui.context import PageContext
from app.ui.fragments import fragment
from app.ui.wire import wire


def build_queue(context: PageContext) -> None:
    """Builds the rows of the queue and wires their buttons."""
    rows = fragment("queue", elem_id="queue")
    message = {"message": gr.HTML("", elem_id="queue-note")}
    wire(rows.select, QueueEvents(context.workspace).command, outputs=message)
