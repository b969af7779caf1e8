"""What a base model is, from its header alone; and what is none."""

import json
import os
import shutil
import tracemalloc

import pytest
import torch
from safetensors.torch import save_file

from tests.trainer.full_size import list_stored
from tests.trainer.test_formats import write_file
from trainer.models import ModelError, check_base_model
from trainer.models.loading import build_model
from trainer.models.shipped import read_config

UNET = "model.diffusion_model."
TO_K = f"{UNET}input_blocks.4.1.transformer_blocks.0.attn2.to_k.weight"
ENCODERS = {
    "sd15": "cond_stage_model.transformer.text_model.final_layer_norm.bias",
    "sd2": "cond_stage_model.model.ln_final.bias",
    "sdxl": "conditioner.embedders.1.model.ln_final.bias",
}
WIDTHS = {"sd15": 768, "sd2": 1024, "sdxl": 2048}


def checkpoint(family):
    """Returns the few tensors of a checkpoint that tell what it is."""
    return {
        f"{UNET}input_blocks.0.0.weight": torch.zeros(2, 4, 3, 3),
        TO_K: torch.zeros(2, WIDTHS[family]),
        ENCODERS[family]: torch.zeros(1),
        "first_stage_model.decoder.conv_in.weight": torch.zeros(1),
    }


@pytest.fixture
def check(tmp_path):
    """Returns a function that writes tensors to a file and checks it."""

    def write_and_check(tensors, metadata=None, name="model.safetensors", **settings):
        save_file(tensors, tmp_path / name, metadata=metadata)
        return check_base_model(tmp_path / name, **settings)

    return write_and_check


@pytest.mark.parametrize("family", WIDTHS)
def test_the_family_is_read_from_widths_and_text_encoders(check, family):
    info = check(checkpoint(family))
    assert (info.family, info.layout) == (family, "file")
    assert len(info.text_encoders) == (2 if family == "sdxl" else 1)
    assert info.unet["cross_attention_dim"] == WIDTHS[family]
    assert info.scheduler["prediction_type"] == info.prediction


STATED, ASSUMED, ASKED = (True, False), (False, False), (False, True)  # certain, and a question
OLD_V, OLD_512 = "stable-diffusion-v2-768-v", "stable-diffusion-v2-512"
KOHYA = {"ss_v_parameterization": "True", "ss_zero_terminal_snr": "True"}


@pytest.mark.parametrize(
    ("family", "add", "metadata", "name", "prediction", "zero_snr", "known"),
    [
        ("sd15", (), {}, "m", "epsilon", False, ASSUMED),
        ("sdxl", (), {}, "m", "epsilon", False, ASSUMED),
        ("sd2", (), {}, "m", "v_prediction", False, ASKED),
        ("sdxl", ("v_pred",), {}, "m", "v_prediction", False, STATED),
        ("sdxl", ("v_pred", "ztsnr"), {}, "m", "v_prediction", True, STATED),
        ("sdxl", ("ztsnr",), {}, "m", "epsilon", False, ASSUMED),
        ("sdxl", (), {"modelspec.prediction_type": "v"}, "m", "v_prediction", False, STATED),
        ("sd2", (), {"modelspec.prediction_type": "epsilon"}, "m", "epsilon", False, STATED),
        ("sd2", (), {"modelspec.architecture": OLD_V}, "m", "v_prediction", False, STATED),
        ("sd2", (), {"modelspec.architecture": OLD_512}, "m", "epsilon", False, STATED),
        ("sdxl", (), KOHYA, "m", "v_prediction", True, STATED),
        ("sdxl", (), {}, "noob_v-pred_1", "v_prediction", False, ASKED),
        ("sd15", (), {}, "fluffVPred", "v_prediction", False, ASKED),
    ],
)
def test_the_prediction_is_read_assumed_or_asked_for(
    check, family, add, metadata, name, prediction, zero_snr, known
):
    tensors = checkpoint(family) | {key: torch.tensor([]) for key in add}
    info = check(tensors, metadata, f"{name}.safetensors")
    assert (info.prediction, info.zero_snr) == (prediction, zero_snr)
    assert (info.certain, bool(info.question)) == known
    if info.question:
        assert "v (likely), the noise or a flow" in info.question
        assert "base_model.prediction" in info.question


