"""An exported file with its description, gathered from its header and its run."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from trainer.config import RunConfig
from trainer.export.errors import ExportError
from trainer.export.families import recognise_family
from trainer.export.metadata import choose_weight, write_usage_hint
from trainer.export.privacy import read_settings
from trainer.export.publish.images import find_samples
from trainer.files.read import open_header
from trainer.formats.embedding import find_embedding
from trainer.formats.families import FAMILIES, FamilyLabels
from trainer.runs import RunFolder
from trainer.runs.base_models import parse_hub_id
from trainer.runs.evaluations import read_best_weight

_FACTS = {
    "ss_network_dim": "Rank",
    "ss_network_alpha": "Alpha",
    "ss_steps": "Steps",
    "ss_epoch": "Epochs",
    "ss_num_train_images": "Images",
    "modelspec.resolution": "Resolution",
    "ss_clip_skip": "Clip skip",
    "ss_sd_model_name": "Trained on",
}


@dataclass(frozen=True)
class Publication:
    """What is shown of an exported file.

    Attributes:
        file: The exported file.
        metadata: Its header.
        family: Of its base model.
        labels: The words of other programs for that family.
        title: A name for people.
        trigger: The word that calls it up, "" without one.
        description: In a few sentences, or "".
        usage_hint: In one, or "".
        negative_prompt: Of its samples, or "".
        author: Or "".
        license: Or "".
        weight: What is recommended.
        base_model: Hub id of the base model, or "".
        facts: Label and value of the header's facts about the training.
        images: Samples of the step that the file was made at.
        embedding: The textual-inversion embedding of the trigger, where there is one.
    """

    file: Path
    metadata: Mapping[str, str]
    family: str
    labels: FamilyLabels
    title: str
    trigger: str
    description: str
    usage_hint: str
    negative_prompt: str
    author: str
    license: str
    weight: float
    base_model: str
    facts: Mapping[str, str]
    images: tuple[Path, ...]
    embedding: Path | None = None


def read_publication(source: Path, base_model: str = "") -> Publication:
    """Returns the description of an exported file.

    Args:
        source: The file, or the run that made it.
        base_model: Hub id of the base model; "" takes the run's where that is one.

    Raises:
        ExportError: there is no such file, it is damaged, or its header names no family.
    """
    file = find_file(source)
    run = RunFolder(file.parent)
    config = run.config if run.config_path.is_file() else None
    metadata = open_header(file).metadata
    family, prediction = recognise_family(metadata)
    steps = metadata.get("ss_steps", "")
    step = int(steps) if steps.isdecimal() else 10**9
    best = read_best_weight(run.path, step) if config else None
    texts = _take_from_config(config, best) if config else _take_from_header(metadata)
    hub_id = parse_hub_id(config.base_model.path) if config else None
    return Publication(
        file=file,
        metadata=metadata,
        family=family,
        labels=FAMILIES[family].get_labels(prediction),
        title=metadata.get("modelspec.title") or file.stem,
        **texts,
        weight=choose_weight(config, best) if config else _read_weight(metadata),
        base_model=base_model or (hub_id.repository if hub_id else ""),
        facts={label: metadata[key] for key, label in _FACTS.items() if metadata.get(key)},
        images=tuple(find_samples(run.samples_path, step)),
        embedding=find_embedding(file),
    )


def find_file(source: Path) -> Path:
    """Returns an exported file as it is, or the newest one of a run.

    Raises:
        ExportError: there is none.
    """
    if source.is_file():
        return source
    exports = RunFolder(source).list_exports()
    if not exports:
        msg = (
            f"{source} is neither a LoRA file nor a run with an exported file. Name a .safetensors "
            f"file, "
            "or a run that has finished."
        )
        raise ExportError(msg)
    return exports[0]


def _take_from_config(config: RunConfig, best: float | None) -> dict[str, str]:
    output = config.output
    return {
        "trigger": config.dataset.trigger,
        "description": output.description,
        "usage_hint": write_usage_hint(config, best),
        "negative_prompt": config.samples.negative_prompt,
        "author": output.author,
        "license": output.license,
    }


def _take_from_header(metadata: Mapping[str, str]) -> dict[str, str]:
    return {
        "trigger": metadata.get("modelspec.trigger_phrase", ""),
        "description": metadata.get("modelspec.description", ""),
        "usage_hint": metadata.get("modelspec.usage_hint", ""),
        "negative_prompt": "",
        "author": metadata.get("modelspec.author", ""),
        "license": metadata.get("modelspec.license", ""),
    }


def _read_weight(metadata: Mapping[str, str]) -> float:
    output = read_settings(metadata).get("output")
    weight = output.get("preferred_weight") if isinstance(output, dict) else None
    return float(weight) if isinstance(weight, int | float) else 1.0
