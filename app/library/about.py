"""What is in a LoRA file, and what was packed from it: `lorasmith inspect` and `bundle` as HTML."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from app.core.jobs import Job, stamp_job
from app.core.lora_files import (
    FORMATS,
    INSPECT,
    MADE,
    FileView,
    find_file,
    name_file_job,
    pack_url,
    read_file_job,
    read_metadata,
)
from app.core.text import show_bytes
from app.core.workspace import Workspace
from app.library import text
from app.library.singular_values import MEASURE
from app.library.singular_values_html import make_singular_values
from app.ui import text as ui_text
from app.ui.components import (
    make_button,
    make_copied,
    make_facts_list,
    make_failure,
    make_findings,
    make_header_table,
    make_link,
    make_progress,
)
from app.ui.fragments import Params, View
from app.ui.markup import Markup, element, join, note

_KINDS = {"yes": "good", "partly": "warning", "no": "error"}
_SIGNS = {"yes": "✓", "partly": "~", "no": "✕"}


@dataclass(frozen=True)
class Program:
    """Whether a program loads a file ("yes", "partly", "no"), and why not."""

    name: str
    loads: str
    reasons: tuple[str, ...]


@dataclass(frozen=True)
class Inspection:
    """What a file is; a finding is a severity ("error", "warning", "note") and a sentence."""

    facts: tuple[tuple[str, str], ...]
    programs: tuple[Program, ...]
    findings: tuple[tuple[str, str], ...]


def view_inspection(job: Job) -> Inspection | None:
    """Returns what a file is; None before anybody looked."""
    answer = job.answer
    if job.state != "done" or not isinstance(answer, dict):
        return None
    return Inspection(
        facts=tuple((name, value) for name, value in _list_facts(answer) if value),
        programs=tuple(
            Program(str(one["program"]), str(one["loads"]), tuple(map(str, one["reasons"])))
            for one in answer.get("programs", ())
        ),
        findings=tuple(_split_finding(str(line)) for line in answer.get("findings", ())),
    )


def make_about(file: FileView, job: Job, measured: Job | None = None) -> Markup:
    """Returns what a file is, who reads it, what is wrong with it and what its header holds.

    Args:
        file: The file.
        job: Its inspection.
        measured: The measuring of its layers, which takes longer.
    """
    header = make_header_table(ui_text.HEADER_ENTRIES, read_metadata(file.path), folded=True)
    # A file that is no adapter has no layers to show.
    shown = measured is not None and job.state == "done"
    layers = make_singular_values(file, measured) if measured and shown else Markup("")
    return join(_make_inspection(job), layers, header)


def make_pack(file: FileView, kind: str, job: Job) -> Markup:
    """Returns the link to a pack, or how far it is."""
    if job.state == "none":
        return Markup("")
    if job.state == "running":
        return make_progress(text.PACKING)
    if job.state == "failed":
        return make_failure(f"{text.PACK_FAILED} {job.message}")
    name = f"{file.path.stem}{MADE[kind]}" + (".zip" if kind == "hub" else "")
    link = make_link(f"{text.DOWNLOAD} {name}", pack_url(file, kind), name)
    return element("p", link, data_state="done")


def _list_facts(answer: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    sure = text.BY_ITS_HEADER if answer.get("by_header") else ""
    yield text.FACT_FAMILY, f"{answer.get('family', '')}{sure}"
    yield text.FACT_KIND, ", ".join(map(str, answer.get("kinds", ())))
    for part in answer.get("components", ()):
        name = str(part["name"])
        yield name[:1].upper() + name[1:], _describe_component(part)
    yield text.FACT_TRIGGER, str(answer.get("trigger", ""))
    yield text.FACT_WORDS, ", ".join(map(str, answer.get("words", ())))
    yield text.FACT_TAGS, ", ".join(map(str, answer.get("tags", ())))
    yield text.FACT_PREDICTION, str(answer.get("prediction", ""))
    yield text.FACT_TRAINED_ON, str(answer.get("base_model", ""))
    size = show_bytes(int(answer.get("bytes", 0)))
    yield text.FACT_FILE, text.file_fact(size, answer.get("precision"), answer.get("naming"))
    training = answer.get("training", {})
    yield text.FACT_TRAINING, ", ".join(f"{name} {value}" for name, value in training.items())
    digest, stated = str(answer.get("digest", "")), str(answer.get("stated_digest", ""))
    same = not stated or digest == stated
    yield text.FACT_HASH, digest if same else text.other_hash(digest, stated)


def _describe_component(part: Mapping[str, Any]) -> str:
    kinds = ", ".join(map(str, part["kinds"]))
    # As keys of a JSON object, numbers come as text.
    ranks, alphas = (
        ", ".join(f"{float(number):g}" for number in part[name]) for name in ("ranks", "alphas")
    )
    return text.component(int(part["modules"]), int(part["of"]), kinds, ranks, alphas)


def _split_finding(line: str) -> tuple[str, str]:
    severity, colon, message = line.partition(": ")
    return (severity, message) if colon and severity in ui_text.SEVERITIES else ("note", line)


def _make_inspection(job: Job) -> Markup:
    if job.state in {"none", "running"}:
        return make_progress(text.LOOKING)
    inspection = view_inspection(job)
    if inspection is None:
        return make_failure(f"{text.INSPECT_FAILED} {job.message}")
    findings = (
        make_findings(inspection.findings)
        if inspection.findings
        else note(text.NO_FINDINGS, "good")
    )
    return element(
        "div",
        make_facts_list(inspection.facts),
        _make_programs(inspection),
        element("h4", text.FINDINGS),
        findings,
        data_state="done",
    )


def _make_programs(inspection: Inspection) -> Markup:
    if not inspection.programs:
        return Markup("")
    rows = [_make_program(program) for program in inspection.programs]
    return join(element("h4", text.PROGRAMS), element("ul", *rows, class_="findings"))


def _make_program(program: Program) -> Markup:
    reasons = element("ul", *(element("li", reason) for reason in program.reasons))
    return element(
        "li",
        element("span", _SIGNS.get(program.loads, ""), class_="sign", aria_hidden="true"),
        element("b", program.name),
        text.LOADS.get(program.loads, program.loads),
        reasons if program.reasons else "",
        class_=f"verdict-{_KINDS.get(program.loads, 'info')}",
    )


def _find_file(workspace: Workspace, params: Params) -> FileView | None:
    return find_file(workspace, params.get("open"), params.get("library_file"))


def _render_about(workspace: Workspace, params: Params) -> Markup:
    file = _find_file(workspace, params)
    if file is None:
        return Markup("")
    job = read_file_job(workspace, INSPECT, file.path)
    return make_about(file, job, read_file_job(workspace, MEASURE, file.path))


def _render_share(workspace: Workspace, params: Params) -> Markup:
    file = _find_file(workspace, params)
    if file is None:
        return Markup("")
    packs: list[Markup] = []
    formats: list[Markup] = []
    for kind, label in text.PACK_LABELS.items():
        pack = make_pack(file, kind, read_file_job(workspace, kind, file.path))
        rows = formats if kind in FORMATS else packs
        rows.append(make_button(label, key=kind, element_id=f"library-pack-{kind}"))
        rows.append(element("div", pack, id=f"library-packed-{kind}"))
    command = text.upload_command(file.path)
    return join(
        element("p", text.SHARE_INFO, class_="quiet"),
        *packs,
        make_copied(text.UPLOAD, command, "library-upload", text.UPLOAD_INFO),
        element("h4", text.CONVERT),
        element("p", text.CONVERT_INFO, class_="quiet"),
        *formats,
    )


def _read_about_version(workspace: Workspace, params: Params) -> object:
    file = _find_file(workspace, params)
    return file, _stamp_jobs(workspace, file, (INSPECT, MEASURE))


def _read_share_version(workspace: Workspace, params: Params) -> object:
    file = _find_file(workspace, params)
    return file, _stamp_jobs(workspace, file, MADE)


def _stamp_jobs(workspace: Workspace, file: FileView | None, kinds: Iterable[str]) -> list[object]:
    return [stamp_job(workspace, name_file_job(kind, file.path)) for kind in kinds] if file else []


VIEWS = {
    "library-about": View(_render_about, _read_about_version),
    "library-share": View(_render_share, _read_share_version),
}
