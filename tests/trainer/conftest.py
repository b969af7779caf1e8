"""A complete Stable Diffusion with a few thousand weights, and runs on it."""

import contextlib
import json
import os
import random
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

os.environ.setdefault("HF_HUB_OFFLINE", "1")
ROOT = Path(__file__).resolve().parents[2]
STARTER = ROOT / "examples" / "starter-model"


def build_pico(folder, *, prediction="epsilon", width=32, linear_projection=False, seed=0):
    """Writes an SD-shaped model in the diffusers layout, with random weights."""
    import torch
    from diffusers import UNet2DConditionModel
    from transformers import CLIPTextConfig, CLIPTextModel

    torch.manual_seed(seed)
    UNet2DConditionModel(
        sample_size=8,
        block_out_channels=(16, 32),
        layers_per_block=1,
        down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"),
        cross_attention_dim=width,
        attention_head_dim=4,
        norm_num_groups=8,
        use_linear_projection=linear_projection,
    ).save_pretrained(folder / "unet")
    _write_vae(folder)
    config = CLIPTextConfig(
        vocab_size=6514,
        hidden_size=width,
        intermediate_size=2 * width,
        num_hidden_layers=2,
        num_attention_heads=2,
        bos_token_id=6512,
        eos_token_id=6513,
    )
    CLIPTextModel(config).save_pretrained(folder / "text_encoder")
    shutil.copytree(STARTER / "tokenizer", folder / "tokenizer")
    _write_scheduler(folder, prediction)
    shutil.copy(STARTER / "model_index.json", folder / "model_index.json")
    return folder


def build_pico_xl(folder, *, prediction="epsilon", seed=0):
    """Writes an SDXL-shaped model in the diffusers layout, with random weights."""
    import torch
    from diffusers import UNet2DConditionModel
    from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection

    torch.manual_seed(seed)
    UNet2DConditionModel(
        sample_size=8,
        block_out_channels=(16, 32),
        layers_per_block=2,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
        transformer_layers_per_block=(1, 2),
        cross_attention_dim=32 + 48,
        attention_head_dim=(2, 4),
        norm_num_groups=8,
        use_linear_projection=True,
        addition_embed_type="text_time",
        addition_time_embed_dim=8,
        projection_class_embeddings_input_dim=6 * 8 + 24,
    ).save_pretrained(folder / "unet")
    _write_vae(folder, scaling_factor=0.13025)
    shared = {
        "vocab_size": 6514,
        "num_attention_heads": 2,
        "bos_token_id": 6512,
        "eos_token_id": 6513,
    }
    first = CLIPTextConfig(hidden_size=32, intermediate_size=64, num_hidden_layers=2, **shared)
    second = CLIPTextConfig(
        hidden_size=48, intermediate_size=96, num_hidden_layers=3, projection_dim=24,
        hidden_act="gelu", **shared,
    )  # fmt: skip
    CLIPTextModel(first).save_pretrained(folder / "text_encoder")
    CLIPTextModelWithProjection(second).save_pretrained(folder / "text_encoder_2")
    shutil.copytree(STARTER / "tokenizer", folder / "tokenizer")
    shutil.copytree(STARTER / "tokenizer", folder / "tokenizer_2")
    _write_scheduler(folder, prediction)
    parts = {
        "_class_name": "StableDiffusionXLPipeline",
        "_diffusers_version": "0.42.1",
        "scheduler": ["diffusers", "DDIMScheduler"],
        "text_encoder": ["transformers", "CLIPTextModel"],
        "text_encoder_2": ["transformers", "CLIPTextModelWithProjection"],
        "tokenizer": ["transformers", "CLIPTokenizer"],
        "tokenizer_2": ["transformers", "CLIPTokenizer"],
        "unet": ["diffusers", "UNet2DConditionModel"],
        "vae": ["diffusers", "AutoencoderKL"],
        "force_zeros_for_empty_prompt": False,
        "add_watermarker": False,
    }
    (folder / "model_index.json").write_text(json.dumps(parts))
    return folder


