"""The header of a LoRA file: what other programs read about it.

`ss_*` are the keys of kohya's trainer, `modelspec.*` those of the ModelSpec standard 1.0.1. All
values are text. Paths, user names and folder names are never written.
"""

import json
import os
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import metadata

from trainer.config import RunConfig

_BASE_VERSIONS = {
    ("sd15", "epsilon"): "sd_v1",
    ("sd15", "v_prediction"): "sd_v1_v",
    ("sd2", "epsilon"): "sd_v2",
    ("sd2", "v_prediction"): "sd_v2_v",
}
_ARCHITECTURES = {
    ("sd15", "epsilon"): "stable-diffusion-v1/lora",
    ("sd15", "v_prediction"): "stable-diffusion-v1/lora",
    ("sd2", "epsilon"): "stable-diffusion-v2-512/lora",
    ("sd2", "v_prediction"): "stable-diffusion-v2-768-v/lora",
}


@dataclass(frozen=True)
class ExportFacts:
    """What the header tells beyond the config.

    Attributes:
        family: Of the base model.
        prediction: Of the base model.
        base_model_name: Without its path.
        captions: With the trigger, one per example.
        resolution: Side of the square bucket, in pixels.
        buckets: How many examples each size has.
        step: Updates that the weights have seen.
        started: Unix time at which the run began.
    """

    family: str
    prediction: str
    base_model_name: str
    captions: Sequence[str]
    resolution: int
    buckets: Mapping[tuple[int, int], int]
    step: int
    started: float


def make_metadata(config: RunConfig, facts: ExportFacts) -> dict[str, str]:
    """Returns the header of a run's file; the hashes are added when it is written."""
    found = _describe_network(config, facts) | _describe_training(config, facts)
    if config.output.tag_counts:
        found |= _describe_captions(config, facts)
    return found | _describe_model(config, facts)


def _describe_network(config: RunConfig, facts: ExportFacts) -> dict[str, str]:
    adapter = config.adapter
    arguments = (
        {"conv_dim": str(adapter.conv_rank), "conv_alpha": str(adapter.conv_alpha)}
        if adapter.conv_rank
        else {}
    )
    return {
        "ss_output_name": config.name,
        "ss_base_model_version": _BASE_VERSIONS[facts.family, facts.prediction],
        "ss_v2": str(facts.family == "sd2"),
        "ss_sd_model_name": facts.base_model_name,
        "ss_network_module": "networks.lora",
        "ss_network_dim": str(adapter.rank),
        "ss_network_alpha": str(adapter.alpha),
        "ss_network_args": json.dumps(arguments),
    }


def _describe_training(config: RunConfig, facts: ExportFacts) -> dict[str, str]:
    optimizer, train = config.optimizer, config.train
    examples = max(1, len(facts.captions))
    found = {
        "ss_training_started_at": str(_read_clock(facts.started)),
        "ss_training_finished_at": str(_read_clock(time.time())),
        "ss_learning_rate": str(optimizer.unet_learning_rate),
        "ss_unet_lr": str(optimizer.unet_learning_rate),
        "ss_lr_scheduler": optimizer.schedule,
        "ss_lr_warmup_steps": str(optimizer.warmup_steps),
        "ss_optimizer": optimizer.kind,
        "ss_max_grad_norm": str(optimizer.max_grad_norm),
        "ss_max_train_steps": str(train.steps),
        "ss_steps": str(facts.step),
        "ss_epoch": str(facts.step * train.batch_size * train.accumulate // examples),
        "ss_gradient_accumulation_steps": str(train.accumulate),
        "ss_gradient_checkpointing": str(train.gradient_checkpointing),
        "ss_batch_size_per_device": str(train.batch_size),
        "ss_total_batch_size": str(train.batch_size * train.accumulate),
        "ss_seed": str(train.seed),
        "ss_resolution": f"({facts.resolution}, {facts.resolution})",
        "ss_num_train_images": str(len(facts.captions)),
        "ss_enable_bucket": "True",
        "ss_noise_offset": str(config.objective.noise_offset),
        "ss_caption_dropout_rate": str(config.dataset.caption_dropout),
        "ss_shuffle_caption": str(config.dataset.shuffle_tags),
        "ss_keep_tokens": str(config.dataset.keep_tags),
        "ss_flip_aug": str(config.dataset.flip),
        "ss_bucket_info": json.dumps(_describe_buckets(facts.buckets)),
    }
    if config.adapter.text_rank:
        found["ss_text_encoder_lr"] = str(optimizer.text_learning_rate)
    if config.objective.weighting == "min_snr":
        found["ss_min_snr_gamma"] = str(config.objective.min_snr_gamma)
    return found


def _describe_buckets(buckets: Mapping[tuple[int, int], int]) -> dict[str, object]:
    rows = {
        str(index): {"resolution": list(size), "count": count}
        for index, (size, count) in enumerate(sorted(buckets.items()))
    }
    return {"buckets": rows}


def _describe_captions(config: RunConfig, facts: ExportFacts) -> dict[str, str]:
    """Tag counts, under the run's name: the folder's name stays at home."""
    counts = Counter(
        tag.strip().lower() for text in facts.captions for tag in text.split(",") if tag.strip()
    )
    folder = {"n_repeats": 1, "img_count": len(facts.captions)}
    return {
        "ss_tag_frequency": json.dumps({config.name: dict(counts.most_common(200))}),
        "ss_dataset_dirs": json.dumps({config.name: folder}),
    }


def _describe_model(config: RunConfig, facts: ExportFacts) -> dict[str, str]:
    version = metadata.version("lorasmith")
    found = {
        "modelspec.sai_model_spec": "1.0.1",
        "modelspec.architecture": _ARCHITECTURES[facts.family, facts.prediction],
        "modelspec.implementation": "diffusers",
        "modelspec.implementation_version": f"lorasmith/{version}",
        "modelspec.title": config.output.title or config.name,
        "modelspec.resolution": f"{facts.resolution}x{facts.resolution}",
        "modelspec.date": _format_date(_read_clock(time.time())),
        "modelspec.prediction_type": "v" if facts.prediction == "v_prediction" else "epsilon",
    }
    optional = {
        "modelspec.author": config.output.author,
        "modelspec.license": config.output.license,
        "modelspec.trigger_phrase": config.dataset.trigger,
        "modelspec.usage_hint": f"Put “{config.dataset.trigger}” in the prompt."
        if config.dataset.trigger
        else "",
    }
    return found | {key: value for key, value in optional.items() if value}


def _read_clock(seconds: float) -> float:
    """Returns the time, or SOURCE_DATE_EPOCH where a reproducible file is asked for."""
    return float(os.environ.get("SOURCE_DATE_EPOCH", seconds))


def _format_date(seconds: float) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(seconds))
