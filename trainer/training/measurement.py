"""What a base model predicts, measured before the first step where its file does not state it."""

from collections.abc import Callable, Sequence

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor

from datasets_tools.examples import Example
from datasets_tools.images import read_image
from trainer.config import BaseModelConfig
from trainer.device import DeviceContext
from trainer.diffusion import make_schedule
from trainer.diffusion.measurement import Measurement, measure_prediction
from trainer.formats.predictions import PREDICTIONS
from trainer.models import BaseModelInfo, Family, Geometry
from trainer.runs import RunFolder, append_event, save_config
from trainer.training.progress import log_line

_IMAGES = 8
_LARGEST_SIDE_ON_CPU = 512  # pixels; a CPU takes seconds for each answer
# The schedule with which latents are noised where the base model has none of its own.
_SCHEDULE = {"kind": "scaled_linear", "beta_start": 0.00085, "beta_end": 0.012, "count": 1000}


Progress = Callable[[int, int], None]


def measure_base_model(
    family: Family,
    context: DeviceContext,
    examples: Sequence[Example] = (),
    progress: Progress | None = None,
) -> Measurement:
    """Returns what a loaded base model predicts by its answers to noised images.

    Args:
        family: The base model, without adapters.
        context: Its device.
        examples: Images with captions. Without any, and where the answers to them fit no kind, as
            with images that the model does not know, images of plain shapes are made.
        progress: Called with how many answers there are, and of how many; from the beginning again
            where images of plain shapes follow.
    """
    side = family.default_resolution
    if context.device.type == "cpu":
        side = min(side, _LARGEST_SIDE_ON_CPU)
    side -= side % family.size_step
    chosen = examples[:: max(1, len(examples) // _IMAGES)][:_IMAGES]
    if chosen:
        images = [read_image(each.path) for each in chosen]
        captions = [each.caption for each in chosen]
        name = f"{len(images)} images of the dataset"
        measurement = _measure(family, context, (images, captions, name), side, progress)
        if measurement.prediction:
            return measurement
    made = make_shapes(_IMAGES, side), [""] * _IMAGES, f"{_IMAGES} images of plain shapes"
    return _measure(family, context, made, side, progress)


def _measure(
    family: Family,
    context: DeviceContext,
    shown: tuple[Sequence[Image.Image], Sequence[str], str],
    side: int,
    progress: Progress | None,
) -> Measurement:
    """Measures on images with captions, and what they are called."""
    images, captions, name = shown
    latents = [family.encode_images(to_pixels(each, side)).mean.cpu() for each in images]
    with torch.no_grad(), context.accelerator.autocast():
        conditioning = [family.encode_captions([each]) for each in captions]
        size = family.describe_sizes([Geometry((side, side), (0, 0), (side, side))])

        def predict(index: int, noisy: Tensor, timestep: Tensor) -> Tensor:
            noisy, timestep = noisy.to(context.device), timestep.to(context.device)
            return family.predict(noisy, timestep, conditioning[index] | size)

        family.keep_on_device({"unet"})
        schedule = family.schedule_config() if family.noise == "diffusion" else _SCHEDULE
        return measure_prediction(
            predict, latents, make_schedule(**schedule), name, progress=progress
        )


def needs_measurement(config: BaseModelConfig, info: BaseModelInfo) -> bool:
    """Whether neither the base model nor the person states what it predicts."""
    return config.prediction == "auto" and not info.certain


def measure_for_run(
    run: RunFolder, family: Family, context: DeviceContext, examples: Sequence[Example]
) -> str:
    """Measures what a run's base model predicts, reports it and saves it in the run's settings.

    Returns:
        What it predicts; where that cannot be measured, what was assumed.
    """
    measurement, info = measure_base_model(family, context, examples), family.info
    message = describe_measurement(info, measurement)
    append_event(
        run.events_path,
        "measured",
        base_model=str(info.path),
        assumed=info.prediction,
        message=message,
        **measurement.to_dict(),
    )
    log_line(message)
    if measurement.prediction != info.prediction:
        append_event(run.events_path, "warning", message=message)
    if not measurement.prediction:
        return info.prediction
    config = run.config
    base = config.base_model.model_copy(update={"prediction": measurement.prediction})
    save_config(run, config.model_copy(update={"base_model": base}))
    return measurement.prediction


def describe_measurement(info: BaseModelInfo, measurement: Measurement) -> str:
    """Returns the answer and its margin as a sentence."""
    rows = [(PREDICTIONS[kind].title, far) for kind, far in measurement.distances.items()]
    (nearest, distance), (second, next_distance), *_ = rows
    ratios = ", ".join(f"{each.ratio:.2f} at {each.timestep}" for each in measurement.evidence)
    evidence = f"-b/a is {ratios}, on {measurement.images}"
    if not measurement.prediction:
        return (
            f"What {info.path.name} predicts could not be measured: its answers fit none of the "
            f"known kinds (nearest is {nearest}, {distance:.2f} rad away; {evidence}). It is taken "
            f"to predict {PREDICTIONS[info.prediction].title}; if that is wrong, set "
            "base_model.prediction."
        )
    return (
        f"{info.path.name} predicts {nearest}, by measurement: its answers are {distance:.2f} rad "
        f"away from that, and {next_distance:.2f} rad from the next kind, {second} ({evidence})."
    )


def make_shapes(count: int, side: int) -> list[Image.Image]:
    """Returns images of coloured shapes on coloured grounds, the same ones each time."""
    numbers = np.random.default_rng(0)
    rows, columns = np.mgrid[0:side, 0:side] / side
    images = []
    for _ in range(count):
        values = np.empty((side, side, 3), dtype=np.uint8)
        values[:] = numbers.integers(0, 256, 3)
        for _ in range(numbers.integers(2, 6)):
            top, left = numbers.uniform(0.2, 0.8, 2)
            height, width = numbers.uniform(0.1, 0.3, 2)
            down, right = (rows - top) / height, (columns - left) / width
            if numbers.random() < 0.5:
                inside = down**2 + right**2 <= 1
            else:
                inside = np.maximum(abs(down), abs(right)) <= 1
            values[inside] = numbers.integers(0, 256, 3)
        images.append(Image.fromarray(values))
    return images


def to_pixels(image: Image.Image, side: int) -> Tensor:
    """Returns the middle of an image as pixels in -1 .. 1, [1, 3, side, side]."""
    fitted = ImageOps.fit(image.convert("RGB"), (side, side), Image.Resampling.LANCZOS)
    values = np.asarray(fitted, dtype=np.float32) / 127.5 - 1.0
    return torch.from_numpy(values).permute(2, 0, 1).unsqueeze(0).contiguous()
