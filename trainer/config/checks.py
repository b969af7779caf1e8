"""Settings that make no sense together, reported before a run starts.

Each of them is fine by itself, so none is refused where a config is read: a saved config stays
readable. `check_settings` is called before a start, with the same sentences everywhere.
"""

import math
from collections.abc import Iterator, Sequence

from trainer.config.errors import ConfigError, Problem
from trainer.config.optimizer import Part
from trainer.config.rates import list_parts
from trainer.config.recognition import check_recognition
from trainer.config.run import RunConfig
from trainer.config.uses import check_uses, get_default, get_setting

Size = tuple[int, int]
_USUAL_RATE, _USUAL_FACTOR = 2e-4, 1.0  # the second for prodigy, which multiplies what it finds
_LARGEST_RATE = 0.1  # adapters diverge far below it, with any optimiser but prodigy
_PARTS: dict[Part, tuple[str, str]] = {
    "conv": ("adapter.conv_rank", "convolutions"),
    "text": ("adapter.text_rank", "text encoder"),
    "word": ("adapter.word_vectors", "textual-inversion embedding"),
}


# Every setting that is looked at, for a form that checks while somebody types.
CHECKED_SETTINGS = (
    "adapter.blocks",
    "adapter.conv_rank",
    "adapter.dora_axis",
    "adapter.kind",
    "adapter.layers",
    "adapter.lokr_factor",
    "adapter.rank",
    "adapter.start_from",
    "adapter.text_rank",
    "adapter.word_vectors",
    "base_model.prediction",
    "base_model.zero_snr",
    "dataset.caption_dropout",
    "dataset.keep_tags",
    "dataset.masks",
    "dataset.prior_path",
    "dataset.protected_tags",
    "dataset.resolution",
    "dataset.shuffle_tags",
    "dataset.tag_dropout",
    "objective.huber_c",
    "objective.huber_schedule",
    "objective.loss",
    "objective.max_timestep",
    "objective.min_snr_gamma",
    "objective.min_timestep",
    "objective.noise_offset",
    "objective.prior",
    "objective.prior_weight",
    "objective.pyramid_noise",
    "objective.unmasked_weight",
    "objective.weighting",
    "optimizer.conv_learning_rate",
    "optimizer.decay_share",
    "optimizer.kind",
    "optimizer.lora_plus_ratio",
    "optimizer.restarts",
    "optimizer.schedule",
    "optimizer.text_learning_rate",
    "optimizer.unet_learning_rate",
    "optimizer.warmup_steps",
    "optimizer.word_learning_rate",
    "output.formats",
    "samples.every_steps",
    "samples.weight",
    "train.accumulate",
    "train.batch_size",
    "train.steps",
)


def check_settings(
    config: RunConfig, sizes: Sequence[Size] = (), resolution: int = 0, family: str = ""
) -> list[Problem]:
    """Returns what is a waste in a run's settings, each with what to do.

    Args:
        config: The run's settings.
        sizes: Width and height of every image; none where they are not known yet.
        resolution: The base model's own, for `dataset.resolution = 0`; 0 where it is not known.
        family: The base model's, where it has the sizes of the public one; "" where it has not, or
            is not known.

    Raises:
        ConfigError: nothing would be learned.
    """
    errors = list(_check_learning(config))
    if errors:
        raise ConfigError(errors)
    return [
        *_check_rates(config),
        *_check_schedule(config),
        *_check_images(config, sizes, resolution),
        *_check_shares(config),
        *check_uses(config),
        *check_recognition(config, family),
    ]


def _check_learning(config: RunConfig) -> Iterator[Problem]:
    """Yields why nothing would be learned."""
    optimizer, parts = config.optimizer, list_parts(config.adapter)
    if all(optimizer.learning_rates[part] == 0 for part in parts):
        usual = _USUAL_FACTOR if optimizer.kind == "prodigy" else _USUAL_RATE
        names = ", ".join(f"optimizer.{part}_learning_rate" for part in parts)
        yield Problem(
            f"optimizer.{parts[0]}_learning_rate",
            f"the learning rate of everything that is trained is 0 ({names}), so nothing would be "
            f"learned: set optimizer.unet_learning_rate, {usual:g} is usual",
        )
    excluded = _find_exclusion(config)
    if excluded:
        yield Problem(
            "adapter.blocks",
            f"the pattern {excluded!r} with rank 0 leaves out every layer, so nothing would be "
            "learned: give a narrower pattern, or a rank above 0",
        )


def _find_exclusion(config: RunConfig) -> str:
    """Returns the pattern that leaves out every layer; "" where there is none."""
    if config.adapter.word_vectors or config.adapter.start_from:
        return ""
    for block in config.adapter.blocks:
        if block.rank != 0:
            return ""  # some layer may fit this pattern first
        if not block.pattern.strip("*"):
            return block.pattern
    return ""


