"""What a run is shown: the dataset and, where asked for, images of the class, encoded."""

import random
from collections import Counter
from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor

from datasets_tools.caption_variants import vary_caption
from datasets_tools.captions import replace_trigger
from datasets_tools.examples import Example, Finding
from trainer.config import DatasetConfig, RunConfig
from trainer.data import (
    BatchPlan,
    EncodedExample,
    Source,
    TensorCache,
    choose_sizes,
    encode_examples,
    read_training_examples,
)
from trainer.models import Family, Geometry
from trainer.runs import RunFolder, append_event
from trainer.seeds import derive_seed
from trainer.training.progress import warn
from trainer.training.shortage import encode_within_memory

_NAMED = 20


class Scan(NamedTuple):
    """The examples of a folder, and what is odd about it."""

    examples: list[Example]
    findings: list[Finding]


class Scans(NamedTuple):
    """The dataset's folder, and that of the class if the prior needs it."""

    dataset: Scan
    prior: Scan | None


def scan_datasets(config: RunConfig) -> Scans:
    """Reads the folders of a run: its one scan, before anything is loaded.

    Raises:
        DatasetError: a folder is missing, or an image or a caption in it cannot be read.
    """
    dataset = Scan(*read_training_examples(config.dataset))
    if config.objective.prior != "images":
        return Scans(dataset, None)
    return Scans(dataset, Scan(*read_training_examples(make_prior_dataset(config))))


def make_prior_dataset(config: RunConfig) -> DatasetConfig:
    """Returns the settings of the folder of class images, for objective.prior = images."""
    changes = {"path": config.dataset.prior_path, "folders": [], "trigger": "", "masks": "off"}
    return config.dataset.model_copy(update={**changes, "held_out": 0})


def open_sources(
    run: RunFolder, scans: Scans, family: Family, device: torch.device, cache: TensorCache
) -> tuple[Source, Source | None]:
    """Returns the dataset, and the images of the class if the prior needs them.

    Raises:
        DatasetError: what is wrong and what to do.
    """
    config = run.config
    encoding = (family, family.image_fingerprint(), device, cache)
    source = _open_source(run, config.dataset, scans.dataset, config.train.seed, encoding)
    if scans.prior is None:
        return source, None
    seed = derive_seed(config.train.seed, "prior")
    return source, _open_source(run, make_prior_dataset(config), scans.prior, seed, encoding)


def list_captions(config: RunConfig, sources: tuple[Source, Source | None]) -> list[str]:
    """Returns every caption that a run whose captions do not vary will show."""
    source, prior = sources
    variation, rng = config.dataset.variation, random.Random(0)  # of which nothing depends
    shown = [vary_caption(example.caption, variation, rng) for example in source.examples]
    captions = ["", *shown]
    if config.objective.prior == "teacher":
        dataset = config.dataset
        captions += [replace_trigger(c, dataset.trigger, dataset.class_word) for c in captions]
    if prior:
        captions += [vary_caption(each.caption, variation, rng) for each in prior.examples]
    return list(dict.fromkeys(captions))


def count_buckets(examples: list[EncodedExample]) -> dict[tuple[int, int], int]:
    """Returns how many examples each size has."""
    return dict(Counter((each.bucket.width, each.bucket.height) for each in examples))


def report_long_captions(run: RunFolder, family: Family, examples: list[EncodedExample]) -> None:
    """Adds a warning to the run's events that names each caption of which the end is not read."""
    unread = {each.name: family.count_unread_tokens(each.caption) for each in examples}
    long = [f"{name} ({count} tokens)" for name, count in unread.items() if count]
    if not long:
        return
    more = f" and {len(long) - _NAMED} more" if len(long) > _NAMED else ""
    message = (
        f"The end of {len(long)} {'caption is' if len(long) == 1 else 'captions are'} not read: "
        f"{', '.join(long[:_NAMED])}{more} are beyond {run.config.base_model.max_windows} chunks. "
        "Shorten the captions, or raise base_model.max_windows."
    )
    warn(run, message)


def describe_geometry(example: EncodedExample, flipped: bool) -> Geometry:
    """Returns how an example was cropped, for families with conditioning on it."""
    place = example.placement
    left, top = place.crop
    if flipped:  # the image is mirrored after the cut
        left = place.resized[0] - place.bucket.width - left
    width, height = example.original
    return Geometry((height, width), (top, left), (place.bucket.height, place.bucket.width))


def _open_source(
    run: RunFolder,
    dataset: DatasetConfig,
    scan: Scan,
    seed: int,
    encoding: tuple[Family, str, torch.device, TensorCache],
) -> Source:
    family, fingerprint, device, cache = encoding
    for finding in scan.findings:
        warn(run, finding.message)
    encoded, latents = encode_examples(
        scan.examples,
        dataset,
        choose_sizes(dataset, family),
        (fingerprint, make_encoder(run, family)),
        cache,
        device,
        partial(_report_cache, run),
    )
    return Source(encoded, latents, BatchPlan(encoded, dataset, run.config.train.batch_size, seed))


def make_encoder(run: RunFolder, family: Family) -> Callable[[Tensor], tuple[Tensor, Tensor]]:
    """Returns what makes an image's latents, their mean and standard deviation, for the cache."""

    def encode(pixels: Tensor) -> tuple[Tensor, Tensor]:
        distribution = encode_within_memory(run, family, pixels)
        return distribution.mean, distribution.std

    return encode


def _report_cache(run: RunFolder, done: int, total: int) -> None:
    append_event(run.events_path, "cache", what="images", done=done, total=total)
