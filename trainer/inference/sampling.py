"""Images from a base model with adapters on it."""

import contextlib
import io
import json
from collections.abc import Iterator, Sequence
from pathlib import Path

from PIL import Image, ImageDraw
from PIL.PngImagePlugin import PngInfo

from datasets_tools.files import write_atomically
from trainer.adapters import AdapterSet
from trainer.device import DeviceContext
from trainer.models import Family
from trainer.models.family import GenerationRequest, StepCallback

_PIXELS_PER_BATCH = 512 * 512  # one image of SD 1.x, sixteen of the starter model


@contextlib.contextmanager
def weighted(adapters: Sequence[AdapterSet], weights: Sequence[float]) -> Iterator[None]:
    """Sets the weights of adapters for generating, without dropout; restores them after."""
    with contextlib.ExitStack() as stack:
        for each, weight in zip(adapters, weights, strict=True):
            stack.enter_context(each.restored())
            each.train(mode=False)
            each.set_multiplier(weight)
        yield


def generate(
    family: Family,
    context: DeviceContext,
    request: GenerationRequest,
    on_step: StepCallback | None = None,
) -> Image.Image:
    """Returns one image with the adapters as they are weighed now; `on_step` hears of each step."""
    with context.accelerator.autocast():
        image: Image.Image = family.generate_all([request], on_step)[0]
    return image


def generate_all(
    family: Family, context: DeviceContext, requests: Sequence[GenerationRequest]
) -> list[Image.Image]:
    """Returns images of requests that differ in prompt and seed alone, as `generate` does.

    Small images in one batch, which takes a fraction of the time, large ones one by one, which
    takes no more memory than one.
    """
    size = family.default_resolution
    pixels = max((each.width or size) * (each.height or size) for each in requests)
    count = max(1, _PIXELS_PER_BATCH // pixels)
    images: list[Image.Image] = []
    with context.accelerator.autocast():
        for start in range(0, len(requests), count):
            images += family.generate_all(requests[start : start + count])
    return images


def save_image(
    path: Path, image: Image.Image, request: GenerationRequest, weight: float, sampler: str
) -> None:
    """Writes a PNG with its generation settings as metadata.

    Args:
        path: The file to write.
        image: The image.
        request: What it was generated from.
        weight: Of the adapter.
        sampler: As A1111 calls it.

    Raises:
        OSError: the disk is full or cannot be written.
    """
    info = PngInfo()
    info.add_text("prompt", request.prompt)
    info.add_text("parameters", _describe(request, sampler))
    info.add_text("lorasmith", json.dumps({"seed": request.seed, "weight": weight}))
    encoded = io.BytesIO()
    image.save(encoded, format="PNG", pnginfo=info)
    write_atomically(path, encoded.getvalue())


def make_grid(
    rows: Sequence[Sequence[Image.Image]], row_names: Sequence[str], column_names: Sequence[str]
) -> Image.Image:
    """Returns a labelled grid of equal images; names are cut where they would overlap."""
    width, height = rows[0][0].size
    margin, head = 150, 22
    grid = Image.new(
        "RGB", (margin + len(column_names) * (width + 4), head + len(rows) * (height + 4)), "white"
    )
    pen = ImageDraw.Draw(grid)
    for column, name in enumerate(column_names):
        pen.text((margin + column * (width + 4) + width // 2, 5), name, fill="black", anchor="ma")
    for row, images in enumerate(rows):
        top = head + row * (height + 4)
        pen.multiline_text((6, top + height // 2), _wrap(row_names[row]), fill="black", anchor="lm")
        for column, image in enumerate(images):
            grid.paste(image, (margin + column * (width + 4), top))
    return grid


def _describe(request: GenerationRequest, sampler: str) -> str:
    """The text that A1111 and Civitai read from a PNG."""
    negative = f"\nNegative prompt: {request.negative_prompt}" if request.negative_prompt else ""
    return (
        f"{request.prompt}{negative}\nSteps: {request.inference_steps}, "
        f"Sampler: {request.sampler or sampler}, "
        f"CFG scale: {request.guidance}, Seed: {request.seed}"
    )


def _wrap(text: str, width: int = 20) -> str:
    lines = [""]
    for word in text.split():
        if lines[-1] and len(lines[-1]) + len(word) >= width:
            lines.append("")
        lines[-1] = f"{lines[-1]} {word}".strip()
    return "\n".join(lines[:4])
