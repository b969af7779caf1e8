"""What `lorasmith inspect` found in a LoRA file, in words."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from app.core.jobs import Job
from app.core.text import show_bytes
from app.library import files_text as words


@dataclass(frozen=True)
class Program:
    """Whether a program loads a file ("yes", "partly", "no"), and why not."""

    name: str
    loads: str
    reasons: tuple[str, ...]


@dataclass(frozen=True)
class Finding:
    """What is wrong with a file: "error", "warning" or "note", what it is and what it breaks."""

    severity: str
    message: str


@dataclass(frozen=True)
class Inspection:
    """What a file is, in words."""

    facts: tuple[tuple[str, str], ...]
    programs: tuple[Program, ...]
    findings: tuple[Finding, ...]


def view_inspection(job: Job) -> Inspection | None:
    """Returns what a file is; None before anybody looked."""
    told = job.answer
    if job.state != "done" or not isinstance(told, dict):
        return None
    return Inspection(
        facts=tuple((name, value) for name, value in _list_facts(told) if value),
        programs=tuple(
            Program(str(one["program"]), str(one["loads"]), tuple(map(str, one["reasons"])))
            for one in told.get("programs", ())
        ),
        findings=tuple(_split_finding(str(line)) for line in told.get("findings", ())),
    )


def _list_facts(told: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    sure = "" if told.get("certain") else words.BY_ITS_HEADER
    yield words.FACT_FAMILY, f"{told.get('family', '')}{sure}"
    yield words.FACT_KIND, ", ".join(map(str, told.get("kinds", ())))
    for part in told.get("components", ()):
        yield _begin(str(part["name"])), _describe_component(part)
    yield words.FACT_TRIGGER, str(told.get("trigger", ""))
    yield words.FACT_TAGS, ", ".join(map(str, told.get("tags", ())))
    yield words.FACT_PREDICTION, str(told.get("prediction", ""))
    yield words.FACT_BASE, str(told.get("base_model", ""))
    size = show_bytes(int(told.get("bytes", 0)))
    yield words.FACT_FILE, words.file_fact(size, told.get("precision"), told.get("naming"))
    training = told.get("training", {})
    yield words.FACT_TRAINING, ", ".join(f"{name} {value}" for name, value in training.items())
    digest, stated = str(told.get("digest", "")), str(told.get("stated_digest", ""))
    same = not stated or digest == stated
    yield words.FACT_HASH, digest if same else words.other_hash(digest, stated)


def _describe_component(part: Mapping[str, Any]) -> str:
    kinds = ", ".join(map(str, part["kinds"]))
    # As keys of a JSON object, numbers come as text.
    ranks, alphas = (
        ", ".join(f"{float(number):g}" for number in part[name]) for name in ("ranks", "alphas")
    )
    return words.component(int(part["modules"]), int(part["of"]), kinds, ranks, alphas)


def _split_finding(line: str) -> Finding:
    severity, colon, message = line.partition(": ")
    if colon and severity in words.SEVERITIES:
        return Finding(severity, message)
    return Finding("note", line)


def _begin(name: str) -> str:
    return name[:1].upper() + name[1:]
