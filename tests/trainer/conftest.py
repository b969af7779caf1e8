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
    from diffusers import AutoencoderKL, UNet2DConditionModel
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
    AutoencoderKL(
        block_out_channels=(8, 8),
        down_block_types=("DownEncoderBlock2D",) * 2,
        up_block_types=("UpDecoderBlock2D",) * 2,
        norm_num_groups=4,
        sample_size=16,
    ).save_pretrained(folder / "vae")
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
    scheduler = json.loads((STARTER / "scheduler" / "scheduler_config.json").read_text())
    scheduler["prediction_type"] = prediction
    (folder / "scheduler").mkdir()
    (folder / "scheduler" / "scheduler_config.json").write_text(json.dumps(scheduler))
    shutil.copy(STARTER / "model_index.json", folder / "model_index.json")
    return folder


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
    """Files the requests of `wishes` (by step) while the run trains in this process."""
    from trainer import loop
    from trainer.runs import request

    real = loop.take_step

    def take_and_ask(session, batches):
        loss = real(session, batches)
        for wish in wishes.get(session.state.step, ()):
            request(run.path, wish)
        return loss

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loop, "take_step", take_and_ask)
        yield
