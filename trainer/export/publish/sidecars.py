"""The two small files that A1111, Forge and InvokeAI look for beside a LoRA file."""

import json
from collections.abc import Sequence
from pathlib import Path

from datasets_tools.files import explain_write_error, write_atomically
from trainer.config import RunConfig
from trainer.export.errors import ExportError
from trainer.export.metadata import ExportFacts, choose_weight, write_usage_hint
from trainer.export.publish.images import write_preview
from trainer.formats.families import FAMILIES


def write_sidecars(
    path: Path, config: RunConfig, facts: ExportFacts, images: Sequence[Path]
) -> list[Path]:
    """Writes what a person would otherwise type into those programs, and a preview image.

    Args:
        path: The exported file; its name with .json and .png is written.
        config: Of the run.
        facts: Of the run.
        images: Samples, the best first; without any there is no preview.

    Returns:
        The files written.

    Raises:
        ExportError: the disk is full or cannot be written.
    """
    card = path.with_suffix(".json")
    text = json.dumps(describe_card(config, facts), ensure_ascii=False, indent=4) + "\n"
    try:
        write_atomically(card, text)
    except OSError as error:
        raise ExportError(explain_write_error(card, error)) from error
    preview = path.with_suffix(".png")
    return [card, preview] if write_preview(preview, images) else [card]


def describe_card(config: RunConfig, facts: ExportFacts) -> dict[str, object]:
    """Returns the sidecar's content, under the keys that A1111 gave it."""
    return {
        "description": config.output.description,
        "sd version": FAMILIES[facts.family].get_labels(facts.prediction).sidecar,
        "activation text": config.dataset.trigger,
        "preferred weight": choose_weight(config, facts.best_weight),
        "negative text": config.samples.negative_prompt,
        "notes": write_usage_hint(config, facts.best_weight),
    }
