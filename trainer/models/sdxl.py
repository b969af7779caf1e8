"""Stable Diffusion XL: two text encoders, a pooled text, and sizes as conditioning."""

from collections.abc import Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor

from trainer.models.family import Conditioning, Geometry
from trainer.models.samplers import make_scheduler
from trainer.models.sd import StableDiffusion


class StableDiffusionXL(StableDiffusion):
    """A base model of SDXL (Podell et al. 2023, arXiv:2307.01952).

    Both text encoders give their last layer but one, without the final norm; their widths add up.
    The second one's projected text and the image's sizes (section 2.2) go to the UNet, too.
    """

    own_layer: ClassVar[int] = 2
    normalizes: ClassVar[bool] = False

    def describe_sizes(self, geometry: Sequence[Geometry]) -> Conditioning:
        """Returns original size, crop and target size, each (height, width): {"sizes": [B, 6]}."""
        rows = [[*each.original, *each.crop, *each.target] for each in geometry]
        return {"sizes": torch.tensor(rows, dtype=torch.float32, device=self.device)}

    def _name_extras(self, conditioning: Conditioning) -> dict[str, Tensor] | None:
        return {
            "text_embeds": conditioning["pooled"].to(self.dtype),
            "time_ids": conditioning["sizes"],
        }

    def _name_prompts(self, rows: Sequence[Conditioning]) -> dict[str, Tensor]:
        names = ("pooled_prompt_embeds", "negative_pooled_prompt_embeds")
        pooled = {name: row["pooled"] for name, row in zip(names, rows, strict=False)}
        return super()._name_prompts(rows) | pooled

    def _make_pipeline(self, sampler: str) -> Any:
        from diffusers import StableDiffusionXLPipeline

        return StableDiffusionXLPipeline(
            vae=None,
            text_encoder=None,
            text_encoder_2=None,
            tokenizer=None,
            tokenizer_2=None,
            unet=self.unet,
            scheduler=make_scheduler(self.info, sampler),
            add_watermarker=False,
        )
