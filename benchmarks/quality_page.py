"""The measured part of docs/quality.md: tables from a results file, between two marks."""

from pathlib import Path
from typing import Any

from benchmarks.measured_pages import write_between
from benchmarks.quality_variants import VARIANTS

PAGE = Path(__file__).resolve().parents[1] / "docs" / "quality.md"
START = "<!-- measured: written by benchmarks/quality.py -->"
END = "<!-- end of measured -->"

Report = dict[str, Any]


def write_page(report: Report) -> None:
    """Puts the tables of a report between the marks of the page.

    Raises:
        RuntimeError: the markers are missing, so the place of the tables is unknown.
    """
    write_between(PAGE, (START, END), render_tables(report))


def render_tables(report: Report) -> str:
    """Returns the results and the controls as Markdown."""
    parts = [
        _render_setting(report),
        _render_results(report),
        _render_costs(report),
        _render_untouched(report),
        _render_controls(report),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _render_setting(report: Report) -> str:
    how, computer = report["settings"], report["machine"]
    times = ", ".join(
        f"{name} {row['training_seconds']:.0f} s" for name, row in report["variants"].items()
    )
    count = how["prompts"] * len(how["seeds"])
    later = [
        f" {VARIANTS[name].title} was measured {row['date']} with `{row['command']}`."
        for name, row in report["variants"].items()
        if "date" in row
    ]
    return (
        f"Measured {report['date']} with `{report['command']}` on {computer['cores']} cores "
        f"({computer['system']}, torch {computer['torch']}, diffusers {computer['diffusers']}): "
        f"{count} images per row ({how['prompts']} prompts, seeds {how['seeds'][0]} to "
        f"{how['seeds'][-1]}), guidance {how['guidance']:g}, {how['inference_steps']} steps, "
        f"{how['held_out']} held-out images. Training took, with the start of the program: "
        f"{times}; the whole benchmark {report['seconds'] / 60:.0f} minutes." + "".join(later)
    )


def _render_results(report: Report) -> str:
    floor, base = report["floor"], report["base"]
    lines = [
        "| images | style distance | per seed | closed | closed (root) | top 1 | top 5 |",
        "|---|---:|---|---:|---:|---:|---:|",
        _render_row("base model", base, "", ""),
    ]
    for name, row in report["variants"].items():
        if "base" in row:
            lines.append(_render_row(f"base model of the next row ({name})", row["base"], "", ""))
        closed = f"**{row['closed']:.0%}**"
        lines.append(_render_row(VARIANTS[name].title, row, closed, f"{row['closed_root']:.0%}"))
    lines.append(
        f"| held-out half against held-out half | {floor['mean']:.3f} "
        f"| 95 % of splits below {floor['percentile_95']:.3f} | | | | |"
    )
    lines.append(
        f"| by chance | | | | | {1 / report['settings']['prompts']:.0%} "
        f"| {5 / report['settings']['prompts']:.0%} |"
    )
    return "\n".join(lines)


def _render_row(title: str, row: Report, closed: str, root: str) -> str:
    seeds = ", ".join(f"{value:.2f}" for value in row["per_seed"])
    return (
        f"| {title} | {row['distance']:.3f} | {seeds} | {closed} | {root} "
        f"| {row['top1']:.0%} | {row['top5']:.0%} |"
    )


def _render_costs(report: Report) -> str:
    measured = {n: row for n, row in report["variants"].items() if "parameters" in row}
    if not measured:  # a results file from before costs were measured
        return ""
    lines = [
        "| adapter | trained weights | file | seconds per step | memory of a step |",
        "|---|---:|---:|---:|---:|",
    ]
    lines += [
        f"| {VARIANTS[name].title} | {row['parameters']:,} | {row['file_bytes'] / 1e6:.2f} MB "
        f"| {row['seconds_per_step']:.2f} | {row['step_peak_bytes'] / 1e6:.0f} MB |"
        for name, row in measured.items()
    ]
    return "\n".join(lines)


def _render_untouched(report: Report) -> str:
    lines = ["| against the untouched held-out images | style distance | closed |"]
    lines += ["|---|---:|---:|", f"| base model | {report['base']['untouched']:.2f} | |"]
    for name, row in report["variants"].items():
        if "base" in row:
            title = f"base model of the next row ({name})"
            lines.append(f"| {title} | {row['base']['untouched']:.2f} | |")
        share = f"{row['closed_untouched']:.0%}"
        lines.append(f"| {VARIANTS[name].title} | {row['untouched']:.2f} | {share} |")
    reach = report["untouched_through_vae"]
    share = f"{1 - reach / report['base']['untouched']:.0%}"
    lines.append(f"| real images seen through the VAE | {reach:.2f} | {share} |")
    return "\n".join(lines)


def _render_controls(report: Report) -> str:
    lines = ["| control | style distance | of the base model's |", "|---|---:|---:|"]
    for name, distance in report["controls"].items():
        share = f"{distance / report['base']['distance']:.0%}"
        lines.append(f"| {name} | {distance:.3f} | {share} |")
    return "\n".join(lines)
