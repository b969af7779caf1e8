"""The measured part of docs/merging.md: a table from a results file, between two marks."""

from pathlib import Path
from typing import Any

from benchmarks.measured_pages import write_between

PAGE = Path(__file__).resolve().parents[1] / "docs" / "merging.md"
START = "<!-- measured: written by benchmarks/merge.py -->"
END = "<!-- end of measured -->"

Report = dict[str, Any]


def write_page(report: Report) -> None:
    """Puts the table of a report between the marks of the page.

    Raises:
        RuntimeError: the markers are missing, so the place of the table is unknown.
    """
    write_between(PAGE, (START, END), render_table(report))


def render_table(report: Report) -> str:
    """Returns the setting and the table as Markdown."""
    computer, work = report["machine"], report["work"]
    loads = [row["load_before"] for row in report["rows"].values()]
    versions = ", ".join(f"{name} {number}" for name, number in computer["versions"].items())
    setting = (
        f"Measured {report['date']} with `{report['command']}` on {computer['cores']} cores "
        f"({computer['system']}, {computer['threads']} threads, {versions}): {work['files']} files "
        f"of {work['layers']:,} layers, rank {work['rank']}, {work['file_bytes'] / 1e6:.0f} MB "
        f"each. Other work ran beside it (load {min(loads):.1f} to {max(loads):.1f} when a row "
        "began), which lengthens the seconds a lot and those of the processor a little."
    )
    lines = [
        setting,
        "",
        "| command | seconds | processor seconds | peak memory | result | cut by the rank |",
        "|---|---:|---:|---:|---:|---:|",
        _render_row("(imports alone)", report["imports"]),
        *(_render_row(f"`{name}`", row) for name, row in report["rows"].items()),
    ]
    return "\n".join(lines)


def _render_row(name: str, row: Report) -> str:
    size = f"{row['file_bytes'] / 1e6:.0f} MB" if "file_bytes" in row else ""
    cut = f"{row['cut']:.1%}" if "cut" in row else ""
    return (
        f"| {name} | {row['seconds']:.0f} | {row['processor_seconds']:.0f} "
        f"| {row['peak_bytes'] / 1e6:.0f} MB | {size} | {cut} |"
    )
