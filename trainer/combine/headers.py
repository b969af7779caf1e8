"""The header of a file that was made from other files: what still applies, and how it was made.

Facts about a training (steps, learning rates, dates) do not apply to the result and are left out.
"""

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from importlib import metadata as packages
from pathlib import Path

from trainer.export import ExportError
from trainer.export.families import recognise_family
from trainer.export.network import Network
from trainer.formats.families import FAMILIES
from trainer.formats.predictions import PREDICTIONS

Header = Mapping[str, str]

# Copied to the result where all sources agree.
_SHARED = (
    "ss_sd_model_name",
    "ss_clip_skip",
    "modelspec.license",
    "modelspec.author",
    "modelspec.resolution",
)
# Wrong as soon as the weights change.
_STALE = (
    "sshs_model_hash",
    "sshs_legacy_hash",
    "modelspec.hash_sha256",
    "lora_adapter_metadata",
    "ss_network_dropout",
    "lorasmith.config",
)
_HOW = "lorasmith.made_by"
_LONGEST_TABLE = 64 << 10


def name_source(path: Path, header: Header) -> str:
    """Returns the title in a file's header, else its name."""
    return header.get("modelspec.title") or header.get("ss_output_name") or path.stem


def describe_merged(
    title: str,
    sources: Sequence[tuple[Path, Header]],
    family: str,
    network: Network,
    how: Mapping[str, object],
) -> dict[str, str]:
    """Returns the header of a file that was made from several.

    Args:
        title: Of the result; its name without the ending.
        sources: The files with their headers.
        family: Of all of them.
        network: Ranks and alphas of the result.
        how: The method and its options.
    """
    headers = [header for _, header in sources]
    header = {key: value for key in _SHARED if (value := _agree_on(headers, key))}
    header |= describe_model(family, _find_prediction(headers, family))
    triggers = dict.fromkeys(t for h in headers if (t := h.get("modelspec.trigger_phrase")))
    if triggers:
        header["modelspec.trigger_phrase"] = ", ".join(triggers)
    tags = _join_tags(headers)
    if tags:
        header["ss_tag_frequency"] = tags
    header["modelspec.merged_from"] = ", ".join(name_source(*source) for source in sources)
    return header | describe_result(title, network, how)


def describe_derived(
    title: str, header: Header, family: str, network: Network, how: Mapping[str, object]
) -> dict[str, str]:
    """Returns the header of a file that was made from one other: all that still applies."""
    remaining = {key: value for key, value in header.items() if key not in _STALE}
    remaining.pop("modelspec.thumbnail", None)  # generated with the file as it was
    earlier = header.get(_HOW)
    steps = {**how, "before": json.loads(earlier)} if earlier and _is_json(earlier) else how
    labels = describe_model(family, _find_prediction([header], family))
    return remaining | labels | describe_result(title, network, steps)


def describe_result(title: str, network: Network, how: Mapping[str, object]) -> dict[str, str]:
    """Returns the header fields for a result's network and how it was made."""
    return {
        "ss_output_name": title,
        "modelspec.title": title,
        "modelspec.date": datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        "modelspec.implementation_version": f"lorasmith/{packages.version('lorasmith')}",
        "ss_network_module": network.module,
        "ss_network_dim": str(network.rank),
        "ss_network_alpha": str(network.alpha),
        "ss_network_args": json.dumps(network.arguments()),
        _HOW: json.dumps(how, ensure_ascii=False),
    }


def describe_model(family: str, prediction: str) -> dict[str, str]:
    """Returns the header fields for the base model's family; a prediction of "" is not known."""
    spec = FAMILIES[family]
    labels = spec.get_labels(prediction)
    header = {
        "ss_base_model_version": labels.version,
        "ss_v2": str(spec.is_v2),
        "modelspec.sai_model_spec": "1.0.1",
        "modelspec.architecture": labels.architecture,
        "modelspec.implementation": labels.implementation,
    }
    if prediction:
        header["modelspec.prediction_type"] = PREDICTIONS[prediction].stated
    return header


def count_network(sizes: Sequence[tuple[int, float, bool]], kinds: Sequence[str]) -> Network:
    """Returns ranks and alphas in kohya's terms.

    Args:
        sizes: Rank, alpha and whether the kernel is larger than 1 x 1, of the UNet's layers, or of
            all where there are none.
        kinds: Of all layers.
    """
    plain = Counter((rank, alpha) for rank, alpha, wide in sizes if not wide)
    wide = Counter((rank, alpha) for rank, alpha, wide in sizes if wide)
    rank, alpha = (plain or wide or Counter({(0, 0.0): 1})).most_common(1)[0][0]
    conv_rank, conv_alpha = wide.most_common(1)[0][0] if wide else (0, 0.0)
    kind = kinds[0] if len(set(kinds)) == 1 else ""
    return Network(kind, rank, alpha, conv_rank, conv_alpha)


def _find_prediction(headers: Sequence[Header], family: str) -> str:
    """Returns what the base model predicts; "" where headers lack it or disagree."""
    predictions = set()
    for header in headers:
        try:
            named, prediction = recognise_family(header)
        except ExportError:
            continue
        if named == family:
            predictions.add(prediction)
    return predictions.pop() if len(predictions) == 1 else ""


def _agree_on(headers: Sequence[Header], key: str) -> str:
    values = {header.get(key, "") for header in headers}
    return values.pop() if len(values) == 1 else ""


def _join_tags(headers: Sequence[Header]) -> str:
    """Returns the tag tables as one; what is not such a table, or is too long, is left out."""
    joined: dict[str, Counter[str]] = {}
    for header in headers:
        text = header.get("ss_tag_frequency", "")
        folders = json.loads(text) if _is_json(text) else None
        for folder, tags in folders.items() if isinstance(folders, dict) else ():
            if isinstance(tags, dict) and all(type(count) is int for count in tags.values()):
                joined.setdefault(str(folder), Counter()).update(tags)
    text = json.dumps({folder: dict(tags) for folder, tags in joined.items()}, ensure_ascii=False)
    return text if joined and len(text) <= _LONGEST_TABLE else ""


def _is_json(text: str) -> bool:
    try:
        json.loads(text)
    except (ValueError, RecursionError):
        return False
    return True
