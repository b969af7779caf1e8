"""The sentences of what several tabs show."""

from collections.abc import Sequence

from app.core.text import show_bytes

GENERATING = "Generating…"
WORKER_GONE = (
    "The process that generates images ended before the image was done. Its log below may show "
    "why; Generate starts it again."
)
CANCELLED = "Cancelled. Nothing further was generated."
CANCEL = "Cancel"
IN_PROGRESS = "The image that is being generated"
GENERATION_FAILED = "Nothing was generated:"
TRAINING_MEANWHILE = "A run is being trained on the same computer, so generating takes longer."
WITHOUT = "Without"
WITH = "With"
COPY = "Copy"
SEVERITIES = {"error": "Wrong", "warning": "Worth a look", "note": "Good to know"}
HEADER_TITLE = "What the file will contain about itself"
HEADER_INFO = (
    "A LoRA file carries a header that other programs and sites read. Paths, user names and folder "
    "names are never written; the choice is between the settings too, or only what programs need."
)
HEADER_ASK = "Show it"
HEADER_LOOKING = "Putting the header together. This takes some seconds…"
HEADER_FAILED = "The header could not be put together:"
HEADER_NAME = "Entry"
HEADER_VALUE = "Value"
NO_HEADER = "This file has no header entries."
HEADER_ENTRIES = "What stands in the header"
HEADER_PREVIEW = "What would be written with these settings"


def generated(seconds: float, loads: int) -> str:
    times = "once" if loads == 1 else f"{loads} times"
    return f"Generated in {seconds:.1f} s. Base model loaded {times}."


def with_weights(weights: Sequence[tuple[str, float]]) -> str:
    if len(weights) == 1:
        return f"{WITH}, weight {weights[0][1]:g}"
    return f"{WITH} " + " + ".join(f"{name} {weight:g}" for name, weight in weights)


def generating_step(step: int, steps: int, image: int, images: int) -> str:
    line = f"Step {step} of {steps}"
    return f"{line} · image {image} of {images}" if images > 1 else line


def request_line(prompt: str, seed: int) -> str:
    return f"{prompt} · seed {seed}"


def header_image(size: int) -> str:
    return f"an image ({show_bytes(size)})"


def header_rest(size: int) -> str:
    return f"… ({show_bytes(size)} in all)"
