"""The queue's pieces of HTML, and the views of its fragments."""

from dataclasses import replace

from app.core import text as core_text
from app.core.queues import QueueRow, QueueView, view_queue
from app.core.run_views import describe_run, format_duration
from app.core.workspace import Workspace
from app.queue import text
from app.ui.components import make_button
from app.ui.fragments import Params, View
from app.ui.markup import Markup, element, join, note
from trainer.runs.queue.times import show_time


def make_queue(queue: QueueView) -> Markup:
    """Returns the rows of the queue with their buttons; nothing where there is nothing to see."""
    if not queue.rows and not queue.paused and not queue.notice:
        return Markup("")
    parts = [_make_heading(queue)]
    if queue.notice:
        parts.append(note(queue.notice, "warning"))
    if queue.paused:
        parts.append(element("p", text.PAUSED, class_="quiet"))
    if queue.rows:
        heads = [*(element("th", each, scope="col") for each in text.HEADS), element("td", "")]
        rows = [_make_row(row, last=row is queue.rows[-1]) for row in queue.rows]
        table = element("table", element("tr", *heads), *rows, class_="plain queue")
        parts.append(element("div", table, class_="scroll"))
    return join(*parts)


def make_count(queue: QueueView) -> Markup:
    """Returns how many runs wait, as a button that shows them; nothing where none does."""
    if not queue.waiting:
        return Markup("")
    line = text.count(queue.waiting, paused=queue.paused)
    return make_button(line, key="queue", element_id="queue-waiting")


def _make_heading(queue: QueueView) -> Markup:
    key, label = ("start", text.START) if queue.paused else ("pause", text.PAUSE)
    return element(
        "div",
        element("h3", text.HEADING),
        make_button(label, key=key, element_id=f"queue-{key}"),
        class_="buttons",
    )


def _make_row(row: QueueRow, *, last: bool) -> Markup:
    view = row.view
    cells = [
        element("th", view.name, scope="row"),
        element("td", row.device),
        element("td", _describe(row)),
        element("td", _describe_time(row)),
        element("td", "" if view.busy else _make_buttons(row, last=last)),
    ]
    return element("tr", *cells, id=f"queue-row-{view.id}", data_state=view.state)


def _describe(row: QueueRow) -> str:
    if row.view.busy:
        return describe_run(replace(row.view, seconds_left=None))
    return text.AGAIN if row.view.state in {"lost", "failed"} else text.WAITING


def _describe_time(row: QueueRow) -> str:
    if not row.view.busy:
        return text.not_before(show_time(row.at)) if row.at else ""
    left = row.view.seconds_left
    return "" if left is None else core_text.time_left(format_duration(left))


def _make_buttons(row: QueueRow, *, last: bool) -> Markup:
    name, run = row.view.name, row.view.id
    up, down = text.move_up(name), text.move_down(name)
    first = row.place == 1
    box = element("input", type="datetime-local", aria_label=text.time_of(name))
    later = element(
        "details",
        element("summary", text.LATER),
        box,
        make_button(text.SET_TIME, key="at", data_run=run),
    )
    return element(
        "div",
        make_button(text.UP, key="up", data_run=run, aria_label=up, disabled=first),
        make_button(text.DOWN, key="down", data_run=run, aria_label=down, disabled=last),
        make_button(text.REMOVE, key="remove", data_run=run, aria_label=text.remove(name)),
        later,
        class_="buttons",
    )


def _render(workspace: Workspace, _params: Params) -> Markup:
    return make_queue(view_queue(workspace))


def _render_count(workspace: Workspace, _params: Params) -> Markup:
    return make_count(view_queue(workspace))


VIEWS = {"queue": View(_render), "queue-count": View(_render_count)}
