"""Stable Diffusion 1.x and 2.x: one text encoder, one UNet, one VAE."""

from collections.abc import Collection, Sequence
from contextlib import AbstractContextManager
from functools import partial
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from trainer.formats.families import FAMILIES, name_encoder
from trainer.formats.unet_names import UNetNames
from trainer.models.check import BaseModelInfo
from trainer.models.embeddings import Vocabulary
from trainer.models.family import (
    Conditioning,
    GenerationRequest,
    Geometry,
    LatentDistribution,
    Model,
    StepCallback,
    list_prompts,
)
from trainer.models.layers import ModelLayer, list_adaptable_layers, list_all_layers
from trainer.models.loading import Parts
from trainer.models.pipelines import generate_latents, make_pipeline
from trainer.models.placement import Placement
from trainer.models.prompts import (
    ChunkStore,
    TextSettings,
    count_unread,
    fill_up,
    gather_chunks,
    join_rows,
    pick_hidden,
    split_into_chunks,
)
from trainer.models.recompute import enable_recomputation
from trainer.models.samplers import name_sampler
from trainer.models.vae import decode, encode
from trainer.models.weights import hash_weights


class StableDiffusion:
    """A base model of SD 1.x or SD 2.x, frozen, on a device.

    Args:
        info: What the base model is.
        parts: Its models, frozen; they are used as they are and moved by `keep_on_device`.
        device: Where they work.
        dtype: Number format of the frozen weights.
        text: How captions are read.
    """

    own_layer: ClassVar[int] = 1
    normalizes: ClassVar[bool] = True

    def __init__(
        self,
        info: BaseModelInfo,
        parts: Parts,
        device: torch.device,
        dtype: torch.dtype,
        text: TextSettings,
    ) -> None:
        self.info, self.name, self.prediction = info, info.family, info.prediction
        self.spec = FAMILIES[info.family]
        self.noise = "flow" if info.prediction == "flow" else self.spec.noise
        self.sampler = name_sampler(info)
        self.device, self.dtype, self.text = device, dtype, text
        # A device has an index where its memory is its own, a simulated one, too.
        self._in_strips, self._recomputes = device.index is not None, False
        self.unet: Any = parts.unet
        self.blocks = parts.blocks
        self.vae: Any = parts.vae
        self.text_encoders: list[Any] = list(parts.text_encoders)
        self.tokenizers: list[Any] = list(parts.tokenizers)
        self.vocabulary = Vocabulary(self.text_encoders, self.tokenizers)
        self.unet_names = UNetNames.from_config(dict(self.unet.config))
        self.latent_channels = int(self.vae.config.latent_channels)
        self.latent_factor, self.size_step = info.latent_factor, info.size_step
        self.default_resolution = info.default_resolution
        # A UNet in 4 bits is on the device from the start and stays: it is small, and moves badly.
        packed = any(type(each).__name__ == "Linear4bit" for each in self.unet.modules())
        models: dict[Model, list[nn.Module]] = {
            "image": [self.vae], "text": self.text_encoders, "unet": [self.unet]
        }  # fmt: skip
        self._placement = Placement(models, device, {"unet"} if packed else ())
        self._chunks = ChunkStore(device)
        self._prompts: dict[tuple[str, ...], list[Conditioning]] = {}

    def adaptable_models(self) -> dict[str, nn.Module]:
        """Returns the UNet and the text encoders: "text_encoder", "text_encoder_2" …"""
        encoders = {name_encoder(n): each for n, each in enumerate(self.text_encoders)}
        return {"unet": self.unet, **encoders}

    def adaptable_layers(self) -> list[ModelLayer]:
        """Returns the layers of UNet and text encoders that adapters are trained on."""
        return list_adaptable_layers(self.adaptable_models(), self.spec.adaptable_blocks)

    def all_layers(self) -> list[ModelLayer]:
        """Returns all their linear and convolution layers, the adaptable ones first."""
        return list_all_layers(self.adaptable_models(), self.spec.adaptable_blocks)

    def encode_images(self, pixels: Tensor) -> LatentDistribution:
        """Returns the scaled distribution of the latents for pixels in -1 .. 1, [B, 3, H, W]."""
        with torch.no_grad(), self._placement.needing("image"):
            wide = pixels.to(self.device, torch.float32)
            mean, std = encode(self.vae, wide, in_strips=self._in_strips)
        factor = float(self.vae.config.scaling_factor)
        return LatentDistribution(mean * factor, std * factor)

    def encode_captions(self, captions: Sequence[str]) -> Conditioning:
        """Returns hidden states of the text encoders, {"text": [B, tokens, width], …}."""
        return join_rows(self._encode(captions))

    def encode_prompts(
        self, prompts: Sequence[str], *, remember: bool = False
    ) -> list[Conditioning]:
        """Returns each prompt's conditioning, all of one length, as a generated image needs it.

        Args:
            prompts: The prompt, and the negative one where there is guidance.
            remember: Keeps the result for the next time. Only while nothing changes the encoders.
        """
        known = self._prompts.get(tuple(prompts))
        if known is None:
            with torch.no_grad():
                known = self._encode(prompts, equal=True)
        if remember:
            self._prompts[tuple(prompts)] = known
        return known

    def join_conditioning(self, rows: Sequence[Conditioning]) -> Conditioning:
        """Returns several captions' conditioning as one batch, filled up to one length."""
        return join_rows(rows)

    def describe_sizes(self, geometry: Sequence[Geometry]) -> Conditioning:
        """Returns nothing: these families have no conditioning on sizes."""
        del geometry
        return {}

    def predict(self, latents: Tensor, timesteps: Tensor, conditioning: Conditioning) -> Tensor:
        """Returns the UNet's prediction, [B, C, h, w]."""
        predicted: Tensor = self.unet(
            latents.to(self.dtype),
            timesteps,
            conditioning["text"].to(self.dtype),
            encoder_attention_mask=conditioning.get("mask"),
            added_cond_kwargs=self._name_extras(conditioning),
            return_dict=False,
        )[0]
        return predicted

    def generate(self, request: GenerationRequest) -> Any:
        """Returns the image that diffusers' own pipeline generates from a seed, a PIL image."""
        return self.generate_all([request])[0]

    def generate_all(
        self, requests: Sequence[GenerationRequest], on_step: StepCallback | None = None
    ) -> list[Any]:
        """Returns the images of requests that differ in prompt and seed alone, in one batch."""
        encoded = [self.encode_prompts(list_prompts(each)) for each in requests]
        rows = [join_rows(row) for row in zip(*encoded, strict=True)]
        if any("mask" in row for row in rows):  # the pipeline takes none
            return [self.generate_all([each], on_step)[0] for each in requests]
        with torch.no_grad(), self._placement.needing("unet"):
            pipeline = self._make_pipeline(requests[0].sampler)
            size = {"factor": self.latent_factor, "side": self.default_resolution}
            prompts = self._name_prompts(rows)
            latents = generate_latents(
                pipeline, prompts, requests, self.info, **size, on_step=on_step
            )
        pixels = [self.decode(each[None]) for each in latents]
        return [pipeline.image_processor.postprocess(p, output_type="pil")[0] for p in pixels]

    def decode(self, latents: Tensor) -> Tensor:
        """Returns the pixels of latents, in -1 .. 1, [B, 3, H, W].

        Where models rest, all others do so now: at 1024 pixels this takes more than the UNet.
        """
        factor = float(self.vae.config.scaling_factor)
        exact = torch.autocast(self.device.type, enabled=False)
        with torch.no_grad(), exact, self._placement.alone("image"):
            return decode(
                self.vae,
                latents.float() / factor,
                in_strips=self._in_strips,
                recompute=self._recomputes or bool(self.blocks.offloaded),
            )

    def save_vae_memory(self) -> bool:
        """Has the VAE work on strips, and compute again what it could store.

        Returns:
            Whether it had not done so before.
        """
        changed = not (self._in_strips and self._recomputes)
        self._in_strips = self._recomputes = True
        return changed

    def image_fingerprint(self) -> str:
        """Names the VAE by its weights, wherever they were read from."""
        return hash_weights(self.vae)

    def text_fingerprint(self) -> str:
        """Names the text encoders by their weights, and the way captions are read."""
        hashes = "-".join(hash_weights(encoder) for encoder in self.text_encoders)
        return f"{hashes}-{self.dtype}-{self.text}"

    def schedule_config(self) -> dict[str, Any]:
        """Returns the arguments of the noise process: its shift, or the noise schedule."""
        if self.noise == "flow":
            return {"shift": self.info.flow_shift}
        scheduler = self.info.scheduler
        return {
            "kind": scheduler.get("beta_schedule", "scaled_linear"),
            "beta_start": float(scheduler.get("beta_start", 0.00085)),
            "beta_end": float(scheduler.get("beta_end", 0.012)),
            "count": int(scheduler.get("num_train_timesteps", 1000)),
            "zero_snr": self.info.zero_snr,
        }

    def keep_on_device(self, models: Collection[Model]) -> None:
        """Keeps these models on the device; the others wait in main memory until needed."""
        self._placement.keep(models)

    def offloading_all(self) -> AbstractContextManager[None]:
        """All models wait in main memory while the block runs; then they are where they were."""
        return self._placement.offloading_all()

    def enable_gradient_checkpointing(self, fraction: float = 1.0) -> None:
        """Recompute activations in the backward pass, in the UNet and the text encoders.

        Args:
            fraction: How many of the UNet's blocks.
        """
        self.blocks.checkpoint(fraction)
        for encoder in self.text_encoders:
            encoder.gradient_checkpointing_enable({"use_reentrant": False})
            encoder.train()

    def enable_recomputation(self, *, feed_forward: bool) -> None:
        """Recompute the UNet's cheap activations; of feed-forward layers more than these."""
        enable_recomputation(self.unet, feed_forward=feed_forward)
        self.blocks.pack()  # layers were replaced

    def count_unread_tokens(self, caption: str) -> int:  # noqa: D102 - see `Family`
        return count_unread(self.tokenizers, self.vocabulary.tokenize, caption, self.text)

    def _encode(self, captions: Sequence[str], *, equal: bool = False) -> list[Conditioning]:
        """Returns each caption's conditioning; `equal` pads with empty chunks."""
        with self._placement.needing("text"):
            columns = [
                self._run_encoder(number, captions, equal)
                for number in range(len(self.text_encoders))
            ]
        rows = []
        for index in range(len(captions)):
            encoded = [column[index] for column in columns]
            row = {"text": torch.cat([each["text"] for each in encoded], dim=-1)}
            # Of several encoders the last one that has a pooled output gives it.
            pooled = [each["pooled"] for each in encoded if "pooled" in each]
            rows.append(row | ({"pooled": pooled[-1]} if pooled else {}))
        return rows

    def _run_encoder(self, number: int, captions: Sequence[str], equal: bool) -> list[Conditioning]:
        encoder, tokenizer = self.text_encoders[number], self.tokenizers[number]
        split = partial(split_into_chunks, tokenizer, max_windows=self.text.max_windows)
        chunks = [split(self.vocabulary.tokenize(number, each)) for each in captions]
        chunks = fill_up(tokenizer, chunks) if equal else chunks
        counts = [len(each) for each in chunks]
        tokens = self._chunks.place([ids for each in chunks for ids in each])
        outputs = encoder(tokens, output_hidden_states=True)
        layer = self.text.layer or self.own_layer
        hidden = pick_hidden(outputs, encoder, layer, self.normalizes)
        rows = [{"text": text} for text in gather_chunks(hidden, counts)]
        pooled = getattr(outputs, "text_embeds", None)
        if pooled is not None:  # of a caption's first chunk
            for row, part in zip(rows, pooled.split(counts), strict=True):
                row["pooled"] = part[:1]
        return rows

    def _name_extras(self, conditioning: Conditioning) -> dict[str, Tensor] | None:
        """Returns what diffusers' UNet calls `added_cond_kwargs`."""
        del conditioning
        return None

    def _name_prompts(self, rows: Sequence[Conditioning]) -> dict[str, Tensor]:
        """Returns prompt and negative prompt as the arguments of diffusers' pipeline."""
        names = ("prompt_embeds", "negative_prompt_embeds")
        return {name: row["text"] for name, row in zip(names, rows, strict=False)}

    def _make_pipeline(self, sampler: str) -> Any:
        return make_pipeline(self.unet, self.info, sampler)
