"""The layers that a file is judged by are those of the public architectures."""

import pytest
import torch

from trainer.adapters.base import shape_of
from trainer.formats.architectures import OUTER_LAYERS, list_layers
from trainer.formats.families import FAMILIES
from trainer.formats.unet_names import UNetNames
from trainer.models.layers import list_adaptable_layers, list_all_layers
from trainer.models.shipped import read_config


def build_models(family):
    """Returns the UNet and the text encoders of a family without weights."""
    from diffusers import UNet2DConditionModel
    from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection

    config = read_config(family)
    kinds = (CLIPTextModel, CLIPTextModelWithProjection)
    names = ("text_encoder", "text_encoder_2")
    with torch.device("meta"):
        models = {"unet": UNet2DConditionModel(**config["unet"])}
        for name, kind, sizes in zip(names, kinds, config["text_encoders"], strict=False):
            models[name] = kind(CLIPTextConfig(**sizes))
    return models


@pytest.mark.parametrize(("family", "count"), [("sd15", 350), ("sd2", 416), ("sdxl", 1052)])
def test_the_layers_of_a_family_are_those_of_the_real_models(family, count):
    models, blocks = build_models(family), FAMILIES[family].adaptable_blocks
    real = {target.name: shape_of(target.layer) for target in list_adaptable_layers(models, blocks)}
    # SD 2.x uses the last layer but one, so the last one is never trained.
    listed = list_layers(family)
    assert len(listed) == count
    assert {name: real[name] for name in listed} == listed
    assert all(".text_model.encoder.layers.23." in name for name in set(real) - set(listed))
    outer = set(OUTER_LAYERS) & {target.name for target in list_all_layers(models, blocks)}
    assert {"unet.conv_in", "unet.conv_out", "unet.time_embedding.linear_1"} <= outer
    names = UNetNames.from_config(read_config(family)["unet"])
    assert names == FAMILIES[family].unet.names
