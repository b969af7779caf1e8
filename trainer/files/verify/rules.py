"""All rules, and the findings of all of them about one file."""

from collections.abc import Callable, Iterator
from pathlib import Path

from trainer.export.errors import ExportError
from trainer.files.read.identity import explain_no_adapter
from trainer.files.verify import header, names, tensors, weights
from trainer.files.verify.facts import BaseLayers, FileFacts, collect_facts
from trainer.files.verify.findings import PROGRAMS, REFUSES, Finding

Rule = Callable[[FileFacts], Iterator[Finding]]

RULES: dict[str, Rule] = {
    "family": names.check_family,
    "strangers": names.check_unknown_keys,
    "words": tensors.check_words,
    "format": names.check_format,
    "blocks": names.check_blocks,
    "text_prefix": names.check_text_prefix,
    "text_level": names.check_text_level,
    "known_layers": names.check_known_layers,
    "outer_layers": names.check_outer_layers,
    "twins": names.check_twins,
    "text_sets": names.check_text_sets,
    "kinds": weights.check_kinds,
    "tucker": weights.check_tucker,
    "dora": weights.check_dora,
    "lengths": tensors.check_lengths,
    "parts": weights.check_parts,
    "empty": tensors.check_empty,
    "number_formats": tensors.check_number_formats,
    "shapes": weights.check_shapes,
    "finite": weights.check_finite,
    "alphas": weights.check_alphas,
    "even_alphas": weights.check_even_alphas,
    "peft_alphas": weights.check_peft_alphas,
    "stated_family": header.check_stated_family,
    "detection": header.check_detection,
    "hashes": header.check_hashes,
    "size": header.check_size,
    "tables": header.check_tables,
    "modelspec": header.check_modelspec,
    "privacy": header.check_privacy,
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
    message = explain_no_adapter(facts.header, facts.groups)
    if message:
        return [Finding("error", "strangers", message, dict.fromkeys(PROGRAMS, REFUSES))]
    return judge(facts)


def judge(facts: FileFacts) -> list[Finding]:
    """Returns the findings of all rules, the worst first."""
    findings = [finding for rule in RULES.values() for finding in rule(facts)]
    order = ("error", "warning", "note")
    return sorted(findings, key=lambda finding: order.index(finding.severity))
