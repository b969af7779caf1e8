"""What decides the result of a run besides its steps, and whether a resumed run still has it.

A checkpoint states it. What may change is the list below; whatever stands in no list decides the
result, so that a new setting is compared until it is entered there.
"""

import hashlib
from dataclasses import asdict, dataclass
from typing import Any

from datasets_tools.files import explain_os_error
from trainer.config import RunConfig
from trainer.formats.header import TensorFile
from trainer.models import BaseModelInfo
from trainer.runs import RunError

# Sections and settings that a run may change between two parts of it.
MAY_CHANGE = frozenset(
    {
        "name",
        "samples",
        "output",
        # Where things lie; their contents are compared.
        "base_model.path",
        "base_model.vae",
        "dataset.path",
        "dataset.folders",
        "dataset.prior_path",
        "adapter.start_from",
        # How it is computed, with the same result but for rounding.
        "base_model.attention",
        "base_model.offload_fraction",
        "train.device",
        "train.processes",
        "train.micro_batch",
        "train.gradient_checkpointing",
        "train.checkpointing_fraction",
        "train.recompute",
        "train.memory",
        "train.offload",
        "train.log_every_steps",
        # What a person, or a run that diverged, changes on the way and means to.
        "train.steps",
        "train.recoveries",
        "optimizer.unet_learning_rate",
        "optimizer.conv_learning_rate",
        "optimizer.text_learning_rate",
        "optimizer.word_learning_rate",
    }
)
_NAMED = 3


@dataclass(frozen=True)
class Origin:
    """What decides the result of a run.

    Attributes:
        examples: Content per image name.
        settings: By dotted path, without those of `MAY_CHANGE`.
        base_model: A SHA-256 of the weights by the part of the model.
    """

    examples: dict[str, str]
    settings: dict[str, Any]
    base_model: dict[str, str]

    def to_dict(self) -> dict[str, Any]:
        """Returns it as meta.json holds it."""
        return asdict(self)


def list_settings(config: RunConfig) -> dict[str, Any]:
    """Returns the settings of a run that decide its result, by dotted path."""
    return dict(_flatten(config.model_dump(mode="json"), ""))


def hash_base_model(info: BaseModelInfo) -> dict[str, str]:
    """Returns a hash of each part: weights, whatever else their header holds, and the scheduler.

    Raises:
        RunError: a file cannot be read.
    """
    known: dict[Any, str] = {}
    hashes = {}
    for name, part in sorted(info.parts.items()):
        for file in part.files:
            if file.path not in known:
                known[file.path] = _hash_tensors(file)
        hashes[name] = "-".join(known[file.path] for file in part.files)
    facts = (info.prediction, info.zero_snr, info.flow_shift, sorted(info.scheduler.items()))
    hashes["scheduler"] = hashlib.sha256(repr(facts).encode()).hexdigest()
    return hashes


def compare_origins(meta: dict[str, Any], now: Origin) -> None:
    """Compares what a checkpoint was trained with to what a run has now.

    Args:
        meta: Of the checkpoint. What it does not state, because it is older, is not compared.
        now: Of the run.

    Raises:
        RunError: they differ; it names what, and what to do.
    """
    _compare_examples(meta["examples"], now.examples)
    if isinstance(before := meta.get("base_model"), dict):
        changed = sorted(
            part
            for part in {*before, *now.base_model}
            if before.get(part) != now.base_model.get(part)
        )
        if changed:
            msg = (
                "The base model is not the one this run was trained on: it has another "
                f"{' and '.join(changed)}. Put the former one back to continue, or start a new run."
            )
            raise RunError(msg)
    if isinstance(before := meta.get("settings"), dict):
        _compare_settings(before, now.settings)


def _compare_settings(before: dict[str, Any], now: dict[str, Any]) -> None:
    # A setting that the checkpoint's version did not have was at its default then.
    before = {**list_settings(RunConfig()), **before}
    changes = [
        f"{path} was {before[path]!r} and is {now[path]!r}"
        for path in sorted(now)
        if before.get(path) != now[path]
    ]
    if changes:
        more = f" and {len(changes) - _NAMED} more" if len(changes) > _NAMED else ""
        msg = (
            f"The settings are not those this run was trained with: "
            f"{'; '.join(changes[:_NAMED])}{more}. Set it back in the run's config.toml to "
            "continue, or start a new run."
        )
        raise RunError(msg)


def _compare_examples(before: dict[str, str], now: dict[str, str]) -> None:
    changes = {
        "added": sorted(set(now) - set(before)),
        "removed": sorted(set(before) - set(now)),
        "changed": sorted(name for name in set(now) & set(before) if now[name] != before[name]),
    }
    texts = [f"{', '.join(names[:_NAMED])} {how}" for how, names in changes.items() if names]
    if texts:
        msg = (
            f"The dataset is not the one this run was trained on: {'; '.join(texts)}. Put it back "
            "as it was to continue, or start a new run."
        )
        raise RunError(msg)


def _flatten(tree: dict[str, Any], prefix: str) -> list[tuple[str, Any]]:
    rows: list[tuple[str, Any]] = []
    for name, value in tree.items():
        path = f"{prefix}{name}"
        if path in MAY_CHANGE:
            continue
        rows += _flatten(value, f"{path}.") if isinstance(value, dict) else [(path, value)]
    return rows


def _hash_tensors(file: TensorFile) -> str:
    digest = hashlib.sha256()
    for name, entry in sorted(file.tensors.items()):
        digest.update(f"{name} {entry.dtype} {entry.shape} {entry.start}\n".encode())
    try:
        for piece in file.read_body():
            digest.update(piece)
    except OSError as error:
        msg = f"{file.path} cannot be read: {explain_os_error(error)}"
        raise RunError(msg) from error
    return digest.hexdigest()
