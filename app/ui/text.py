"""The sentences of what several tabs show."""

from collections.abc import Sequence

GENERATING = "Generating…"
WORKER_GONE = (
    "The process that generates images ended before the image was done. Its log below may say why; "
    "Generate starts it again."
)
TRAINING_MEANWHILE = "A run is being trained on the same computer, so generating takes longer."
WITHOUT = "Without"
WITH = "With"
COPY = "Copy"
SEVERITIES = {"error": "Wrong", "warning": "Worth a look", "note": "Good to know"}


def generated(seconds: float, loads: int) -> str:
    """An image is done."""
    times = "once" if loads == 1 else f"{loads} times"
    return f"Generated in {seconds:.1f} s. Base model loaded {times}."


def generation_failed(message: str) -> str:
    """An image failed."""
    return f"Nothing was generated: {message}"


def with_weights(weights: Sequence[tuple[str, float]]) -> str:
    """The caption of the image with the adapters; names only where there are several."""
    if len(weights) == 1:
        return f"{WITH}, weight {weights[0][1]:g}"
    return f"{WITH} " + " + ".join(f"{name} {weight:g}" for name, weight in weights)


def request_line(prompt: str, seed: int) -> str:
    """What was generated."""
    return f"{prompt} · seed {seed}"
