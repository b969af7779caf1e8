"""Settings that do not suit what a base model predicts: no error, but good to know."""

from collections.abc import Iterator

from trainer.config.run import RunConfig


def list_advice(config: RunConfig, prediction: str, *, zero_snr: bool) -> list[str]:
    """Returns what does not suit a base model, one or two sentences each.

    Args:
        config: Of the run.
        prediction: What the base model predicts; "" where it is not known.
        zero_snr: Whether its noise schedule ends in pure noise.
    """
    return [
        *_check_noise(config, prediction, zero_snr=zero_snr),
        *_check_weighting(config, prediction),
    ]


def _check_noise(config: RunConfig, prediction: str, *, zero_snr: bool) -> Iterator[str]:
    objective = config.objective
    settings = {
        "objective.noise_offset": objective.noise_offset,
        "objective.pyramid_noise": objective.pyramid_noise,
    }
    used = [f"{name} = {value:g}" for name, value in settings.items() if value]
    if used and (zero_snr or prediction == "flow"):
        kind = "rectified flow" if prediction == "flow" else "zero terminal SNR"
        yield (
            f"{' and '.join(used)} is a remedy for noise schedules that do not end in pure noise. "
            f"The base model is trained with {kind}, which learns dark and bright images by "
            "itself, and other noise than it knows makes it worse. Set it to 0."
        )


def _check_weighting(config: RunConfig, prediction: str) -> Iterator[str]:
    weighting = config.objective.weighting
    if prediction == "flow" and weighting != "none":
        yield (
            f"objective.weighting = {weighting} weighs by the signal-to-noise ratio, which leaves "
            "almost no weight to the noisy time steps of rectified flow, where composition is "
            "learned. Usual there is objective.weighting = none."
        )
