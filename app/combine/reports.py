"""What came of combining or changing files: in sentences, and in small tables."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from app.combine import text as words
from app.combine.workbench import read_answer
from app.core.jobs import Job
from app.core.run_views import read_log_tail
from app.core.text import show_share
from app.ui.text import SEVERITIES

_WORST = 5
_NOTHING = 1e-6  # rounding
_LOG_LINES = 200

Told = Mapping[str, Any]


@dataclass(frozen=True)
class Table:
    """A table with a heading; the first cell of a row names it."""

    heading: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]


@dataclass(frozen=True)
class Report:
    """Sentences, tables, and what programs will make of the file (severity and sentence)."""

    lines: Sequence[str] = ()
    tables: Sequence[Table] = ()
    findings: Sequence[tuple[str, str]] = ()


def view_report(task: str, method: object, names: Sequence[str], job: Job) -> Report:
    """Returns what a command told; before it is done only what it says of programs.

    Args:
        task: What it was asked to do.
        method: Of a merge.
        names: Of the files, in their order.
        job: The command.
    """
    findings = _read_findings(job)
    told = read_answer(job)
    if not told:
        return Report(findings=findings)
    if task == "merge":
        return Report(*_report_merge(told, method, names), findings)
    report = _REPORTS.get(task)
    return Report(*report(told), findings) if report else Report(findings=findings)


def _report_merge(
    told: Told, method: object, names: Sequence[str]
) -> tuple[list[str], list[Table]]:
    lines = []
    if told["sign_conflicts"] >= 0:
        lines.append(words.conflicts(told["sign_conflicts"]))
    lines.append(words.distance(told["lost"], method))
    if told["cut"] > _NOTHING:
        lines.append(words.cut(told["cut"]))
    pairs = [
        (" + ".join(names[number] for number in pair["files"]), pair["cosine"])
        for pair in told["cosines"]
    ]
    rows = [(files, f"{cosine:+.3f}", words.meaning(cosine)) for files, cosine in pairs]
    worst = sorted(told["layers"], key=lambda layer: float(layer["lost"]), reverse=True)[:_WORST]
    layers = [
        (
            str(layer["layer"]),
            ", ".join(f"{cosine:+.3f}" for cosine in layer["cosines"]) or words.NO_FILE,
            show_share(layer["sign_conflicts"]) if layer["sign_conflicts"] >= 0 else words.NO_FILE,
            show_share(layer["lost"], 1),
        )
        for layer in worst
    ]
    tables = [Table(words.PAIRS, words.PAIR_COLUMNS, rows)]
    if told["lost"] > _NOTHING:
        tables.append(Table(words.WORST_MERGED, words.WORST_MERGED_COLUMNS, layers))
    return lines, tables


def _report_kept(told: Told) -> tuple[list[str], list[Table]]:
    layers = told["layers"]
    mean = sum(layer["energy"] for layer in layers) / len(layers)
    lines = [words.kept(len(layers), [layer["rank"] for layer in layers], mean)]
    if told.get("equal"):
        lines.append(words.equal_layers(told["equal"]))
    if told.get("left_out"):
        lines.append(words.left_out(told["left_out"]))
    worst = sorted(layers, key=lambda layer: float(layer["energy"]))[:_WORST]
    rows = [
        (str(each["layer"]), str(each["before"]), str(each["rank"]), show_share(each["energy"], 1))
        for each in worst
    ]
    return lines, [Table(words.WORST_KEPT, words.WORST_KEPT_COLUMNS, rows)]


def _report_scaled(told: Told) -> tuple[list[str], list[Table]]:
    factors = list(told["factors"].values())
    changed = sum(factor != 1 for factor in factors)
    line = words.scaled(changed, factors.count(0), len(factors))
    rows = [(f"{one:g}", str(factors.count(one))) for one in sorted(set(factors))]
    return [line], [Table(words.SCALED, words.SCALED_COLUMNS, rows)]


def _report_built(told: Told) -> tuple[list[str], list[Table]]:
    return [words.rounded(told["rounded"])] if told.get("rounded") else [], []


_REPORTS: dict[str, Callable[[Told], tuple[list[str], list[Table]]]] = {
    "resize": _report_kept,
    "extract": _report_kept,
    "scale": _report_scaled,
    "bake": _report_built,
    "subtract": _report_built,
}


def _read_findings(job: Job) -> list[tuple[str, str]]:
    """Returns the lines in which the command says, before it writes, who will not load the file."""
    if job.state == "none":
        return []
    found = []
    for line in read_log_tail(job.path / "log.txt", _LOG_LINES).splitlines():
        severity, colon, message = line.partition(": ")
        if colon and severity in SEVERITIES:
            found.append((severity, message))
    return found
