"""What the start would refuse about a base model is refused before, from its header alone."""

import json

import pytest
import torch
from safetensors.torch import load_file, save_file

from app.cli import main
from tests.trainer.conftest import write_images
from tests.trainer.full_size import write_random_checkpoint, write_small_configs
from trainer.commands import describe_model, estimate_run
from trainer.config import BaseModelConfig, layer_config
from trainer.models import ModelError, check_base_model, check_config, check_parts, shipped
from trainer.models.loading import load_parts

CPU = torch.device("cpu")
UNET, VAE = "model.diffusion_model.", "first_stage_model."
CLIP = {"sd15": "cond_stage_model.transformer.", "sdxl": "conditioner.embedders.0.transformer."}
TOKENS = "text_model.embeddings.token_embedding.weight"


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    """Checkpoints of miniatures, while the package's configs are theirs."""
    folder = tmp_path_factory.mktemp("small")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(shipped, "CONFIG_FOLDER", write_small_configs(folder / "configs"))
        for family in ("sd15", "sdxl"):
            write_random_checkpoint(folder / f"{family}.safetensors", family, torch.float16)
        yield folder


@pytest.fixture
def write(small, tmp_path):
    """Returns a function that writes a changed copy of a checkpoint."""

    def write_copy(family, change, name="model"):
        path = tmp_path / f"{name}.safetensors"
        save_file(change(load_file(small / f"{family}.safetensors")), path)
        return path

    return write_copy


def without(*prefixes):
    return lambda tensors: {k: v for k, v in tensors.items() if not k.startswith(prefixes)}


def adding(**names):
    extra = {name.replace("__", "."): value for name, value in names.items()}
    return lambda tensors: tensors | extra


def renaming(old, new):
    return lambda tensors: {k.replace(old, new, 1): v for k, v in tensors.items()}


def replacing(name, shape, dtype=torch.float16):
    return lambda tensors: tensors | {name: torch.zeros(shape, dtype=dtype)}


