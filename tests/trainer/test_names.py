"""Kohya names of whole architectures: complete, unique, and found again without the model."""

import pytest
import torch

from trainer.export import name_layers, recognise_layers
from trainer.formats.families import FAMILIES, SD15
from trainer.formats.spellings import SPELLINGS, parse_name, write_name
from trainer.formats.unet_names import SD_NAMES, SDXL_NAMES, UNetNames
from trainer.models.layers import list_adaptable_layers
from trainer.models.shipped import read_config

# What kohya's trainer can write, counted in its own models.
COUNTS = {"sd15": 350, "sd2": 416, "sdxl": 1052}
NAMES = {"sd15": SD_NAMES, "sd2": SD_NAMES, "sdxl": SDXL_NAMES}


@pytest.fixture(scope="module")
def layers():
    """Every adaptable layer of the full-size models, built without memory for their weights."""
    from diffusers import UNet2DConditionModel
    from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection

    found = {}
    for family in COUNTS:
        config = read_config(family)
        with torch.device("meta"):
            models = {"unet": UNet2DConditionModel(**config["unet"])}
            encoders = {
                "text_encoder": CLIPTextModel,
                "text_encoder_2": CLIPTextModelWithProjection,
            }
            for (name, build), each in zip(encoders.items(), config["text_encoders"], strict=False):
                models[name] = build(CLIPTextConfig(**each))
        assert UNetNames.from_config(config["unet"]) == NAMES[family]
        found[family] = [
            target.name for target in list_adaptable_layers(models, SD15.adaptable_blocks)
        ]
    return found


@pytest.mark.parametrize("family", COUNTS)
def test_every_layer_of_the_real_architecture_has_a_name_of_its_own(layers, family):
    names = name_layers(layers[family], family, NAMES[family])
    assert len(names) == len(set(names.values())) == COUNTS[family]


@pytest.mark.parametrize("family", COUNTS)
def test_layers_are_found_again_from_names_alone(layers, family):
    names = name_layers(layers[family], family, NAMES[family])
    assert recognise_layers(names.values(), NAMES[family]) == {
        name: layer for layer, name in names.items()
    }


@pytest.mark.parametrize("spelling", SPELLINGS)
@pytest.mark.parametrize("family", COUNTS)
def test_every_spelling_names_each_layer_and_is_parsed_to_it_again(layers, family, spelling):
    names = {}
    for layer in layers[family]:
        name = write_name(layer, SPELLINGS[spelling], FAMILIES[family], NAMES[family])
        if name is None:  # without the model in front, one of two text encoders has no name
            assert layer.startswith("text_encoder")
            continue
        parsed = parse_name(name, NAMES[family])
        assert parsed is not None, name
        assert (parsed.layer, name not in names) == (layer, True)
        names[name] = layer
    assert len([each for each in names.values() if each.startswith("unet.")]) == sum(
        layer.startswith("unet.") for layer in layers[family]
    )


@pytest.mark.parametrize("family", COUNTS)
def test_only_layers_that_every_program_knows_are_named(layers, family):
    outside = ("conv_in", "conv_out", "time_embedding", "add_embedding", "text_projection")
    assert not [layer for layer in layers[family] if any(word in layer for word in outside)]


@pytest.mark.parametrize("family", ["sd15", "sd2"])
def test_sd_writes_diffusers_blocks_and_one_text_encoder(layers, family):
    names = name_layers(layers[family], family, NAMES[family]).values()
    heads = {name.split("_", 3)[2] for name in names if name.startswith("lora_unet")}
    assert heads == {"down", "mid", "up"}
    text = [name for name in names if not name.startswith("lora_unet")]
    assert all(name.startswith("lora_te_text_model_encoder_layers_") for name in text)


def test_sdxl_writes_original_blocks_and_two_text_encoders(layers):
    names = name_layers(layers["sdxl"], "sdxl", SDXL_NAMES).values()
    heads = {name.split("_", 3)[2] for name in names if name.startswith("lora_unet")}
    assert heads == {"input", "middle", "output"}
    text = {name.partition("_encoder_layers_")[0] for name in names if "_te" in name}
    assert text == {"lora_te1_text_model", "lora_te2_text_model"}