def test_what_the_person_says_about_the_prediction_counts(check):
    info = check(checkpoint("sd2"), prediction="epsilon")
    assert (info.prediction, info.certain, info.question) == ("epsilon", True, "")
    assert info.scheduler["prediction_type"] == "epsilon"
    assert info.unet["sample_size"] * 8 == 512
    assert check(checkpoint("sd2")).unet["sample_size"] * 8 == 768
    info = check(checkpoint("sdxl"), prediction="v_prediction")
    assert info.prediction == "v_prediction"
    marked = checkpoint("sdxl") | {"v_pred": torch.tensor([]), "ztsnr": torch.tensor([])}
    assert not check(marked, prediction="epsilon").zero_snr


def test_a_family_that_the_file_contradicts_is_refused(check):
    assert check(checkpoint("sdxl"), family="sdxl").family == "sdxl"
    with pytest.raises(ModelError, match=r"is an SDXL model, and base_model\.family is sd15"):
        check(checkpoint("sdxl"), family="sd15")


@pytest.mark.parametrize(
    ("tensors", "says"),
    [
        ({"lora_unet_mid_block_attentions_0_proj_in.lora_down.weight": (1,)}, "adapter file"),
        ({"unet.mid_block.attentions.0.to_q.lora_A.weight": (1,)}, "adapter file"),
        ({"unet.down_blocks.0.attn1.processor.to_q_lora.up.weight": (1,)}, "adapter file"),
        ({"lora_unet_x.hada_w1_a": (1,), "lora_unet_x.alpha": ()}, "adapter file"),
        ({"lora_unet_x.lokr_w1": (1,)}, "adapter file"),
        ({f"{UNET}joint_blocks.0.x_block.attn.qkv.weight": (1,)}, "Stable Diffusion 3"),
        ({f"{UNET}double_blocks.0.img_attn.norm.key_norm.scale": (1,)}, "Flux"),
        ({"double_blocks.0.img_attn.norm.key_norm.scale": (1,)}, "Flux"),
        ({"conditioner.embedders.0.model.text_projection": (1,)}, "SDXL refiner"),
        ({f"{UNET}out.2.bias": (1,), "edm_mean": (1,)}, "EDM noise schedule"),
        ({f"{UNET}out.2.bias": (1,), "edm_vpred.sigma_max": ()}, "EDM noise schedule"),
        ({"clip_txt_mapper.weight": (1,)}, "Stable Cascade"),
        ({"control_model.time_embed.0.weight": (1,)}, "ControlNet"),
        ({"down_blocks.0.motion_modules.0.norm.weight": (1,)}, "AnimateDiff"),
        ({"emb_params": (1, 768)}, "text embedding"),
        ({"clip_l": (1, 768), "clip_g": (1, 1280)}, "text embedding"),
        ({"first_stage_model.encoder.conv_in.weight": (1,)}, r"a VAE alone.*base_model\.vae"),
        ({"decoder.conv_in.weight": (1,)}, "a VAE alone"),
        ({"down_blocks.0.resnets.0.conv1.weight": (1,)}, "one part of a model in the diffusers"),
        ({"text_model.encoder.layers.0.mlp.fc1.weight": (1,)}, "one part of a model"),
        ({"input_blocks.0.0.weight": (1,)}, "without text encoder and VAE"),
        ({"model.layers.0.weight": (1,)}, "not a Stable Diffusion checkpoint"),
        ({}, "not a Stable Diffusion checkpoint"),
        ({f"{UNET}input_blocks.0.0.weight": (2, 9, 3, 3)}, r"takes 9 channels \(an inpainting"),
        ({f"{UNET}input_blocks.0.0.weight": (2, 8, 3, 3)}, "takes 8 channels"),
        ({TO_K: (2, 1280)}, "width 1280"),
        ({f"{UNET}out.2.bias": (4,)}, "width 0"),
        ({TO_K: (2, 768)}, r"holds a UNet of SD 1\.x and no text encoder"),
        ({TO_K: (2, 768), ENCODERS["sdxl"]: (1,)}, r"mixes families: its UNet is of SD 1\.x"),
    ],
)
def test_what_is_no_base_model_is_refused_by_kind(check, tensors, says):
    with pytest.raises(ModelError, match=says) as caught:
        check({name: torch.zeros(shape) for name, shape in tensors.items()})
    assert "model.safetensors" in str(caught.value)
    assert str(caught.value).endswith(".")


