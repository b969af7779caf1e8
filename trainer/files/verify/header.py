"""Rules about the header: what programs and sites read there must be true and readable."""

import json
import re
from collections.abc import Iterator
from typing import Literal

from trainer.files.read.family import read_stated_family
from trainer.files.verify.facts import FileFacts
from trainer.files.verify.findings import Effect, Finding, name_some
from trainer.formats.architectures import list_layers
from trainer.formats.families import FAMILIES, SD2, SD15, SDXL
from trainer.formats.invoke import explain_as_invoke, name_outcome, recognise_as_invoke

_LARGEST_HEADER = 1 << 20  # ComfyUI serves no more
_HIDDEN = Effect("partly", "hidden among the LoRAs of another family")
_FORGE_FAMILIES = {
    labels.architecture: spec.name
    for spec in FAMILIES.values()
    if spec.known_to_forge
    for labels in spec.labels.values()
}
_NEEDED_BY_MODELSPEC = ("sai_model_spec", "architecture", "implementation", "title")
_HOME = re.compile(r"/home/|/Users/|/root/|[A-Za-z]:\\\\?Users")
_STATED_IN = ("modelspec.architecture", "ss_base_model_version")


def check_stated_family(facts: FileFacts) -> Iterator[Finding]:
    """The header names the family, and the right one."""
    family = facts.guess.family
    stated = read_stated_family(facts.metadata)
    if not family or not facts.kohya:
        return
    if stated and stated != family:
        yield Finding(
            "error",
            "stated_family",
            f"The header names {FAMILIES[stated].title}, but the layers are those of "
            f"{FAMILIES[family].title}.",
            {"A1111": _HIDDEN, "Forge": _HIDDEN},
        )
        return
    other = "" if stated else _name_other_model(facts)
    by_a1111 = _read_as_a1111(facts)
    effects = {"A1111": _HIDDEN} if by_a1111 not in {family, ""} else {}
    architecture = facts.metadata.get("modelspec.architecture", "")
    if _FORGE_FAMILIES.get(architecture, by_a1111) not in {family, ""}:
        effects["Forge"] = _HIDDEN
    if effects or not stated:
        title = FAMILIES[family].title
        yield Finding(
            "warning" if effects or other else "note",
            "stated_family",
            f"The header names another model, {other}, but the layers are those of {title}."
            if other
            else f"The header does not state that the file is for {title} "
            "(ss_base_model_version, ss_v2).",
            effects,
        )


def _name_other_model(facts: FileFacts) -> str:
    """Returns what the header calls the base model, where it is none of the known families."""
    stated = (facts.metadata.get(key, "") for key in _STATED_IN)
    return next((each for each in stated if each not in {"", "None"}), "")


def _read_as_a1111(facts: FileFacts) -> str:
    """Returns the family that A1111 takes a file for; "" where it leaves that open."""
    if facts.metadata.get("ss_base_model_version", "").startswith(SDXL.version_prefix):
        return SDXL.name
    if facts.metadata.get("ss_v2") == "True":
        return SD2.name
    return SD15.name if facts.metadata else ""


def check_detection(facts: FileFacts) -> Iterator[Finding]:
    """InvokeAI, which goes by the layers that are there, takes the file for the right family."""
    family, fitting = facts.guess.family, facts.guess.candidates
    # For a model of unusual sizes no program can detect the family.
    is_public = not family or facts.expected == list_layers(family)
    if not facts.kohya or not is_public or not (family or fitting):
        return
    starts = {key: entry.start for key, entry in facts.header.tensors.items()}
    in_order = sorted(starts, key=lambda key: starts[key])
    recognition = recognise_as_invoke({key: facts.shapes[key] for key in in_order})
    if family and recognition.base == family:
        return
    loads: Literal["no", "partly"] = "partly" if recognition.base in fitting else "no"
    yield Finding(
        "warning",
        "detection",
        explain_as_invoke(recognition, FAMILIES[family or fitting[0]]),
        {"InvokeAI": Effect(loads, name_outcome(recognition))},
    )


def check_hashes(facts: FileFacts) -> Iterator[Finding]:
    """The stated hashes are those of the tensors."""
    recorded = facts.metadata.get("sshs_model_hash")
    if recorded is None:
        yield Finding("note", "hashes", "The header has no sshs_model_hash, so that every program "
                      "and site computes its own.")  # fmt: skip
    elif recorded != facts.digest:
        problem = (
            "starts with 0x" if recorded == f"0x{facts.digest}" else "is not that of the tensors"
        )
        yield Finding(
            "warning",
            "hashes",
            f"sshs_model_hash {problem}; images and sites would name another file.",
        )
    recorded = facts.metadata.get("modelspec.hash_sha256")
    if recorded is not None and recorded != f"0x{facts.digest}":
        yield Finding("warning", "hashes", "modelspec.hash_sha256 is not 0x and the hash of the "
                      "tensors.")  # fmt: skip


def check_size(facts: FileFacts) -> Iterator[Finding]:
    """The header is short enough for programs that read only its start."""
    if facts.header.body_start > _LARGEST_HEADER:
        size = facts.header.body_start / _LARGEST_HEADER
        yield Finding(
            "warning",
            "size",
            f"The header is {size:.1f} MiB long; ComfyUI shows nothing of one above 1 MiB.",
        )


def check_tables(facts: FileFacts) -> Iterator[Finding]:
    """The tables in the header can be read by the panels that show them."""
    bad = []
    for key, text in facts.metadata.items():
        if text.startswith("{") and not isinstance(_read_table(text), dict):
            bad.append(key)
    tags = _read_table(facts.metadata.get("ss_tag_frequency", "{}"))
    if isinstance(tags, dict) and not all(
        isinstance(counts, dict) and all(type(n) is int for n in counts.values())
        for counts in tags.values()
    ):
        bad.append("ss_tag_frequency")
    folders = _read_table(facts.metadata.get("ss_dataset_dirs", "{}"))
    if not isinstance(folders, dict) or not all(isinstance(f, dict) for f in folders.values()):
        bad.append("ss_dataset_dirs")
    if not _is_number(facts.metadata.get("ss_training_started_at", "0")):
        bad.append("ss_training_started_at")
    if bad:
        yield Finding(
            "warning",
            "tables",
            f"A1111's panel cannot show the header: {name_some(sorted(set(bad)))} is not in the "
            "form that it expects.",
        )


def _read_table(text: str) -> object:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def check_modelspec(facts: FileFacts) -> Iterator[Finding]:
    """Where ModelSpec is used at all, what it demands is there."""
    if not any(key.startswith("modelspec.") for key in facts.metadata):
        return
    lacking = [n for n in _NEEDED_BY_MODELSPEC if not facts.metadata.get(f"modelspec.{n}")]
    if lacking:
        names = ", ".join(f"modelspec.{name}" for name in lacking)
        yield Finding("note", "modelspec", f"The header lacks {names}, which ModelSpec demands.")


def check_privacy(facts: FileFacts) -> Iterator[Finding]:
    """The header contains no folder of the computer that made the file."""
    keys = [key for key, text in facts.metadata.items() if _HOME.search(text)]
    if keys:
        yield Finding(
            "warning",
            "privacy",
            f"The header contains a path on the computer that made the file: {name_some(keys)}.",
        )
