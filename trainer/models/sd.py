"""Stable Diffusion 1.x and 2.x: one text encoder, one UNet, one VAE."""

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from trainer.models.check import BaseModelInfo, check_base_model
from trainer.models.errors import ModelError
from trainer.models.family import Conditioning, Drawing, Moments


class StableDiffusion:
    """A base model of the families sd15 and sd2, frozen, on a device.

    Args:
        path: Folder in the diffusers layout.
        device: Where the weights go.
        dtype: Number format of the frozen weights.
        family: "auto" or a family's name.
        prediction: "auto", "epsilon" or "v_prediction".

    Raises:
        ModelError: a part is missing or damaged.
    """

    def __init__(
        self,
        path: Path,
        device: torch.device,
        dtype: torch.dtype,
        family: str = "auto",
        prediction: str = "auto",
    ) -> None:
        # diffusers and transformers cost seconds to import: only who loads a model pays.
        from diffusers import AutoencoderKL, UNet2DConditionModel
        from transformers import CLIPTextModel, CLIPTokenizer

        self.info: BaseModelInfo = check_base_model(path, family, prediction)
        self.name, self.prediction = self.info.family, self.info.prediction
        self.device, self.dtype = device, dtype
        try:
            self.tokenizer = CLIPTokenizer.from_pretrained(path / "tokenizer")
            self.text_encoder: Any = CLIPTextModel.from_pretrained(
                path / "text_encoder", dtype=dtype
            )
            self.unet: Any = UNet2DConditionModel.from_pretrained(path / "unet", torch_dtype=dtype)
            # The VAE of SD overflows in fp16, so it stays in fp32; it runs once per image.
            self.vae: Any = AutoencoderKL.from_pretrained(path / "vae", torch_dtype=torch.float32)
        except Exception as error:
            msg = f"The base model {path} cannot be loaded: {error}. Download it again."
            raise ModelError(msg) from error
        for model in (self.text_encoder, self.unet, self.vae):
            model.requires_grad_(requires_grad=False).eval().to(device)
        self.latent_channels = int(self.vae.config.latent_channels)
        self.latent_factor = 2 ** (len(self.vae.config.block_out_channels) - 1)
        self.size_step = self.latent_factor * 2 ** (len(self.unet.config.block_out_channels) - 1)
        self.default_resolution = int(self.unet.config.sample_size) * self.latent_factor

    def adaptable_models(self) -> dict[str, nn.Module]:
        """Returns the UNet and the text encoder."""
        return {"unet": self.unet, "text_encoder": self.text_encoder}

    def encode_images(self, pixels: Tensor) -> Moments:
        """Returns the scaled distribution of the latents for pixels in -1 .. 1, [B, 3, H, W]."""
        with torch.no_grad():
            encoded = self.vae.encode(pixels.to(self.device, torch.float32)).latent_dist
        factor = float(self.vae.config.scaling_factor)
        return Moments(encoded.mean * factor, encoded.std * factor)

    def encode_captions(self, captions: Sequence[str]) -> Conditioning:
        """Returns the last hidden state of the text encoder, {"text": [B, tokens, width]}."""
        tokens = self.tokenizer(
            list(captions),
            padding="max_length",
            max_length=self.tokenizer.model_max_length,
            truncation=True,
            return_tensors="pt",
        )
        return {"text": self.text_encoder(tokens.input_ids.to(self.device))[0]}

    def predict(self, latents: Tensor, timesteps: Tensor, conditioning: Conditioning) -> Tensor:
        """Returns the UNet's prediction, [B, C, h, w]."""
        predicted: Tensor = self.unet(
            latents.to(self.dtype),
            timesteps,
            conditioning["text"].to(self.dtype),
            return_dict=False,
        )[0]
        return predicted

    def generate(self, request: Drawing, device: torch.device) -> Any:
        """Returns the picture that diffusers' own pipeline draws from a seed, a PIL image."""
        from diffusers import DDIMScheduler, StableDiffusionPipeline

        pipeline: Any = StableDiffusionPipeline(
            vae=self.vae,
            text_encoder=self.text_encoder,
            tokenizer=self.tokenizer,
            unet=self.unet,
            scheduler=DDIMScheduler.from_config(
                self.info.scheduler, prediction_type=self.prediction, clip_sample=False
            ),
            safety_checker=None,
            feature_extractor=None,
            requires_safety_checker=False,
        )
        pipeline.set_progress_bar_config(disable=True)
        # Noise from the CPU, so that a seed means the same picture on every device.
        generator = torch.Generator("cpu").manual_seed(request.seed)
        with torch.no_grad():
            latents = pipeline(
                prompt=request.prompt,
                negative_prompt=request.negative_prompt,
                num_inference_steps=request.inference_steps,
                guidance_scale=request.guidance,
                width=request.width or self.default_resolution,
                height=request.height or self.default_resolution,
                generator=generator,
                output_type="latent",
            ).images
            factor = float(self.vae.config.scaling_factor)
            with torch.autocast(device.type, enabled=False):
                pixels = self.vae.decode(latents.float() / factor, return_dict=False)[0]
        return pipeline.image_processor.postprocess(pixels, output_type="pil")[0]

    def image_fingerprint(self) -> str:
        """Names the VAE by the bytes of its files."""
        return _hash_files(self.info.path / "vae")

    def text_fingerprint(self) -> str:
        """Names the text encoder by the bytes of its files, and the format it runs in."""
        return f"{_hash_files(self.info.path / 'text_encoder')}-{self.dtype}"

    def schedule_config(self) -> dict[str, Any]:
        """Returns kind, beta_start, beta_end and count of the noise schedule."""
        scheduler = self.info.scheduler
        return {
            "kind": scheduler.get("beta_schedule", "scaled_linear"),
            "beta_start": float(scheduler.get("beta_start", 0.00085)),
            "beta_end": float(scheduler.get("beta_end", 0.012)),
            "count": int(scheduler.get("num_train_timesteps", 1000)),
        }

    def enable_gradient_checkpointing(self) -> None:
        """Recompute activations in the backward pass, in the UNet and the text encoder."""
        self.unet.enable_gradient_checkpointing()
        self.unet.train()
        self.text_encoder.gradient_checkpointing_enable({"use_reentrant": False})
        self.text_encoder.train()


def _hash_files(folder: Path) -> str:
    digest = hashlib.sha256()
    for path in sorted(folder.glob("*")):
        if path.is_file():
            digest.update(path.name.encode())
            with path.open("rb") as file:
                for block in iter(lambda: file.read(1 << 20), b""):
                    digest.update(block)
    return digest.hexdigest()
