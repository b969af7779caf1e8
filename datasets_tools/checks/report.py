"""The dataset check: what will go wrong in training, in plain language, each with its remedy."""

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from datasets_tools.buckets import make_buckets, place_image
from datasets_tools.checks.cache import MeasureCache
from datasets_tools.checks.duplicates import Pair, find_pairs
from datasets_tools.checks.measures import Measures
from datasets_tools.checks.pixels import is_blank
from datasets_tools.checks.scan import Progress, measure_folder
from datasets_tools.checks.subject import CheckFinding, Goal, Severity, Subject
from datasets_tools.checks.table import CHECKS, SCAN_REMEDIES, SCAN_TITLES
from datasets_tools.errors import DatasetError, show_name
from datasets_tools.examples import Example, Finding, scan_folder

_ORDER: tuple[Severity, ...] = ("error", "warning", "note")


@dataclass(frozen=True)
class CheckReport:
    """The examples of a folder and everything found about them, errors first."""

    examples: list[Example]
    findings: list[CheckFinding] = field(default_factory=list)

    @property
    def errors(self) -> list[CheckFinding]:
        """What keeps the dataset from being trained."""
        return [finding for finding in self.findings if finding.severity == "error"]

    @property
    def warnings(self) -> list[CheckFinding]:
        """What will make the results poorer."""
        return [finding for finding in self.findings if finding.severity == "warning"]

    @property
    def ok(self) -> bool:
        """Whether the dataset can be trained."""
        return not self.errors

    def find(self, code: str) -> CheckFinding | None:
        """Returns the finding of a check; None where it found nothing."""
        return next((finding for finding in self.findings if finding.code == code), None)

    def to_json(self) -> dict[str, Any]:
        """Return the report as plain data; files by name, without their folders."""
        return {
            "ok": self.ok,
            "errors": len(self.errors),
            "warnings": len(self.warnings),
            "examples": [
                {
                    "name": show_name(example.path),
                    "id": example.id,
                    "width": example.width,
                    "height": example.height,
                    "caption": example.caption,
                }
                for example in self.examples
            ],
            "findings": [
                {
                    "severity": finding.severity,
                    "code": finding.code,
                    "message": finding.message,
                    "images": [show_name(Path(name)) for name in finding.names],
                    "remedy": finding.remedy,
                }
                for finding in self.findings
            ],
        }


@dataclass(frozen=True)
class CheckOptions:
    """What a dataset is checked for.

    Attributes:
        trigger: The trigger word that captions should hold; "" for none.
        resolution: The side of the square whose area the buckets have.
        step: What the buckets' sides are multiples of.
        goal: What is to be learned; "" where that is unknown.
    """

    trigger: str = ""
    resolution: int = 512
    step: int = 64
    goal: Goal = ""


def check_dataset(
    folder: Path,
    options: CheckOptions | None = None,
    cache: MeasureCache | None = None,
    progress: Progress | None = None,
) -> CheckReport:
    """Return all findings about a dataset before training on it.

    Args:
        folder: The folder of images; one that is missing or empty is a finding, not an exception.
        options: What it is checked for.
        cache: What is known of its images; it is added to, and saved.
        progress: Called with the number of images that were looked at and that of all.

    Raises:
        DatasetError: The resolution and the step allow no bucket.
    """
    options, cache = options or CheckOptions(), cache or MeasureCache()
    buckets = make_buckets(options.resolution, options.step)
    measure_folder(folder, cache, progress)
    try:
        examples, scanned = scan_folder(folder)
    except DatasetError as error:
        return CheckReport([], _convert([Finding("error", "no_images", str(error), None)]))
    findings = _convert(scanned, folder)
    if not examples:
        message = "None of the images can be used. Replace them with ones that can be opened."
        findings += _convert([Finding("error", "no_usable_images", message, None)])
    measures = [cache.find_measures(example.id) for example in examples]
    unreadable = {one.path for one in scanned if one.code == "unreadable_caption"}
    subject = Subject(
        examples=examples,
        measures=measures,
        placements=[
            place_image(one.width, one.height, buckets, options.step, math.inf) for one in examples
        ],
        pairs=_find_pairs(examples, measures, cache),
        trigger=options.trigger,
        goal=options.goal,
        resolution=options.resolution,
        unreadable=frozenset(at for at, one in enumerate(examples) if one.path in unreadable),
    )
    cache.save()
    findings += run_checks(subject)
    findings.sort(key=lambda finding: _ORDER.index(finding.severity))
    return CheckReport(examples, findings)


def run_checks(subject: Subject) -> list[CheckFinding]:
    """Returns what the checks of the table find, in its order."""
    return [
        CheckFinding(
            check.code,
            check.title,
            check.severity,
            hits.message,
            tuple(subject.examples[at].name for at in hits.images),
            check.remedy,
        )
        for check in CHECKS
        for hits in check.find(subject)
    ]


def _convert(scanned: Sequence[Finding], folder: Path | None = None) -> list[CheckFinding]:
    return [
        CheckFinding(
            one.code,
            SCAN_TITLES.get(one.code, one.code),
            one.severity,
            one.message,
            (_name_in(folder, one.path),) if one.path else (),
            SCAN_REMEDIES.get(one.code, ""),
        )
        for one in scanned
    ]


def _name_in(folder: Path | None, path: Path) -> str:
    """Returns the name of an image of a dataset, below its group where it has one."""
    grouped = folder is not None and path.parent != folder
    return f"{path.parent.name}/{path.name}" if grouped else path.name


def _find_pairs(
    examples: Sequence[Example], measures: Sequence[Measures | None], cache: MeasureCache
) -> list[Pair]:
    """Returns which images show the same image, by place; blank ones are all alike."""
    chosen = [(at, one) for at, one in enumerate(measures) if one is not None and not is_blank(one)]
    ids = " ".join(examples[at].id for at, _ in chosen)
    key = hashlib.sha256(ids.encode()).hexdigest()
    pairs = cache.find_pairs(key)
    if pairs is None:
        pairs = find_pairs(np.array([one.copy for _, one in chosen])) if len(chosen) > 1 else []
        cache.keep_pairs(key, pairs)
    places = [at for at, _ in chosen]
    return [Pair(places[p.first], places[p.second], p.error, p.mirrored) for p in pairs]
