"""The rows of families agree with the shipped configs of the public models, and with each other."""

from typing import get_args

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from trainer.export.families import recognise_family
from trainer.files.inspect import inspect_file
from trainer.formats.families import (
    FAMILIES,
    SD2,
    SD15,
    SDXL,
    FamilyName,
    list_titles,
    match_parts,
    name_encoder,
    read_version,
)
from trainer.formats.predictions import read_stated_prediction
from trainer.models.layers import list_adaptable_layers, list_all_layers
from trainer.models.shipped import read_config


def test_every_name_of_the_setting_has_its_row():
    assert tuple(FAMILIES) == get_args(FamilyName)
    assert list_titles() == "SD 1.x, SD 2.x or SDXL"


@pytest.mark.parametrize("family", FAMILIES)
def test_a_row_has_the_sizes_of_the_shipped_config(family):
    spec, config = FAMILIES[family], read_config(family)
    unet = config["unet"]
    assert spec.unet.text_width == unet["cross_attention_dim"]
    assert list(spec.unet.channels) == unet["block_out_channels"]
    assert spec.unet.linear_projection == unet.get("use_linear_projection", False)
    encoders = [
        (each["hidden_size"], each["intermediate_size"], each["num_hidden_layers"])
        for each in config["text_encoders"]
    ]
    assert [(e.width, e.inner_width, e.layers) for e in spec.text_encoders] == encoders
    halvings = len(config["vae"]["block_out_channels"]) - 1
    sizes = config.get("sample_sizes", {"epsilon": unet["sample_size"]})
    assert spec.resolution == sizes["epsilon"] << halvings


def test_a_model_is_known_by_its_parts():
    for spec in FAMILIES.values():
        assert match_parts(spec.unet.text_width, len(spec.text_encoders)) is spec
    # The starter model's texts are as narrow as no public model's.
    assert match_parts(64, 1) is SD15
    assert match_parts(None, 2) is SDXL
    assert [name_encoder(n) for n in range(3)] == [
        "text_encoder",
        "text_encoder_2",
        "text_encoder_3",
    ]


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("prediction", ["epsilon", "v_prediction"])
def test_labels_lead_back_to_family_and_prediction(family, prediction):
    labels = FAMILIES[family].labels[prediction]
    stated = {"modelspec.prediction_type": "v" if prediction == "v_prediction" else "epsilon"}
    assert recognise_family(stated | {"ss_base_model_version": labels.version}) == (
        family,
        prediction,
    )
    assert recognise_family(stated | {"modelspec.architecture": labels.architecture}) == (
        family,
        prediction,
    )


@pytest.mark.parametrize(
    ("version", "stated", "prediction"),
    [
        ("sd_v1", "v", "v_prediction"),  # "epsilon" is what programs write for every file
        ("sd_v1_v", "epsilon", "v_prediction"),
        ("sd_v1_v", "rectified_flow", "flow"),
        ("sdxl_base_v1-0", "v", "v_prediction"),
        ("sd_v2", "", "epsilon"),
    ],
)
def test_headers_that_state_two_things_are_read_alike_everywhere(
    version, stated, prediction, tmp_path
):
    header = {"ss_base_model_version": version, "modelspec.prediction_type": stated}
    assert recognise_family(header)[1] == prediction
    assert read_stated_prediction(header) == prediction
    layer = "lora_unet_mid_block_attentions_0_proj_in"
    factors = {"lora_down.weight": torch.ones(1, 4), "lora_up.weight": torch.ones(4, 1)}
    path = tmp_path / "x.safetensors"
    save_file({f"{layer}.{part}": value for part, value in factors.items()}, path, header)
    assert inspect_file(path).prediction == prediction


def test_a_version_tells_the_prediction_where_it_stands_for_one():
    assert read_version("sd_v2_v") == (SD2.name, "v_prediction")
    assert read_version("sd_v1") == (SD15.name, "epsilon")
    assert read_version("sdxl_base_v1-0") == (SDXL.name, "")
    assert read_version("") == read_version("flux1") == ("", "")


def test_a_family_of_other_blocks_has_other_layers_to_adapt():
    """A family says in which blocks its layers to adapt are; no code knows a class by its name."""

    class JointBlock(nn.Module):
        def __init__(self):
            super().__init__()
            self.qkv, self.norm = nn.Linear(4, 12), nn.LayerNorm(4)

    model = nn.Sequential(nn.Conv2d(3, 4, 2), JointBlock())
    found = list_adaptable_layers({"transformer": model}, {"JointBlock": "unet"})
    assert [(each.name, each.part) for each in found] == [("transformer.1.qkv", "unet")]
    every = list_all_layers({"transformer": model}, {"JointBlock": "unet"})
    assert [each.name for each in every] == ["transformer.1.qkv", "transformer.0"]
    assert list_adaptable_layers({"transformer": model}, SD15.adaptable_blocks) == []
