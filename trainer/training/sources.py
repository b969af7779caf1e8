"""What a run is shown: the dataset and, where asked for, pictures of the class, encoded."""

from collections import Counter
from functools import partial

import torch
from torch import Tensor

from datasets_tools.captions import replace_trigger
from trainer.config import DatasetConfig, RunConfig
from trainer.data import (
    BatchPlan,
    EncodedExample,
    Source,
    TensorCache,
    bucket_step_for,
    encode_examples,
    read_training_examples,
)
from trainer.models import Family, Geometry
from trainer.runs import RunError, RunFolder, append_event
from trainer.seeds import derive_seed


def open_sources(
    run: RunFolder, family: Family, device: torch.device, cache: TensorCache
) -> tuple[Source, Source | None]:
    """Returns the dataset, and the pictures of the class if the prior needs them.

    Raises:
        DatasetError, RunError: what is wrong and what to do.
    """
    config = run.config
    machinery = (family, family.image_fingerprint(), device, cache)
    source = _open_source(run, config.dataset, config.train.seed, machinery)
    if config.objective.prior != "images":
        return source, None
    changes = {"path": config.dataset.prior_path, "trigger": "", "masks": "off"}
    dataset = config.dataset.model_copy(update=changes)
    seed = derive_seed(config.train.seed, "prior")
    return source, _open_source(run, dataset, seed, machinery)


def list_captions(config: RunConfig, sources: tuple[Source, Source | None]) -> list[str]:
    """Returns every caption that a run without shuffled tags will show."""
    source, prior = sources
    captions = ["", *(example.caption for example in source.examples)]
    if config.objective.prior == "teacher":
        dataset = config.dataset
        captions += [replace_trigger(c, dataset.trigger, dataset.class_word) for c in captions]
    if prior:
        captions += [example.caption for example in prior.examples]
    return list(dict.fromkeys(captions))


def count_buckets(examples: list[EncodedExample]) -> dict[tuple[int, int], int]:
    """Returns how many examples each size has."""
    return dict(Counter((each.bucket.width, each.bucket.height) for each in examples))


def describe_geometry(example: EncodedExample, flipped: bool) -> Geometry:
    """Returns how an example was cut, as families that are told so want to know it."""
    place = example.placement
    left, top = place.crop
    if flipped:  # the picture is mirrored after the cut
        left = place.resized[0] - place.bucket.width - left
    width, height = example.original
    return Geometry((height, width), (top, left), (place.bucket.height, place.bucket.width))


def _open_source(
    run: RunFolder,
    dataset: DatasetConfig,
    seed: int,
    machinery: tuple[Family, str, torch.device, TensorCache],
) -> Source:
    family, fingerprint, device, cache = machinery
    found, findings = read_training_examples(dataset)
    for finding in findings:
        append_event(run.events_path, "warning", message=finding.message)
    step = bucket_step_for(dataset.bucket_step, family.size_step)
    resolution = dataset.resolution or family.default_resolution
    if resolution < step:
        msg = (
            f"dataset.resolution is {resolution}, but this base model needs at least {step} pixels."
        )
        raise RunError(msg)

    def encode(pixels: Tensor) -> tuple[Tensor, Tensor]:
        moments = family.encode_images(pixels)
        return moments.mean, moments.std

    encoded, latents = encode_examples(
        found,
        dataset,
        step,
        resolution,
        (fingerprint, encode),
        cache,
        device,
        partial(_report_cache, run),
    )
    return Source(encoded, latents, BatchPlan(encoded, dataset, run.config.train.batch_size, seed))


def _report_cache(run: RunFolder, done: int, total: int) -> None:
    append_event(run.events_path, "cache", what="images", done=done, total=total)