def _write_vae(folder, **changes):
    from diffusers import AutoencoderKL

    AutoencoderKL(
        block_out_channels=(8, 8),
        down_block_types=("DownEncoderBlock2D",) * 2,
        up_block_types=("UpDecoderBlock2D",) * 2,
        norm_num_groups=4,
        sample_size=16,
        **changes,
    ).save_pretrained(folder / "vae")


def _write_scheduler(folder, prediction):
    scheduler = json.loads((STARTER / "scheduler" / "scheduler_config.json").read_text())
    scheduler["prediction_type"] = prediction
    (folder / "scheduler").mkdir()
    (folder / "scheduler" / "scheduler_config.json").write_text(json.dumps(scheduler))


def load_plain(folder, device="cpu", dtype=None, **settings):
    """Loads a base model as a run does."""
    import torch

    from trainer.config import BaseModelConfig
    from trainer.models import load_family

    config = BaseModelConfig(path=str(folder), **settings)
    return load_family(config, torch.device(device), dtype or torch.float32)


def write_images(folder, sizes, seed=0):
    """Writes random blobs of colour with captions."""
    folder.mkdir(parents=True, exist_ok=True)
    rng = random.Random(seed)
    for index, (width, height) in enumerate(sizes):
        low = np.array(
            [[[rng.randrange(256) for _ in range(3)] for _ in range(4)] for _ in range(4)]
        )
        image = Image.fromarray(low.astype(np.uint8)).resize(
            (width, height), Image.Resampling.BICUBIC
        )
        image.save(folder / f"{index:02d}.png")
        (folder / f"{index:02d}.txt").write_text(f"blob {index}, bright, round", encoding="utf-8")
    return folder


@pytest.fixture(scope="session")
def pico(tmp_path_factory):
    return build_pico(tmp_path_factory.mktemp("pico") / "model")


@pytest.fixture(scope="session")
def pico_v(tmp_path_factory):
    return build_pico(tmp_path_factory.mktemp("pico-v") / "model", prediction="v_prediction")


@pytest.fixture(scope="session")
def pico_xl(tmp_path_factory):
    return build_pico_xl(tmp_path_factory.mktemp("pico-xl") / "model")


@pytest.fixture
def images(tmp_path):
    return write_images(tmp_path / "images", [(32, 32)] * 6)


@pytest.fixture
def settings(pico, images):
    """A run of four steps on the small model: the tree that tests change."""
    return {
        "name": "pico",
        "base_model": {"path": str(pico), "precision": "fp32"},
        "dataset": {"path": str(images), "trigger": "zorp", "resolution": 32, "bucket_step": 4},
        "adapter": {"rank": 4, "alpha": 2.0, "conv_rank": 2, "conv_alpha": 3.0, "text_rank": 2},
        "train": {"steps": 4, "batch_size": 2, "device": "cpu", "log_every_steps": 1},
        "samples": {"every_steps": 0, "inference_steps": 2},
        "output": {"checkpoint_every_steps": 2, "precision": "fp32"},
    }


@pytest.fixture
def make_run(tmp_path, settings):
    """Returns a function that creates a run, with `--set`-like changes."""
    from trainer.config import layer_config
    from trainer.runs import create_run

    def make(*assignments, folder="runs"):
        config = layer_config(settings=settings, assignments=assignments)
        return create_run(tmp_path / folder, config)

    return make


@pytest.fixture
def cache(tmp_path):
    return tmp_path / "cache"


@contextlib.contextmanager
def asking(run, wishes):
    """Files the requests of `wishes` (by step) while the run trains in this process.

    One that is a function is called instead.
    """
    from trainer.runs import request
    from trainer.training import loop

    real = loop.take_step

    def take_and_ask(session, batches):
        loss = real(session, batches)
        for wish in wishes.get(session.state.step, ()):
            wish() if callable(wish) else request(run.path, wish)
        return loss

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loop, "take_step", take_and_ask)
        yield
