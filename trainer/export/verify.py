"""The contract check: does a file mean the same to every program that reads it?

It works on anybody's file, without a base model. Each rule is a function from the facts about a
file to findings; what they know about other programs was measured on those programs.
"""

from collections.abc import Callable, Iterator
from pathlib import Path

from trainer.export import verify_header, verify_names, verify_weights
from trainer.export.errors import ExportError
from trainer.export.verify_facts import BaseLayers, FileFacts, collect_facts
from trainer.export.verify_findings import PROGRAMS, REFUSES, Finding

Rule = Callable[[FileFacts], Iterator[Finding]]

RULES: dict[str, Rule] = {
    "family": verify_names.check_family,
    "strangers": verify_names.check_strangers,
    "format": verify_names.check_format,
    "blocks": verify_names.check_blocks,
    "text_prefix": verify_names.check_text_prefix,
    "text_level": verify_names.check_text_level,
    "known_layers": verify_names.check_known_layers,
    "outer_layers": verify_names.check_outer_layers,
    "twins": verify_names.check_twins,
    "text_sets": verify_names.check_text_sets,
    "kinds": verify_weights.check_kinds,
    "tucker": verify_weights.check_tucker,
    "dora": verify_weights.check_dora,
    "parts": verify_weights.check_parts,
    "shapes": verify_weights.check_shapes,
    "finite": verify_weights.check_finite,
    "alphas": verify_weights.check_alphas,
    "even_alphas": verify_weights.check_even_alphas,
    "peft_alphas": verify_weights.check_peft_alphas,
    "stated_family": verify_header.check_stated_family,
    "detection": verify_header.check_detection,
    "hashes": verify_header.check_hashes,
    "size": verify_header.check_size,
    "tables": verify_header.check_tables,
    "modelspec": verify_header.check_modelspec,
    "privacy": verify_header.check_privacy,
}


def verify_file(path: Path, base: BaseLayers | None = None) -> list[Finding]:
    """Returns what is wrong with a file or worth knowing about it; nothing for a clean one.

    Args:
        path: Anybody's file.
        base: The layers of the base model, for one whose sizes are of no public model; None takes
            those of the family that the file seems to be for.
    """
    try:
        facts = collect_facts(path, base)
    except ExportError as error:
        return [Finding("error", "header", str(error), dict.fromkeys(PROGRAMS, REFUSES))]
    if not facts.groups:
        message = f"{path.name} holds no adapter."
        return [Finding("error", "strangers", message, dict.fromkeys(PROGRAMS, REFUSES))]
    return judge(facts)


def judge(facts: FileFacts) -> list[Finding]:
    """Returns the findings of all rules, the worst first."""
    findings = [finding for rule in RULES.values() for finding in rule(facts)]
    order = ("error", "warning", "note")
    return sorted(findings, key=lambda finding: order.index(finding.severity))
