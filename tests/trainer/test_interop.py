"""Exported files in diffusers' own loaders: every key matched, every layer's weight as trained."""

import contextlib
import logging

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file

from tests.trainer.conftest import build_pico
from trainer.export import ExportError, name_layers, write_kohya, write_peft
from trainer.formats.families import SD15
from trainer.formats.unet_names import UNetNames
from trainer.models.layers import list_adaptable_layers

FAMILIES = ("sd15", "sd2", "sdxl")


@pytest.fixture(scope="session")
def pico_2(tmp_path_factory):
    return build_pico(tmp_path_factory.mktemp("pico-2") / "model", width=64, linear_projection=True)


@pytest.fixture
def folders(pico, pico_2, pico_xl):
    return {"sd15": pico, "sd2": pico_2, "sdxl": pico_xl}


def open_pipeline(folder, family):
    from diffusers import StableDiffusionPipeline, StableDiffusionXLPipeline

    if family == "sdxl":
        return StableDiffusionXLPipeline.from_pretrained(folder)
    return StableDiffusionPipeline.from_pretrained(
        folder, safety_checker=None, requires_safety_checker=False
    )


def adapted_models(pipeline):
    names = ("unet", "text_encoder", "text_encoder_2")
    return {name: model for name in names if (model := getattr(pipeline, name, None)) is not None}


def weights_of(pipeline):
    targets = list_adaptable_layers(adapted_models(pipeline), SD15.adaptable_blocks)
    return {target.name: target.layer.weight.detach().clone() for target in targets}


def draw_factors(weights):
    """Random factors for every layer, with ranks and scales that differ between neighbours."""
    generator = torch.Generator().manual_seed(0)
    factors = {}
    for index, (layer, weight) in enumerate(weights.items()):
        rank = (4, 2, 4, 3, 1)[index % 5]
        outputs, inputs, *kernel = weight.shape
        factors[layer] = (
            torch.randn(rank, inputs, *kernel, generator=generator) * 0.1,
            torch.randn(outputs, rank, *(1,) * len(kernel), generator=generator) * 0.1,
            (0.5, 1.7, 0.25, 1.0)[index % 4],
        )
    return factors


def change_of(factors):
    down, up, scale = factors
    return scale * torch.einsum("or,ri->oi", up.flatten(1), down.flatten(1))


@contextlib.contextmanager
def no_complaint():
    """Fails when diffusers, transformers or PEFT complain while they load."""
    told = []
    handler = logging.Handler(logging.WARNING)
    handler.emit = lambda record: told.append(record.getMessage())
    loggers = [logging.getLogger(name) for name in ("diffusers", "transformers", "peft")]
    levels = [each.level for each in loggers]
    for each in loggers:
        each.addHandler(handler)
        each.setLevel(logging.WARNING)
    try:
        yield
    finally:
        for each, level in zip(loggers, levels, strict=True):
            each.removeHandler(handler)
            each.setLevel(level)
    assert told == []


def write(kind, path, factors, pipeline, family, precision="fp32"):
    if kind == "peft":
        write_peft(path, factors, {"ss_v2": "False"}, precision)
        return
    names = name_layers(factors, family, UNetNames.from_config(dict(pipeline.unet.config)))
    write_kohya(path, factors, names, {"ss_v2": "False"}, precision)


@pytest.mark.parametrize("kind", ["kohya", "peft"])
@pytest.mark.parametrize("family", FAMILIES)
def test_diffusers_merges_what_was_exported(tmp_path, folders, family, kind):
    pipeline = open_pipeline(folders[family], family)
    before = weights_of(pipeline)
    factors = draw_factors(before)
    write(kind, tmp_path / "x.safetensors", factors, pipeline, family)
    with no_complaint():
        pipeline.load_lora_weights(tmp_path, weight_name="x.safetensors")
    pipeline.fuse_lora()
    pipeline.unload_lora_weights()
    after = weights_of(pipeline)
    assert after.keys() == before.keys()
    for layer, weight in before.items():
        wanted = change_of(factors[layer]).view(weight.shape)
        difference = (after[layer] - weight - wanted).norm() / wanted.norm()
        assert difference < 1e-4, f"{layer} is off by {difference:.2g}"


