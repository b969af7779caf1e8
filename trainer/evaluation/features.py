"""What copies are recognised by: an image model's features, or coarse latents without one.

Coarse latents are there for every base model. CLIP's and DINOv2's features (transformers) recognise
a copy that was moved, recoloured or redrawn as well; their folders name how images are prepared.
"""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor

from trainer.evaluation.histograms import Array
from trainer.evaluation.structure import CELLS
from trainer.models import ModelError

Describe = Callable[[Sequence[Image.Image]], Array]
_BATCH = 8


def describe_by_latents(encode: Callable[[Sequence[Image.Image]], Tensor]) -> Describe:
    """Returns what describes images by their latents, averaged down to 8 x 8 cells."""

    def describe(images: Sequence[Image.Image]) -> Array:
        coarse = torch.nn.functional.adaptive_avg_pool2d(encode(images).float(), CELLS)
        rows: Array = coarse.flatten(1).cpu().double().numpy()
        return rows

    return describe


def load_features(folder: Path, device: torch.device) -> Describe:
    """Returns what describes images by an image model: CLIP's embedding, or DINOv2's class token.

    Args:
        folder: In the layout of transformers, with `preprocessor_config.json`.
        device: Where it is computed.

    Raises:
        ModelError: it cannot be loaded.
    """
    from transformers import AutoConfig, AutoModel, CLIPVisionModelWithProjection

    try:
        config: Any = AutoConfig.from_pretrained(folder, local_files_only=True)
        is_clip = config.model_type in {"clip", "clip_vision_model"}
        kind: Any = CLIPVisionModelWithProjection if is_clip else AutoModel
        model = kind.from_pretrained(folder, local_files_only=True).to(device).eval()
        prepare = _read_preparation(folder)
    except (OSError, ValueError, KeyError) as error:
        msg = (
            f"{folder} is no image model that can be loaded ({error}). Give the folder of a CLIP "
            "or DINOv2 model in the layout of transformers."
        )
        raise ModelError(msg) from error

    def describe(images: Sequence[Image.Image]) -> Array:
        rows = []
        with torch.no_grad():
            for start in range(0, len(images), _BATCH):
                pixels = torch.stack([prepare(each) for each in images[start : start + _BATCH]])
                answer = model(pixel_values=pixels.to(device))
                features = answer.image_embeds if is_clip else answer.last_hidden_state[:, 0]
                rows.append(features.float().cpu().double().numpy())
        return np.concatenate(rows)

    return describe


def _read_preparation(folder: Path) -> Callable[[Image.Image], Tensor]:
    """Returns what makes pixels of an image, [3, side, side], as the model was trained."""
    facts = json.loads((folder / "preprocessor_config.json").read_text(encoding="utf-8"))
    size = facts.get("crop_size") or facts["size"]
    side = int(size if isinstance(size, int) else size.get("height") or size["shortest_edge"])
    mean, std = (np.array(facts[key], dtype=np.float32) for key in ("image_mean", "image_std"))

    def prepare(image: Image.Image) -> Tensor:
        fitted = ImageOps.fit(image.convert("RGB"), (side, side), Image.Resampling.BICUBIC)
        values = (np.asarray(fitted, dtype=np.float32) / 255 - mean) / std
        return torch.from_numpy(values).permute(2, 0, 1)

    return prepare
