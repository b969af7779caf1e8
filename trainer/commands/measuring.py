"""Measuring what a base model predicts."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from datasets_tools.examples import Example, scan_folder
from trainer.commands.libraries import quiet_model_libraries
from trainer.config import BaseModelConfig
from trainer.device import open_device_context
from trainer.diffusion.measurement import Measurement
from trainer.formats.header import FormatError, read_header
from trainer.models import load_family
from trainer.training.measurement import describe_measurement, measure_base_model

# Of a UNet in the original layout.
_FIRST_LAYER = "diffusion_model.input_blocks.0.0.weight"


@dataclass(frozen=True)
class MeasuredModel:
    """What a base model predicts, and a sentence about it."""

    measurement: Measurement
    message: str

    def to_dict(self) -> dict[str, Any]:
        """Returns all of it, for JSON."""
        return self.measurement.to_dict() | {"message": self.message}

    def to_text(self) -> str:
        """Returns the sentence and the evidence, for a person."""
        rows = [
            f"  time step {each.timestep}: answer = {each.noise:.3f} noise "
            f"{'+' if each.image >= 0 else '-'} {abs(each.image):.3f} image "
            f"(explains {each.explained:.0%})"
            for each in self.measurement.evidence
        ]
        return "\n".join([self.message, *rows])


def measure_model(
    path: Path,
    images: Path | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> MeasuredModel:
    """Measures what a base model predicts by its answers to noised images.

    Args:
        path: Its file or folder.
        images: A folder of images with captions; None makes images of plain shapes.
        progress: Called with how many answers there are, and of how many.

    Raises:
        ModelError, DatasetError, RunError: what is wrong and what to do.
    """
    quiet_model_libraries()
    examples: list[Example] = scan_folder(images)[0] if images else []
    context = open_device_context()
    family = load_family(BaseModelConfig(path=str(path)), context.device, context.dtype)
    measurement = measure_base_model(family, context, examples, progress)
    return MeasuredModel(measurement, describe_measurement(family.info, measurement))


def is_base_model(path: Path) -> bool:
    """Whether a path holds a base model, by the names in its header: no LoRA file has such.

    Also one whose names have another beginning, so that it is refused as what it is.
    """
    if path.is_dir():
        return (path / "model_index.json").is_file()
    try:
        names = read_header(path).tensors if path.suffix == ".safetensors" else {}
    except FormatError:
        return False
    return any(name.endswith(_FIRST_LAYER) for name in names)