def _check_rates(config: RunConfig) -> Iterator[Problem]:
    optimizer, parts = config.optimizer, list_parts(config.adapter)
    finds_rate = optimizer.kind == "prodigy"
    for part, (rank, title) in _PARTS.items():
        path = f"optimizer.{part}_learning_rate"
        rate = optimizer.learning_rates[part]
        if part in parts and rate == 0 and not config.adapter.start_from:
            yield Problem(
                path,
                f"is 0, so the {title}'s adapter takes memory and learns nothing: set {rank} to 0, "
                "or a learning rate above 0",
            )
        # Prodigy wants one rate for all, also for what is not trained.
        is_default = rate == get_default(path)
        if part not in parts and rate > 0 and not is_default and not finds_rate:
            layers = config.adapter.layers
            why = f"adapter.layers is {layers}" if get_setting(config, rank) else f"{rank} is 0"
            remedy = "adapter.layers to all" if get_setting(config, rank) else f"{rank} above 0"
            yield Problem(
                path,
                f"is {rate:g} and has no effect, because {why} and the {title} is not trained: set "
                f"{remedy}, or {path} to 0",
            )
    largest = max(optimizer.learning_rates[part] for part in parts) * optimizer.lora_plus_ratio
    if not finds_rate and largest >= _LARGEST_RATE:
        fastest = max(parts, key=lambda part: optimizer.learning_rates[part])
        yield Problem(
            f"optimizer.{fastest}_learning_rate",
            f"a rate of {largest:g} makes {optimizer.kind} diverge: set {_USUAL_RATE:g}, or "
            "optimizer.kind to prodigy, whose rates are 1",
        )


def _check_schedule(config: RunConfig) -> Iterator[Problem]:
    optimizer, steps = config.optimizer, config.train.steps
    warmup = optimizer.warmup_steps
    if warmup >= steps:
        reached = 100 * steps / (warmup + 1)
        yield Problem(
            "optimizer.warmup_steps",
            f"the warm-up of {warmup} steps is as long as the run of {steps} or longer, so that "
            f"the learning rate ends at {reached:.2g} % of what is set: lower it, "
            f"{max(1, steps // 20)} is usual for this run",
        )
    rest = max(steps - warmup, 1)
    if optimizer.schedule == "cosine_restarts" and 2 * optimizer.restarts > rest:
        yield Problem(
            "optimizer.restarts",
            f"{optimizer.restarts} restarts in the {rest} steps after the warm-up leave less than "
            "two steps for each, too few for a rate to fall: lower it, 3 is usual",
        )


def _check_images(config: RunConfig, sizes: Sequence[Size], resolution: int) -> Iterator[Problem]:
    train = config.train
    shown = train.steps * train.batch_size * train.accumulate
    if shown < len(sizes):
        yield Problem(
            "train.steps",
            f"the run shows {shown} images and the dataset has {len(sizes)}, so that some are "
            f"never seen: raise it to {math.ceil(len(sizes) * train.steps / shown)} at least",
        )
    side = config.dataset.resolution or resolution
    width, height = max(sizes, key=lambda size: size[0] * size[1], default=(0, 0))
    largest = math.sqrt(width * height)
    if sizes and side > largest:
        given = "" if config.dataset.resolution else ", the base model's own size,"
        smaller = int(largest) // 64 * 64 or int(largest)
        yield Problem(
            "dataset.resolution",
            f"{side}{given} is above every image, the largest of which has {width} × {height} "
            "pixels: each is enlarged, or trained at a smaller size. Set it to "
            f"{smaller}, or use larger images",
        )


def _check_shares(config: RunConfig) -> Iterator[Problem]:
    """Yields what is switched off by a number at its end."""
    dataset, objective, samples = config.dataset, config.objective, config.samples
    if dataset.caption_dropout == 1:
        yield Problem(
            "dataset.caption_dropout",
            "is 1, so that no caption is ever shown and no word calls up what is learned: set it "
            "to 0.05 or 0.1",
        )
    if dataset.shuffle_tags and dataset.keep_tags == 0 and dataset.trigger:
        yield Problem(
            "dataset.keep_tags",
            "is 0, so that dataset.shuffle_tags moves the trigger away from the front, where "
            "prompts have it: set it to 1",
        )
    if dataset.protected_tags and not dataset.tag_dropout:
        yield Problem(
            "dataset.protected_tags",
            "has no effect, because dataset.tag_dropout is 0 and leaves no tag out: raise that to "
            "0.1, or remove these",
        )
    if dataset.tag_dropout == 1:
        yield Problem(
            "dataset.tag_dropout",
            "is 1, so that only kept and protected tags are ever shown: set it to 0.1 or 0.2",
        )
    if dataset.masks != "off" and objective.unmasked_weight == 1:
        yield Problem(
            "objective.unmasked_weight",
            f"is 1, so that dataset.masks = {dataset.masks} changes nothing: lower it, 0.1 is "
            "usual, or set dataset.masks to off",
        )
    if objective.min_timestep == objective.max_timestep:
        yield Problem(
            "objective.min_timestep",
            f"equals objective.max_timestep, so that only the time step {objective.min_timestep} "
            "is trained: set them apart, 0 and 999 are all of them",
        )
    if samples.every_steps and samples.weight == 0:
        yield Problem(
            "samples.weight",
            "is 0, so that samples show the base model without the adapter: set it to 1, or "
            "samples.every_steps to 0",
        )
