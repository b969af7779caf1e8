"""The dataset check in words."""

from dataclasses import dataclass
from pathlib import Path

from app.dataset import text
from datasets_tools.checks import check_dataset

_FULL_STEP = 64
_SMALL_MODEL = 384


@dataclass(frozen=True)
class CheckCard:
    """The dataset check in words."""

    summary: str
    kind: str
    findings: tuple[tuple[str, str], ...]


def view_check(folder: Path, trigger: str, resolution: int) -> CheckCard:
    """Returns the dataset check for training at a resolution."""
    step = _FULL_STEP if resolution >= _SMALL_MODEL else max(8, resolution // 8)
    report = check_dataset(folder, trigger, resolution, step)
    # The trainer puts the trigger first where it is missing, so that is nothing to be mended.
    kept = [one for one in report.findings if one.code != "trigger_missing"]
    errors = sum(one.severity == "error" for one in kept)
    warnings = len(kept) - errors
    kind = "error" if errors else "warning" if warnings else "good"
    return CheckCard(
        summary=text.check_summary(len(report.examples), errors, warnings),
        kind=kind,
        findings=tuple((one.severity, one.message) for one in kept),
    )
