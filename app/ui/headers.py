"""The header of a LoRA file as HTML, in the Library and before it is written."""

from collections.abc import Sequence

from app.core.jobs import Job
from app.library.header_rows import describe_header
from app.ui import headers_text as words
from app.ui.markup import Markup, element, join, note


def make_header_table(
    heading: str, pairs: Sequence[tuple[str, str]], *, folded: bool = False
) -> Markup:
    """Returns the entries of a header, one a row; `folded` shows them when they are asked for."""
    if not pairs:
        return element("p", words.NO_HEADER, class_="quiet")
    head = element(
        "tr", element("th", words.NAME, scope="col"), element("th", words.VALUE, scope="col")
    )
    rows = [
        element("tr", element("th", name, scope="row"), element("td", value))
        for name, value in pairs
    ]
    table = element("table", head, *rows, class_="plain header")
    box = element("div", table, class_="scroll tall", tabindex=0, role="region", aria_label=heading)
    if folded:
        return element("details", element("summary", words.folded(heading, len(pairs))), box)
    return join(element("h4", heading), box)


def make_future_header(job: Job) -> Markup:
    """Returns the header as it would be written, or how far it is."""
    if job.state == "none":
        return Markup("")
    if job.state == "running":
        return element("p", words.LOOKING, class_="quiet", role="status", data_state="running")
    if job.state == "failed" or not isinstance(job.answer, dict):
        told = note(words.failed(job.message), "error")
        return element("div", told, data_state="failed")
    entries = {str(name): str(value) for name, value in job.answer.items()}
    table = make_header_table(words.WILL_HEADING, describe_header(entries))
    return element("div", table, data_state="done")
