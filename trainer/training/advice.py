"""Settings that do not suit a base model: no error, but a person should know before the start."""

from collections.abc import Iterator

from trainer.config import RunConfig
from trainer.models import BaseModelInfo


def list_warnings(config: RunConfig, info: BaseModelInfo) -> list[str]:
    """Returns what a person should know before a run starts, one or two sentences each.

    Args:
        config: Of the run.
        info: Its base model, as `check_config` returns it.
    """
    return [*info.notes, *_check_noise(config, info), *_check_weighting(config, info)]


def _check_noise(config: RunConfig, info: BaseModelInfo) -> Iterator[str]:
    objective = config.objective
    settings = {
        "objective.noise_offset": objective.noise_offset,
        "objective.pyramid_noise": objective.pyramid_noise,
    }
    used = [f"{name} = {value:g}" for name, value in settings.items() if value]
    if used and (info.zero_snr or info.prediction == "flow"):
        kind = "rectified flow" if info.prediction == "flow" else "zero terminal SNR"
        yield (
            f"{' and '.join(used)} is a remedy for noise schedules that do not end in pure noise. "
            f"The base model is trained with {kind}, which learns dark and bright images by "
            "itself, and other noise than it knows makes it worse. Set it to 0."
        )


def _check_weighting(config: RunConfig, info: BaseModelInfo) -> Iterator[str]:
    weighting = config.objective.weighting
    if info.prediction == "flow" and weighting != "none":
        yield (
            f"objective.weighting = {weighting} weighs by the signal-to-noise ratio, which leaves "
            "almost no weight to the noisy time steps of rectified flow, where composition is "
            "learned. Usual there is objective.weighting = none."
        )