@pytest.mark.parametrize(
    ("layer", "name"),
    [
        (
            "down_blocks.1.attentions.0.transformer_blocks.1.attn1.to_out.0",
            "input_blocks_4_1_transformer_blocks_1_attn1_to_out_0",
        ),
        ("down_blocks.0.resnets.1.time_emb_proj", "input_blocks_2_0_emb_layers_1"),
        ("down_blocks.1.downsamplers.0.conv", "input_blocks_6_0_op"),
        ("mid_block.attentions.0.proj_in", "middle_block_1_proj_in"),
        ("mid_block.resnets.1.conv2", "middle_block_2_out_layers_3"),
        ("up_blocks.0.upsamplers.0.conv", "output_blocks_2_2_conv"),
        ("up_blocks.2.resnets.2.conv_shortcut", "output_blocks_8_0_skip_connection"),
    ],
)
def test_sdxl_blocks_are_numbered_as_in_the_original_files(layer, name):
    found = name_layers([f"unet.{layer}"], "sdxl", SDXL_NAMES)
    assert found == {f"unet.{layer}": f"lora_unet_{name}"}


@pytest.mark.parametrize(
    "spelling",
    [
        "lora_unet_down_blocks_1_attentions_0_transformer_blocks_0_attn2_to_k",
        "lora_unet_input_blocks_4_1_transformer_blocks_0_attn2_to_k",
        "unet.down_blocks.1.attentions.0.transformer_blocks.0.attn2.to_k",
        "unet.down_blocks.1.attentions.0.transformer_blocks.0.attn2.processor.to_k",
        "down_blocks.1.attentions.0.transformer_blocks.0.attn2.processor.to_k",
        "base_model.model.down_blocks.1.attentions.0.transformer_blocks.0.attn2.to_k",
        "unet.base_model.model.down_blocks.1.attentions.0.transformer_blocks.0.attn2.to_k",
        "lycoris_down_blocks_1_attentions_0_transformer_blocks_0_attn2_to_k",
        "unet.input_blocks.4.1.transformer_blocks.0.attn2.to_k",
        "diffusion_model.input_blocks.4.1.transformer_blocks.0.attn2.to_k",
        "model.diffusion_model.input_blocks.4.1.transformer_blocks.0.attn2.to_k",
    ],
)
def test_one_unet_layer_is_read_under_every_spelling(spelling):
    layer = "unet.down_blocks.1.attentions.0.transformer_blocks.0.attn2.to_k"
    for names in NAMES.values():
        assert parse_name(spelling, names).layer == layer


def test_a_text_layer_is_read_with_and_without_the_level_text_model():
    layer = "text_encoder.text_model.encoder.layers.3.mlp.fc1"
    for spelling in (
        "lora_te_text_model_encoder_layers_3_mlp_fc1",
        "lora_te1_text_model_encoder_layers_3_mlp_fc1",
        "lora_te_encoder_layers_3_mlp_fc1",
        "text_encoder.encoder.layers.3.mlp.fc1",
        "base_model.model.text_encoder.text_model.encoder.layers.3.mlp.fc1",
        "clip_l.text_model.encoder.layers.3.mlp.fc1",
        "text_encoders.clip_l.transformer.text_model.encoder.layers.3.mlp.fc1",
        "text_model.encoder.layers.3.mlp.fc1",
        layer,
    ):
        assert parse_name(spelling, SD_NAMES).layer == layer


def test_names_that_follow_no_grammar_are_left_out():
    strange = [
        "lora_unet_input_blocks_99_1_proj_in",
        "lora_unet_nowhere",
        "lora_unet_mid_block_attentions_0_proj_inside",
        "lora_transformer_x",
        "unet",
        "unet.nowhere",
        "diffusion_model.down_blocks.0.resnets.0.conv1",
        "lora_te3_text_model_encoder_layers_0_mlp_fc1",
        "clip_l",
    ]
    assert recognise_layers(strange, SDXL_NAMES) == {}