ONE = torch.zeros(1)
# What is done to a file, and what is wrong then, with the remedy.
REFUSED = {
    "a tensor is missing": (
        "sd15", without(f"{UNET}out."), "lacks 4 tensors of an SD 1.x model.*Download it again",
    ),
    "the VAE lacks some": (
        "sd15", without(f"{VAE}decoder.up."), r"lacks \d+ tensors.*SD 1.x as base_model\.vae",
    ),
    "the VAE has another width": (
        "sd15", replacing(f"{VAE}post_quant_conv.weight", (16, 16, 1, 1)),
        r"shape \[16, 16, 1, 1\].*Give a VAE made for SD 1.x as base_model\.vae",
    ),
    "the VAE has too many": (
        "sd15", adding(first_stage_model__extra=ONE), r"VAE made for SD 1.x as base_model\.vae",
    ),
    "there is no VAE": ("sdxl", without(VAE), r"contains no VAE. Give one as base_model\.vae"),
    "there is only a UNet": (
        "sdxl", without(VAE, "conditioner."), "SDXL and no text encoder. Choose the whole check",
    ),
    "there is only a bare UNet": (
        "sdxl",
        lambda tensors: {
            k.removeprefix("model."): v for k, v in tensors.items() if k.startswith(UNET)
        },
        "is a UNet without text encoder and VAE. Choose the whole checkpoint",
    ),
    "the second text encoder is missing": (
        "sdxl", without("conditioner.embedders.1."), "lacks its second text encoder",
    ),
    "the first text encoder is missing": (
        "sdxl", without("conditioner.embedders.0."), r"lacks \d+ tensors of an SDXL model",
    ),
    "the first text encoder has other names": (
        "sdxl", renaming(CLIP["sdxl"], "text_encoders.clip_l.transformer."),
        r"names its text encoder text_encoders\.…, as ComfyUI does.*node Save Checkpoint",
    ),
    "all names have something in front": (
        "sd15", renaming("", "state_dict."), r"names its UNet state_dict\.model\.diffusion_model",
    ),
    "the UNet's names have something in front": (
        "sd15", renaming("model.", "model.model."), "names its UNet model.model.diffusion_model",
    ),
    "scaled fp8": (
        "sdxl", adding(scaled_fp8=torch.zeros(2)), r"quantised \(scaled fp8\).*in fp16 or bf16",
    ),
    "scaled fp8 of a newer form": (
        "sd15", adding(model__diffusion_model__out__2__weight_scale=ONE), r"\(scaled fp8\)",
    ),
    "4 bits": (
        "sd15", adding(**{f"{UNET}out.2.weight.absmax": ONE}), r"quantised \(4 bits",
    ),
    "integers": (
        "sd15", replacing(f"{UNET}out.2.bias", (4,), torch.uint8), r"stored as U8 \(a quantised",
    ),
    "a tensor too many": (
        "sd15", adding(embedding_manager__x=ONE), "1 tensor that does not belong .*embedding_m",
    ),
    "no middle": (
        "sdxl", without(f"{UNET}middle_block.1.", f"{UNET}middle_block.2."), "is a pruned SDXL",
    ),
    "no attention in the middle": (
        "sdxl", without(f"{UNET}middle_block.1."), "is a pruned SDXL",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_the_early_check_refuses_what_the_start_would(write, case):
    family, change, says = REFUSED[case]
    path = write(family, change)
    with pytest.raises(ModelError, match=says) as late:
        load_parts(check_base_model(path), CPU, torch.float32)
    listed = describe_model(path)
    assert (listed.family, listed.message) == ("", str(late.value))
    assert listed.message.endswith(".")


@pytest.mark.parametrize("case", ["a tensor is missing", "scaled fp8", "the VAE lacks some"])
def test_estimate_and_create_only_refuse_it_too(write, case, tmp_path, capsys):
    family, change, says = REFUSED[case]
    path = write(family, change)
    settings = {"base_model": {"path": str(path)}, "samples": {"every_steps": 0}}
    with pytest.raises(ModelError, match=says):
        estimate_run(layer_config(settings=settings), tmp_path / "models", "cpu", 10**12)
    images = write_images(tmp_path / "images", [(64, 64)])
    words = ["train", f"--workspace={tmp_path}", f"--dataset={images}", f"--base-model={path}"]
    assert main([*words, "--create-only"]) != 0
    assert path.name in capsys.readouterr().err
    assert not (tmp_path / "runs").exists()
    assert main(["inspect", str(path), f"--workspace={tmp_path}"]) == 1
    assert path.name in capsys.readouterr().out


def test_what_can_be_loaded_passes(small):
    for family in ("sd15", "sdxl"):
        path = small / f"{family}.safetensors"
        check_parts(check_base_model(path))
        listed = describe_model(path)
        assert (listed.family, listed.message, listed.notes) == (family, "", ())
        assert not listed.certain
        assert "assumed, and measured before the first step" in str(listed)


def test_another_vae_is_the_remedy_that_it_is_said_to_be(write, small):
    path = write("sd15", without(f"{VAE}decoder.up."))
    vae = str(small / "sd15.safetensors")
    info = check_config(BaseModelConfig(path=str(path), vae=vae))
    check_parts(info)
    load_parts(info, CPU, torch.float32)


@pytest.mark.parametrize("family", ["sd15", "sdxl"])
def test_tokens_that_other_programs_added_are_left_out(write, small, family):
    name = CLIP[family] + TOKENS
    rows = load_file(small / f"{family}.safetensors")[name]
    extra = torch.full((3, rows.shape[1]), 9.0, dtype=rows.dtype)
    path = write(family, lambda tensors: tensors | {name: torch.cat([rows, extra])})
    listed = describe_model(path)
    assert (listed.family, listed.message) == (family, "")
    assert "holds 3 tokens more than CLIP knows" in listed.notes[0]
    ours = load_parts(check_base_model(path), CPU, torch.float32).text_encoders[0]
    theirs = load_parts(
        check_base_model(small / f"{family}.safetensors"), CPU, torch.float32
    ).text_encoders[0]
    for key, value in theirs.state_dict().items():
        assert torch.equal(ours.state_dict()[key], value), key


@pytest.mark.parametrize(
    ("name", "mark"),
    [
        ("sd_xl_turbo_1.0_fp16", "turbo"),
        ("dreamshaperXL_lightningDPMSDE", "lightning"),
        ("realvis_hyper8", "hyper"),
        ("LCM_Dreamshaper_v7", "lcm"),
        ("epicrealismXL-dmd2", "dmd2"),
        ("dreamy", ""),
        ("calcmodel", ""),
        ("hypernetic", ""),
    ],
)
def test_distilled_models_get_a_note(write, name, mark):
    listed = describe_model(write("sdxl", lambda tensors: tensors, name))
    assert listed.family == "sdxl"
    assert [f"by its name ({mark})" in note for note in listed.notes] == ([True] if mark else [])
    assert all("Train on the SDXL model that it was made from" in note for note in listed.notes)


def test_create_only_prints_what_a_person_should_know(write, tmp_path, capsys):
    path = write("sd15", lambda tensors: tensors, "some_turbo")
    images = write_images(tmp_path / "images", [(64, 64)])
    words = ["train", f"--workspace={tmp_path}", f"--dataset={images}", f"--base-model={path}"]
    more = ["--set=base_model.prediction=v_prediction", "--set=objective.noise_offset=0.1"]
    assert main([*words, *more, "--create-only"]) == 0
    notes = [line for line in capsys.readouterr().out.splitlines() if "Warning: " in line]
    assert len(notes) == 3
    assert "by its name (turbo)" in notes[0]
    assert "zero terminal SNR" in notes[1]
    assert "objective.noise_offset = 0.1" in notes[2]


def test_estimate_lists_warnings(pico, tmp_path):
    config = layer_config(
        settings={"base_model": {"path": str(pico), "prediction": "flow"}},
        assignments=["dataset.resolution=32", "dataset.bucket_step=4", "samples.every_steps=0"],
    )
    report = estimate_run(config, tmp_path, "cpu", 10**12)
    assert "objective.weighting = min_snr" in "".join(report.warnings)
    assert all(text in report.to_text() for text in report.warnings)
    assert json.loads(json.dumps(report.to_dict()))["warnings"] == report.warnings
