"""The header of a LoRA file: what other programs read about it.

`ss_*` are the keys of kohya's trainer, `modelspec.*` those of the ModelSpec standard 1.0.1. All
values are text, and what is not known is left out: "None" breaks readers. Paths, user names and
folder names are never written.
"""

import json
import math
import os
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import metadata

from trainer.config import RunConfig
from trainer.export.network import Network, plan_network
from trainer.export.privacy import describe_settings, name_base_model
from trainer.formats.families import FAMILIES
from trainer.formats.predictions import PREDICTIONS

# What programs go by when they load a file or decide to show it; kohya's trainer keeps the same
# six `ss_` keys where metadata are unwanted.
_ESSENTIAL = frozenset(
    {
        "ss_base_model_version",
        "ss_v2",
        "ss_network_module",
        "ss_network_dim",
        "ss_network_alpha",
        "ss_network_args",
        "modelspec.sai_model_spec",
        "modelspec.architecture",
        "modelspec.implementation",
        "modelspec.title",
        "modelspec.resolution",
        "modelspec.prediction_type",
    }
)
_TAGS = 200
_TAG_BYTES = 64 << 10  # captions in prose make long tags; the whole header must stay under 1 MiB


@dataclass(frozen=True)
class ExportFacts:
    """The facts in the header beyond the config.

    Attributes:
        family: Of the base model.
        prediction: Of the base model.
        base_model_name: As `name_base_model` makes it, without any path; "" is left out.
        captions: With the trigger, one per example.
        resolution: Side of the square bucket, in pixels.
        buckets: How many examples each size has.
        step: Updates that the weights have seen.
        started: Unix time at which the run began.
        zero_snr: Whether the noise schedule ended in pure noise.
        precision: Of the arithmetic: "fp32", "bf16" or "fp16"; "" is left out.
        class_images: How many images of the class were trained on beside the examples.
        flow_shift: Time-step shift of rectified flow; 0 where something else is predicted.
        best_weight: At which an evaluation scored the step best; None where there was none.
    """

    family: str
    prediction: str
    base_model_name: str
    captions: Sequence[str]
    resolution: int
    buckets: Mapping[tuple[int, int], int]
    step: int
    started: float
    zero_snr: bool = False
    precision: str = ""
    class_images: int = 0
    flow_shift: float = 0.0
    best_weight: float | None = None


def make_metadata(
    config: RunConfig, facts: ExportFacts, thumbnail: str = "", network: Network | None = None
) -> dict[str, str]:
    """Returns the header of a run's file; the hashes are added when it is written.

    Args:
        config: Of the run.
        facts: Of the run.
        thumbnail: A data URL, see `make_thumbnail`; "" is left out.
        network: What was trained; None takes what the config asks for.
    """
    fields = _describe_model(config, facts)
    fields |= _describe_network(config, facts, network or plan_network(config.adapter))
    if config.output.header == "essential":
        fields = {key: value for key, value in fields.items() if key in _ESSENTIAL}
        return fields | _describe_texts(config)
    fields |= _describe_training(config, facts) | _describe_loss(config, facts)
    fields |= _describe_dataset(config, facts) | _describe_texts(config)
    if config.output.tag_counts:
        fields |= _describe_captions(config, facts)
    if config.dataset.trigger:
        fields["modelspec.trigger_phrase"] = config.dataset.trigger
    if hint := write_usage_hint(config, facts.best_weight):
        fields.setdefault("modelspec.usage_hint", hint)
    if thumbnail and config.output.thumbnail:
        fields["modelspec.thumbnail"] = thumbnail
    return fields | describe_settings(config)


def choose_weight(config: RunConfig, best: float | None) -> float:
    """Returns the weight to recommend: the one that was set, else the measured one, else 1."""
    own = config.output.preferred_weight
    return own if best is None or own != 1 else best


def write_usage_hint(config: RunConfig, best_weight: float | None = None) -> str:
    """Returns the usage hint as given, or one that names the trigger; "" without either.

    Args:
        config: Of the run.
        best_weight: At which an evaluation scored the file best; None where there was none.
    """
    if config.output.usage_hint:
        return config.output.usage_hint
    parts = [_name_trigger(config)]
    if best_weight is not None and choose_weight(config, best_weight) == best_weight:
        parts.append(f"Recommended weight: {best_weight:g}, by measurement.")
    return " ".join(part for part in parts if part)


def _name_trigger(config: RunConfig) -> str:
    trigger = config.dataset.trigger
    if not trigger:
        return ""
    if config.adapter.word_vectors:
        return (
            f"Put {trigger}.safetensors into the folder of embeddings and “{trigger}” in the "
            f"prompt (“embedding:{trigger}” in ComfyUI)."
        )
    return f"Put “{trigger}” in the prompt."


def _describe_network(config: RunConfig, facts: ExportFacts, network: Network) -> dict[str, str]:
    spec = FAMILIES[facts.family]
    return {
        "ss_output_name": config.name,
        "ss_base_model_version": spec.get_labels(facts.prediction).version,
        "ss_v2": str(spec.is_v2),
        "ss_network_module": network.module,
        "ss_network_dim": str(network.rank),
        "ss_network_alpha": str(network.alpha),
        "ss_network_dropout": str(config.adapter.dropout),
        "ss_network_args": json.dumps(network.arguments()),
    }


