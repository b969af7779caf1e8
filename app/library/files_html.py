"""The Library's pieces of HTML about one LoRA file."""

from app.core.jobs import Job
from app.core.lora_files import FileView, pack_url, read_metadata
from app.library import files_text as words
from app.library.header_rows import describe_header
from app.library.html import make_facts_list, make_link
from app.library.inspection import Finding, Inspection, Program, view_inspection
from app.library.singular_values_html import make_spectrum
from app.ui import headers_text as header_text
from app.ui.headers import make_header_table
from app.ui.markup import Markup, element, join, note

_KINDS = {"yes": "good", "partly": "warning", "no": "error"}
_SIGNS = {"yes": "✓", "partly": "~", "no": "✕"}


def make_about(file: FileView, job: Job, measured: Job | None = None) -> Markup:
    """Returns what a file is, who reads it, what is wrong with it and what its header tells.

    Args:
        file: The file.
        job: Its inspection.
        measured: The measuring of its layers, which takes longer.
    """
    entries = describe_header(read_metadata(file.path))
    header = make_header_table(header_text.HEADING, entries, folded=True)
    # Of a file that is no adapter there is nothing more to say.
    shown = measured is not None and job.state == "done"
    layers = make_spectrum(file, measured) if measured is not None and shown else Markup("")
    return join(_make_inspection(job), layers, header)


def make_pack(file: FileView, kind: str, job: Job) -> Markup:
    """Returns the link to a pack, or how far it is."""
    if job.state == "none":
        return Markup("")
    if job.state == "running":
        return element("p", words.PACKING, class_="quiet", role="status", data_state="running")
    if job.state == "failed":
        return element("div", note(words.pack_failed(job.message), "error"), data_state="failed")
    name = f"{file.path.stem}-{kind}.zip"
    link = make_link(words.download_pack(name), pack_url(file, kind), name)
    return element("p", link, data_state="done")


def _make_inspection(job: Job) -> Markup:
    if job.state in {"none", "running"}:
        return element("p", words.LOOKING, class_="quiet", role="status", data_state="running")
    found = view_inspection(job)
    if found is None:
        told = note(words.inspect_failed(job.message), "error")
        return element("div", told, data_state="failed")
    parts = [make_facts_list(found.facts), _make_programs(found), _make_findings(found)]
    return element("div", *parts, data_state="done")


def _make_programs(found: Inspection) -> Markup:
    if not found.programs:
        return Markup("")
    rows = [_make_program(program) for program in found.programs]
    return join(element("h4", words.PROGRAMS), element("ul", *rows, class_="findings"))


def _make_program(program: Program) -> Markup:
    sign = element("span", _SIGNS.get(program.loads, ""), class_="sign", aria_hidden="true")
    line = words.LOADS.get(program.loads, program.loads)
    reasons = element("ul", *(element("li", reason) for reason in program.reasons))
    return element(
        "li",
        sign,
        element("b", program.name),
        line,
        reasons if program.reasons else "",
        class_=f"verdict-{_KINDS.get(program.loads, 'info')}",
    )


def _make_findings(found: Inspection) -> Markup:
    heading = element("h4", words.FINDINGS)
    if not found.findings:
        return join(heading, note(words.NO_FINDINGS, "good"))
    return join(heading, element("ul", *map(_make_finding, found.findings), class_="findings"))


def _make_finding(finding: Finding) -> Markup:
    severity = element("b", f"{words.SEVERITIES[finding.severity]}:")
    return element("li", severity, finding.message, data_severity=finding.severity)
