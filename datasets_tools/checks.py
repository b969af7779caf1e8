"""The dataset check: what will go wrong in training, in plain language, each with its remedy.

An *error* keeps the dataset from being trained; a *warning* means that results will be poorer.
"""

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from datasets_tools.buckets import Bucket, make_buckets, place_image
from datasets_tools.captions import count_trigger
from datasets_tools.errors import DatasetError, show_name
from datasets_tools.examples import Example, Finding, scan_folder
from datasets_tools.images import pixel_digest

FEWEST_IMAGES = 5
ADVISED_IMAGES = 10
LARGEST_UPSCALE = 1.25
LARGEST_CROP = 0.25
NAMES_SHOWN = 3


@dataclass(frozen=True)
class CheckReport:
    """The examples of a folder and everything found about them, errors first."""

    examples: list[Example]
    findings: list[Finding]

    @property
    def errors(self) -> list[Finding]:
        """What keeps the dataset from being trained."""
        return [finding for finding in self.findings if finding.severity == "error"]

    @property
    def warnings(self) -> list[Finding]:
        """What will make the results poorer."""
        return [finding for finding in self.findings if finding.severity == "warning"]

    @property
    def ok(self) -> bool:
        """Whether the dataset can be trained."""
        return not self.errors

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
                    "name": show_name(finding.path) if finding.path else "",
                }
                for finding in self.findings
            ],
        }


def check_dataset(
    folder: Path, trigger: str = "", resolution: int = 512, step: int = 64
) -> CheckReport:
    """Return all findings about a dataset before training on it.

    Args:
        folder: The folder of images; one that is missing or empty is a finding, not an exception.
        trigger: The trigger word that captions should hold; "" for none.
        resolution: The side of the square whose area the buckets have.
        step: What the buckets' sides are multiples of.

    Raises:
        DatasetError: `resolution` and `step` allow no bucket.
    """
    buckets = make_buckets(resolution, step)
    try:
        examples, findings = scan_folder(folder)
    except DatasetError as error:
        return CheckReport([], [Finding("error", "no_images", str(error), None)])
    findings = [
        *_check_count(examples),
        *findings,
        *_check_sizes(examples, buckets, resolution, step),
        *_check_duplicates(examples),
        *_check_captions(examples, findings),
        *_check_trigger(examples, trigger),
    ]
    findings.sort(key=lambda finding: finding.severity != "error")
    return CheckReport(examples, findings)


def _check_count(examples: list[Example]) -> list[Finding]:
    count = len(examples)
    if count == 0:
        message = "None of the images can be used. Replace them with ones that can be opened."
        return [Finding("error", "no_usable_images", message, None)]
    if count >= ADVISED_IMAGES:
        return []
    images = "image" if count == 1 else "images"
    if count < FEWEST_IMAGES:
        message = (
            f"There {'is' if count == 1 else 'are'} only {count} usable {images}, so results will "
            f"be poor: the adapter will copy them. Add more; {ADVISED_IMAGES} to 20 work well."
        )
        return [Finding("warning", "too_few_images", message, None)]
    message = (
        f"There are {count} usable {images}. That can work, but {ADVISED_IMAGES} to 20 in "
        "different settings give better results. Add more if you have them."
    )
    return [Finding("warning", "few_images", message, None)]


def _check_sizes(
    examples: list[Example], buckets: list[Bucket], resolution: int, step: int
) -> list[Finding]:
    findings = []
    for example in examples:
        name = f"{show_name(example.path)} ({example.width} x {example.height} pixels)"
        placed = place_image(example.width, example.height, buckets, step, math.inf)
        if placed.scale > LARGEST_UPSCALE:
            message = (
                f"{name} is small for training at {resolution}: it would have to be enlarged "
                f"{placed.scale:.1f} times and look blurred. "
                "Use a larger original, or a lower resolution."
            )
            findings.append(Finding("warning", "small_image", message, example.path))
        if placed.crop_fraction > LARGEST_CROP:
            shape = "wide" if example.width > example.height else "tall"
            message = (
                f"{name} is too {shape} for training at {resolution}: {placed.crop_fraction:.0%} "
                "of it would be cut off at the ends. Crop it yourself to the part that matters."
            )
            findings.append(Finding("warning", "much_cropped", message, example.path))
    return findings


def _check_duplicates(examples: list[Example]) -> list[Finding]:
    by_size: dict[tuple[int, int], list[Example]] = {}
    for example in examples:
        by_size.setdefault((example.width, example.height), []).append(example)
    findings = []
    for same_size in by_size.values():
        if len(same_size) == 1:
            continue
        first_by_digest: dict[str, Example] = {}
        for example in same_size:
            first = first_by_digest.setdefault(pixel_digest(example.path), example)
            if first is not example:
                message = (
                    f"{show_name(example.path)} is the same image as {show_name(first.path)} "
                    "and would be learned twice as strongly. Remove one of them."
                )
                findings.append(Finding("warning", "duplicate_image", message, example.path))
    return findings


def _check_captions(examples: list[Example], findings: list[Finding]) -> list[Finding]:
    unreadable = {finding.path for finding in findings if finding.code == "unreadable_caption"}
    problems = [
        Finding(
            "warning",
            "empty_caption",
            f"{show_name(example.path)} has no caption. Describe it in a sentence or a few tags.",
            example.path,
        )
        for example in examples
        if not example.caption and example.path not in unreadable
    ]
    captions = {example.caption for example in examples}
    if len(examples) > 1 and len(captions) == 1 and "" not in captions:
        message = (
            f"All {len(examples)} captions are the same, so captions cannot distinguish the "
            "images. "
            "Describe in each what is special about it."
        )
        problems.append(Finding("warning", "identical_captions", message, None))
    return problems


def _check_trigger(examples: list[Example], trigger: str) -> list[Finding]:
    if not trigger.strip():
        return []
    captioned = [example for example in examples if example.caption]
    missing = [one for one in captioned if not count_trigger(one.caption, trigger)]
    repeated = [one for one in captioned if count_trigger(one.caption, trigger) > 1]
    findings = []
    if missing:
        message = (
            f"The trigger word “{trigger}” is missing in {len(missing)} of {len(captioned)} "
            f"captions ({_list_names(missing)}). The trainer puts it in front of them."
        )
        findings.append(Finding("warning", "trigger_missing", message, None))
    if repeated:
        message = (
            f"The trigger word “{trigger}” is in {len(repeated)} of {len(captioned)} captions "
            f"more than once ({_list_names(repeated)}). Once is enough; remove the others."
        )
        findings.append(Finding("warning", "trigger_repeated", message, None))
    return findings


def _list_names(examples: list[Example]) -> str:
    names = ", ".join(show_name(example.path) for example in examples[:NAMES_SHOWN])
    more = len(examples) - NAMES_SHOWN
    return f"{names} and {more} more" if more > 0 else names
