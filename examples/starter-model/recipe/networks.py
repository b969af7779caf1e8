"""The three networks of a Stable Diffusion 1 in miniature, and their scheduler."""

from typing import Any

import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from transformers import CLIPTextConfig, CLIPTextModel

from recipe.render import SIZE
from recipe.settings import UnetSettings, VaeSettings
from recipe.tokenizer import POSITIONS
from trainer.diffusion import NoiseSchedule, make_schedule
from trainer.seeds import derive_seed

LATENT_FACTOR = 8
LATENT_SHAPE = (4, SIZE // LATENT_FACTOR, SIZE // LATENT_FACTOR)

# Word for word what Stable Diffusion 1.5 has.
SCHEDULER: dict[str, Any] = {
    "_class_name": "DDIMScheduler",
    "beta_end": 0.012,
    "beta_schedule": "scaled_linear",
    "beta_start": 0.00085,
    "clip_sample": False,
    "num_train_timesteps": 1000,
    "prediction_type": "epsilon",
    "set_alpha_to_one": False,
    "steps_offset": 1,
    "timestep_spacing": "leading",
}

MODEL_INDEX: dict[str, Any] = {
    "_class_name": "StableDiffusionPipeline",
    "feature_extractor": [None, None],
    "image_encoder": [None, None],
    "requires_safety_checker": False,
    "safety_checker": [None, None],
    "scheduler": ["diffusers", "DDIMScheduler"],
    "text_encoder": ["transformers", "CLIPTextModel"],
    "tokenizer": ["transformers", "CLIPTokenizer"],
    "unet": ["diffusers", "UNet2DConditionModel"],
    "vae": ["diffusers", "AutoencoderKL"],
}


def make_noise_schedule(device: torch.device) -> NoiseSchedule:
    """Returns the schedule of `SCHEDULER`."""
    start, end = SCHEDULER["beta_start"], SCHEDULER["beta_end"]
    count = SCHEDULER["num_train_timesteps"]
    return make_schedule(SCHEDULER["beta_schedule"], start, end, count).to(device)


def build_vae(settings: VaeSettings, seed: int) -> AutoencoderKL:
    """Returns an untrained autoencoder."""
    torch.manual_seed(derive_seed(seed, "vae weights"))
    levels = len(settings.channels)
    return AutoencoderKL(
        block_out_channels=settings.channels,
        down_block_types=("DownEncoderBlock2D",) * levels,
        up_block_types=("UpDecoderBlock2D",) * levels,
        latent_channels=LATENT_SHAPE[0],
        layers_per_block=1,
        norm_num_groups=settings.groups,
        sample_size=SIZE,
    )


def build_unet(settings: UnetSettings, seed: int) -> UNet2DConditionModel:
    """Returns an untrained UNet, with cross-attention on all levels but the widest."""
    torch.manual_seed(derive_seed(seed, "unet weights"))
    lower = len(settings.channels) - 1
    return UNet2DConditionModel(
        sample_size=LATENT_SHAPE[1],
        in_channels=LATENT_SHAPE[0],
        out_channels=LATENT_SHAPE[0],
        block_out_channels=settings.channels,
        layers_per_block=1,
        cross_attention_dim=settings.text_width,
        attention_head_dim=settings.heads,
        norm_num_groups=settings.groups,
        down_block_types=("DownBlock2D", *("CrossAttnDownBlock2D",) * lower),
        up_block_types=(*("CrossAttnUpBlock2D",) * lower, "UpBlock2D"),
    )


def build_text_encoder(settings: UnetSettings, vocabulary: int, seed: int) -> CLIPTextModel:
    """Returns an untrained text encoder for a vocabulary that ends with its two special tokens."""
    torch.manual_seed(derive_seed(seed, "text encoder weights"))
    return CLIPTextModel(
        CLIPTextConfig(
            vocab_size=vocabulary,
            hidden_size=settings.text_width,
            intermediate_size=4 * settings.text_width,
            projection_dim=settings.text_width,
            num_hidden_layers=settings.text_layers,
            num_attention_heads=settings.text_heads,
            max_position_embeddings=POSITIONS,
            bos_token_id=vocabulary - 2,
            eos_token_id=vocabulary - 1,
            pad_token_id=vocabulary - 1,
        )
    )
