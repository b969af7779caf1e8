"""The workbench's pieces of HTML."""

from collections.abc import Sequence

from app.combine import text as words
from app.combine.reports import Report, Table, view_report
from app.combine.workbench import BenchView, measure_work
from app.core.jobs import Job
from app.core.text import show_bytes
from app.ui.components import make_findings, make_images, make_status
from app.ui.markup import Markup, element, join, note


def make_report(shown: BenchView, names: Sequence[str]) -> Markup:
    """Returns how far the draft is and what came of it.

    Args:
        shown: The workbench.
        names: Of the recipe's files.
    """
    bench = shown.bench
    if bench is None:
        return element("p", words.HINT, class_="quiet", data_state="none")
    task, method = bench.recipe.task, bench.recipe.settings.get("method")
    report = view_report(task, method, names, shown.job)
    parts = [note(words.OLD, "warning") if shown.old else "", _make_state(shown)]
    parts += [note(line) for line in report.lines]
    parts += [_make_table(table) for table in report.tables]
    parts.append(_make_findings(report))
    state = "built" if bench.makes_model else shown.job.state
    return element("div", *parts, data_state=state, data_old=shown.old)


def make_drawing(shown: BenchView, *, training: bool) -> Markup:
    """Returns the pictures without and with what was tried, or why there are none (yet)."""
    bench = shown.bench
    if bench is None:
        return Markup("")
    if bench.problem:
        return note(bench.problem, "error")
    if bench.asked and shown.drawing is None:
        return note(words.PICTURE_GONE)
    names = {str(shown.draft.resolve()): words.DRAFT} if shown.draft else {}
    status = make_status(shown.drawing, training=training)
    return join(status, make_images(shown.drawing, names))


def make_saved(shown: BenchView) -> Markup:
    """Returns what came of saving."""
    bench = shown.bench
    if bench is None or not bench.saved:
        return Markup("")
    if shown.is_saved:
        return note(words.saved(bench.saved, model=bench.makes_model), "good")
    return _make_job(shown.job)


def _make_state(shown: BenchView) -> Markup:
    bench = shown.bench
    if bench is None:
        return Markup("")
    if bench.makes_model:
        return note(words.BAKE_HINT)
    if bench.saved:
        return Markup("")
    if shown.draft is not None:
        return note(words.made(show_bytes(shown.draft.stat().st_size)), "good")
    if shown.job.state in {"none", "done"}:
        return note(words.DRAFT_GONE, "warning")
    return _make_job(shown.job)


def _make_job(job: Job) -> Markup:
    """Returns how long a command has been working, or why it failed."""
    if job.state == "running":
        seconds, written = measure_work(job.path)
        return note(words.working(seconds, show_bytes(written) if written else ""))
    if job.was_stopped:
        return note(words.STOPPED)
    return note(words.refused(job.message), "error")


def _make_table(table: Table) -> Markup:
    head = element("tr", *(element("th", column, scope="col") for column in table.columns))
    rows = [
        element("tr", element("th", first, scope="row"), *(element("td", cell) for cell in rest))
        for first, *rest in table.rows
    ]
    body = element("table", head, *rows, class_="plain")
    return join(element("h4", table.heading), element("div", body, class_="scroll"))


def _make_findings(report: Report) -> Markup:
    if not report.findings:
        return Markup("")
    return join(element("h4", words.FINDINGS), make_findings(report.findings))
