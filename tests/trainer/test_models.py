"""Base models: what is wrong with a folder is told before anything is loaded."""

import json
import shutil

import pytest
import torch

from tests.trainer.conftest import build_pico, load_plain
from trainer.device import open_device_context
from trainer.models import ModelError, check_base_model
from trainer.runs import RunError

CPU = torch.device("cpu")


@pytest.fixture
def model(tmp_path, pico):
    return shutil.copytree(pico, tmp_path / "model")


@pytest.mark.parametrize("part", ["unet", "vae", "text_encoder", "tokenizer", "scheduler"])
def test_a_missing_part_is_named(model, part):
    shutil.rmtree(model / part)
    with pytest.raises(ModelError, match=f"lacks its folder {part}/"):
        check_base_model(model)


@pytest.mark.parametrize(
    "file", ["unet/config.json", "vae/config.json", "scheduler/scheduler_config.json"]
)
def test_a_missing_config_is_named(model, file):
    (model / file).unlink()
    with pytest.raises(ModelError, match=f"lacks {file}"):
        check_base_model(model)


def test_missing_weights_are_named(model):
    (model / "unet" / "diffusion_pytorch_model.safetensors").unlink()
    with pytest.raises(ModelError, match="lacks unet/diffusion_pytorch_model"):
        check_base_model(model)


def test_pickled_weights_are_refused_with_the_way_out(model):
    weights = model / "unet" / "diffusion_pytorch_model.safetensors"
    weights.rename(weights.with_suffix(".bin"))
    with pytest.raises(ModelError, match=r"pickle.*Convert"):
        check_base_model(model)


def test_truncated_weights_are_told(model):
    weights = model / "unet" / "diffusion_pytorch_model.safetensors"
    weights.write_bytes(weights.read_bytes()[:1000])
    with pytest.raises(ModelError, match="cannot be loaded"):
        load_plain(model)


def test_damaged_json_is_told(model):
    (model / "model_index.json").write_text("{")
    with pytest.raises(ModelError, match=r"model_index\.json is damaged"):
        check_base_model(model)


def change(path, **values):
    data = json.loads(path.read_text())
    path.write_text(json.dumps({**data, **values}))


def test_models_we_cannot_train_are_refused_by_kind(model):
    change(model / "unet" / "config.json", in_channels=9)
    with pytest.raises(ModelError, match="inpainting"):
        check_base_model(model)
    change(model / "model_index.json", text_encoder_2=["transformers", "CLIPTextModel"])
    with pytest.raises(ModelError, match=r"Choose an SD 1\.x, SD 2\.x or SDXL"):
        check_base_model(model)


def test_nothing_and_an_empty_file_are_refused(tmp_path):
    with pytest.raises(ModelError, match="There is no base model"):
        check_base_model(tmp_path / "nowhere")
    (tmp_path / "model.safetensors").touch()
    with pytest.raises(ModelError, match="cut short"):
        check_base_model(tmp_path / "model.safetensors")


def test_family_and_prediction_are_read_from_the_folder(tmp_path, pico):
    assert check_base_model(pico).family == "sd15"
    wide = build_pico(
        tmp_path / "wide", prediction="v_prediction", width=1024, linear_projection=True
    )
    info = check_base_model(wide)
    assert (info.family, info.prediction) == ("sd2", "v_prediction")
    assert check_base_model(wide, "sd15", "epsilon").prediction == "epsilon"
    family = load_plain(wide)
    conditioning = family.encode_captions(["a", "b"])
    latents = torch.randn(2, 4, 8, 8)
    assert family.predict(latents, torch.tensor([1, 2]), conditioning).shape == latents.shape


def test_the_pipeline_draws_what_diffusers_draws(pico):
    import numpy as np
    from diffusers import DDIMScheduler, StableDiffusionPipeline

    from trainer.models.family import GenerationRequest

    pipeline = StableDiffusionPipeline.from_pretrained(pico, safety_checker=None)
    pipeline.scheduler = DDIMScheduler.from_config(pipeline.scheduler.config, clip_sample=False)
    theirs = pipeline(
        "x",
        generator=torch.Generator("cpu").manual_seed(3),
        num_inference_steps=3,
        width=32,
        height=32,
    ).images[0]
    family = load_plain(pico)
    ours = family.generate(GenerationRequest("x", "", 3, 3, 7.5, 32, 32))
    assert np.abs(np.asarray(ours).astype(int) - np.asarray(theirs).astype(int)).max() <= 1


@pytest.mark.parametrize(
    ("device", "precision", "says"),
    [("cpu", "fp16", "fp32 or bf16"), ("cuda:77", "auto", "CUDA"), ("mps", "auto", "mps")],
)
def test_a_device_that_is_not_there_is_told(device, precision, says):
    with pytest.raises(RunError, match=says):
        open_device_context(device, precision)