def _describe_training(config: RunConfig, facts: ExportFacts) -> dict[str, str]:
    optimizer, train = config.optimizer, config.train
    shown = sum(math.ceil(count / train.batch_size) for count in facts.buckets.values())
    batches = max(1, shown)
    fields = {
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
        "ss_num_epochs": str(math.ceil(train.steps * train.accumulate / batches)),
        "ss_epoch": str(math.ceil(facts.step * train.accumulate / batches)),
        "ss_num_batches_per_epoch": str(batches),
        "ss_gradient_accumulation_steps": str(train.accumulate),
        "ss_gradient_checkpointing": str(train.gradient_checkpointing),
        "ss_batch_size_per_device": str(train.batch_size),
        "ss_total_batch_size": str(train.batch_size * train.accumulate),
        "ss_seed": str(train.seed),
    }
    if config.adapter.text_rank:
        fields["ss_text_encoder_lr"] = str(optimizer.text_learning_rate)
    if facts.precision:
        fields["ss_mixed_precision"] = "no" if facts.precision == "fp32" else facts.precision
    return fields


def _describe_loss(config: RunConfig, facts: ExportFacts) -> dict[str, str]:
    """The fields of kohya's trainer; everything else is in the settings."""
    objective = config.objective
    fields = {
        "ss_loss_type": "l2" if objective.loss == "mse" else objective.loss,
        "ss_noise_offset": str(objective.noise_offset),
        "ss_zero_terminal_snr": str(facts.zero_snr),
        "ss_debiased_estimation": str(objective.weighting == "debiased"),
    }
    if objective.loss in {"huber", "smooth_l1"}:
        fields["ss_huber_c"] = str(objective.huber_c)
        fields["ss_huber_schedule"] = objective.huber_schedule
    if objective.weighting == "min_snr":
        fields["ss_min_snr_gamma"] = str(objective.min_snr_gamma)
    if facts.flow_shift:
        fields["ss_discrete_flow_shift"] = f"{facts.flow_shift:g}"
    if objective.pyramid_noise:
        fields["ss_multires_noise_discount"] = str(objective.pyramid_noise)
    if objective.input_perturbation:
        fields["ss_ip_noise_gamma"] = str(objective.input_perturbation)
    if (objective.min_timestep, objective.max_timestep) != (0, 999):
        fields["modelspec.timestep_range"] = f"{objective.min_timestep},{objective.max_timestep}"
    return fields


def _describe_dataset(config: RunConfig, facts: ExportFacts) -> dict[str, str]:
    sides = [side for size in facts.buckets for side in size] or [facts.resolution]
    fields = {
        "ss_resolution": f"({facts.resolution}, {facts.resolution})",
        "ss_num_train_images": str(len(facts.captions)),
        "ss_num_reg_images": str(facts.class_images),
        "ss_enable_bucket": "True",
        "ss_min_bucket_reso": str(min(sides)),
        "ss_max_bucket_reso": str(max(sides)),
        "ss_bucket_info": json.dumps(_describe_buckets(facts.buckets)),
        "ss_caption_dropout_rate": str(config.dataset.caption_dropout),
        "ss_caption_tag_dropout_rate": str(config.dataset.tag_dropout),
        "ss_shuffle_caption": str(config.dataset.shuffle_tags),
        "ss_keep_tokens": str(config.dataset.keep_tags),
        "ss_flip_aug": str(config.dataset.flip),
        "ss_cache_latents": "True",
        "ss_max_token_length": str(75 * config.base_model.max_windows),
    }
    optional = {
        "ss_sd_model_name": facts.base_model_name,
        "ss_vae_name": name_base_model(config.base_model.vae) if config.base_model.vae else "",
    }
    if config.base_model.clip_skip:
        optional["ss_clip_skip"] = str(config.base_model.clip_skip)
        optional["modelspec.encoder_layer"] = str(config.base_model.clip_skip)
    return fields | {key: value for key, value in optional.items() if value}


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
    frequencies, free_bytes = {}, _TAG_BYTES
    for tag, count in counts.most_common(_TAGS):
        free_bytes -= len(tag.encode()) + 10
        if free_bytes >= 0:
            frequencies[tag] = count
    folder = {"n_repeats": 1, "img_count": len(facts.captions)}
    return {
        "ss_tag_frequency": json.dumps({config.name: frequencies}, ensure_ascii=False),
        "ss_dataset_dirs": json.dumps({config.name: folder}),
    }


def _describe_model(config: RunConfig, facts: ExportFacts) -> dict[str, str]:
    labels = FAMILIES[facts.family].get_labels(facts.prediction)
    return {
        "modelspec.sai_model_spec": "1.0.1",
        "modelspec.architecture": labels.architecture,
        "modelspec.implementation": labels.implementation,
        "modelspec.implementation_version": f"lorasmith/{metadata.version('lorasmith')}",
        "modelspec.title": config.output.title or config.name,
        "modelspec.resolution": f"{facts.resolution}x{facts.resolution}",
        "modelspec.date": _format_date(_read_clock(time.time())),
        "modelspec.prediction_type": PREDICTIONS[facts.prediction].stated,
    }


def _describe_texts(config: RunConfig) -> dict[str, str]:
    """What a person wrote for others to read."""
    output = config.output
    texts = {
        "modelspec.author": output.author,
        "modelspec.license": output.license,
        "modelspec.description": output.description,
        "modelspec.usage_hint": output.usage_hint,
    }
    return {key: value for key, value in texts.items() if value}


def _read_clock(seconds: float) -> float:
    """Returns the time, or SOURCE_DATE_EPOCH where a reproducible file is asked for."""
    return float(os.environ.get("SOURCE_DATE_EPOCH", seconds))


def _format_date(seconds: float) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(seconds))