@pytest.mark.parametrize("name", ["model.ckpt", "model.pt", "model.bin", "model.safetensors"])
def test_pickles_are_refused_with_the_way_out_whatever_their_name(tmp_path, name):
    torch.save({"a": torch.zeros(1)}, tmp_path / name)
    with pytest.raises(ModelError, match=r"is a pickle.*Convert it to safetensors first: load"):
        check_base_model(tmp_path / name)


def test_damaged_files_are_refused_without_allocating_what_they_announce(tmp_path):
    header = {"a": {"dtype": "F32", "shape": [2**38], "data_offsets": [0, 2**40]}}
    files = {
        "announces a header": write_file(tmp_path / "long.safetensors", b"", b"", 2**40),
        "not JSON": write_file(tmp_path / "text.safetensors", b"no"),
        "cut short": write_file(tmp_path / "cut.safetensors", header, bytes(100)),
    }
    tracemalloc.start()
    for says, path in files.items():
        with pytest.raises(ModelError, match=says):
            check_base_model(path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 2_000_000


@pytest.mark.parametrize(
    ("index", "says"),
    [
        ({"_class_name": "FluxPipeline", "transformer": ["d", "F"], "vae": ["d", "A"]}, "FluxPipe"),
        (
            {
                "_class_name": "StableDiffusionXLImg2ImgPipeline",
                "unet": ["diffusers", "UNet2DConditionModel"],
                "vae": ["diffusers", "AutoencoderKL"],
                "text_encoder": [None, None],
                "text_encoder_2": ["transformers", "CLIPTextModelWithProjection"],
            },
            "StableDiffusionXLImg2ImgPipeline",
        ),
        (
            {
                "_class_name": "IFPipeline",
                "unet": ["diffusers", "UNet2DConditionModel"],
                "text_encoder": ["transformers", "T5EncoderModel"],
            },
            "IFPipeline",
        ),
        ({}, "None"),
    ],
)
def test_a_folder_of_another_pipeline_is_refused_by_its_name(tmp_path, index, says):
    (tmp_path / "model_index.json").write_text(json.dumps(index))
    with pytest.raises(ModelError, match=says) as caught:
        check_base_model(tmp_path)
    assert "Choose an SD 1.x, SD 2.x or SDXL model" in str(caught.value)


def test_zero_snr_is_read_from_a_folders_scheduler(pico_v, tmp_path):
    model = shutil.copytree(pico_v, tmp_path / "model")
    assert not check_base_model(model).zero_snr
    scheduler = model / "scheduler" / "scheduler_config.json"
    config = json.loads(scheduler.read_text()) | {"rescale_betas_zero_snr": True}
    scheduler.write_text(json.dumps(config))
    info = check_base_model(model)
    assert (info.zero_snr, info.certain, info.layout) == (True, True, "folder")
    assert not check_base_model(model, prediction="epsilon").zero_snr


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read every file")
def test_a_file_that_may_not_be_read_is_told(tmp_path):
    path = write_file(tmp_path / "model.safetensors", {})
    path.chmod(0)
    with pytest.raises(ModelError, match="cannot be read: permission was denied"):
        check_base_model(path)


def test_a_folder_of_one_text_encoder_is_not_sdxl(pico):
    with pytest.raises(ModelError, match="is not of the family sdxl: it has one text encoder"):
        check_base_model(pico, family="sdxl")


@pytest.mark.parametrize(
    ("family", "counts", "tensors"),
    [
        ("sd15", [859_520_964, 83_653_863, 123_060_480], 1130),
        ("sd2", [865_910_724, 83_653_863, 340_387_840], 1226),
        ("sdxl", [2_567_463_684, 83_653_863, 123_060_480, 694_659_840], 2513),
    ],
)
def test_shipped_configs_are_the_public_architectures(family, counts, tensors):
    config = read_config(family)
    names = ("unet", "vae", "text_encoder", "text_encoder_2")
    configs = [config["unet"], config["vae"], *config["text_encoders"]]
    models = [build_model(*row) for row in zip(names, configs, strict=False)]
    assert [sum(each.numel() for each in model.parameters()) for model in models] == counts
    # The published files hold as many, and position_ids, logit_scale and text_projection besides.
    assert len(list_stored(family)) == tensors