@pytest.mark.parametrize("family", FAMILIES)
def test_a_peft_file_without_its_header_keeps_its_scales(tmp_path, folders, family):
    # Older versions of diffusers do not read the header; recent ones then take alpha = rank.
    from safetensors.torch import save_file

    pipeline = open_pipeline(folders[family], family)
    before = weights_of(pipeline)
    factors = draw_factors(before)
    write_peft(tmp_path / "x.safetensors", factors, {}, "fp32")
    save_file(load_file(tmp_path / "x.safetensors"), tmp_path / "bare.safetensors")
    pipeline.load_lora_weights(tmp_path, weight_name="bare.safetensors")
    pipeline.fuse_lora(components=["unet"])
    pipeline.unload_lora_weights()
    after = weights_of(pipeline)
    for layer in (each for each in before if each.startswith("unet.")):
        wanted = change_of(factors[layer]).view(before[layer].shape)
        assert (after[layer] - before[layer] - wanted).norm() < 1e-4 * wanted.norm(), layer


@pytest.mark.parametrize("kind", ["kohya", "peft"])
def test_layers_that_are_not_in_the_file_stay_as_they_were(tmp_path, folders, kind):
    pipeline = open_pipeline(folders["sdxl"], "sdxl")
    before = weights_of(pipeline)
    some = [n for n in before if ".attn2." in n or ".self_attn." in n]
    factors = draw_factors({layer: before[layer] for layer in some})
    write(kind, tmp_path / "x.safetensors", factors, pipeline, "sdxl")
    with no_complaint():
        pipeline.load_lora_weights(tmp_path, weight_name="x.safetensors")
    pipeline.fuse_lora()
    pipeline.unload_lora_weights()
    after = weights_of(pipeline)
    changed = {layer for layer in before if not torch.equal(before[layer], after[layer])}
    assert changed == set(some)


def test_a_peft_header_describes_only_what_every_version_knows(tmp_path, folders):
    import json

    factors = draw_factors(weights_of(open_pipeline(folders["sdxl"], "sdxl")))
    write_peft(tmp_path / "x.safetensors", factors, {}, "fp16")
    with safe_open(tmp_path / "x.safetensors", "pt") as file:
        described = json.loads(file.metadata()["lora_adapter_metadata"])
    assert {key.partition(".")[0] for key in described} == {
        "unet", "text_encoder", "text_encoder_2"
    }  # fmt: skip
    assert {key.partition(".")[2] for key in described} == {
        "r", "lora_alpha", "target_modules", "rank_pattern", "alpha_pattern"
    }  # fmt: skip
    assert not any("text_model" in module for module in described["text_encoder.target_modules"])


def test_a_kind_that_peft_files_cannot_hold_is_refused(tmp_path):
    layer = "unet.mid_block.attentions.0.proj_in"
    with pytest.raises(ExportError, match=r"cannot be written in the diffusers format.*kohya"):
        write_peft(tmp_path / "x.safetensors", {layer: {"hada_w1_a": torch.ones(2, 2)}}, {}, "fp16")
    assert list(tmp_path.iterdir()) == []


def test_a_kind_with_parts_of_its_own_is_written_as_it_is(tmp_path):
    layer = "unet.mid_block.attentions.0.proj_in"
    parts = {"lokr_w1": torch.ones(2, 2), "lokr_w2": torch.ones(3, 3), "alpha": torch.tensor(13.23)}
    write_kohya(tmp_path / "x.safetensors", {layer: parts}, {layer: "lora_unet_x"}, {}, "bf16")
    tensors = load_file(tmp_path / "x.safetensors")
    assert tensors["lora_unet_x.alpha"].item() == pytest.approx(13.23)
    assert tensors["lora_unet_x.lokr_w1"].dtype == torch.bfloat16
    assert set(tensors) == {f"lora_unet_x.{part}" for part in parts}
