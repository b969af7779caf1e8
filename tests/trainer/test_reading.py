"""Adapter files of every spelling and kind, read back into the effect that their writer meant."""

import json
import math

import pytest
import torch
from safetensors.torch import load_file, save_file

from tests.trainer.conftest import load_plain
from trainer.adapters import ADAPTERS, LoRA, inject
from trainer.export import (
    ExportError,
    compare_with_trained,
    name_layers,
    read_adapter_file,
    write_kohya,
    write_peft,
)
from trainer.formats.spellings import parse_name
from trainer.formats.unet_names import SD_NAMES, SDXL_NAMES
from trainer.training.attach import attach_file, make_rebuild
from trainer.training.layers import list_targets

CPU = torch.device("cpu")
UNET = "unet.down_blocks.0.attentions.0.transformer_blocks.0.attn1.to_q"
CONV = "unet.mid_block.resnets.1.conv1"
TEXT = "text_encoder.text_model.encoder.layers.1.self_attn.q_proj"
LAYERS = [UNET, CONV, TEXT]


@pytest.fixture(scope="module")
def family(pico):
    return load_plain(pico)


@pytest.fixture(scope="module")
def family_xl(pico_xl):
    return load_plain(pico_xl)


def predict(family):
    """Returns what the UNet makes of an input, the text encoders included."""
    torch.manual_seed(5)
    latents = torch.randn(1, 4, 8, 8)
    with torch.no_grad():
        conditioning = family.encode_captions(["a red cat"])
        return family.predict(latents, torch.tensor([500]), conditioning)


def text_of(family):
    return family.adaptable_models()["text_encoder"]


def randomise(model, share=0.2):
    torch.manual_seed(3)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(share * torch.randn(parameter.shape))


ALGORITHMS = {
    "locon": {"algo": "locon"},
    "locon with tucker": {"algo": "locon", "use_tucker": True},
    "loha": {"algo": "loha"},
    "loha with tucker": {"algo": "loha", "use_tucker": True},
    "lokr": {"algo": "lokr"},
    "lokr with tucker": {"algo": "lokr", "use_tucker": True},
    "lokr of two low ranks": {"algo": "lokr", "decompose_both": True, "factor": 4},
    "lokr whole": {"algo": "lokr", "full_matrix": True},
    "full": {"algo": "full"},
    "dora per input": {"algo": "locon", "dora_wd": True, "wd_on_output": False},
    "dora per output": {"algo": "locon", "dora_wd": True, "wd_on_output": True},
    "dora of loha": {"algo": "loha", "dora_wd": True, "wd_on_output": True},
}
# Whether the lengths in a file stand per input channel; LyCORIS has its own default.
AXES = {"dora per input": {True}, "dora per output": {False}, "dora of loha": {False}}


@pytest.mark.parametrize("name", ALGORITHMS)
def test_a_file_of_lycoris_does_what_lycoris_does(name, pico, family, tmp_path):
    kohya = pytest.importorskip("lycoris.kohya")
    theirs = load_plain(pico)
    # The usual choice of layers, without the time embedding, which it lists twice.
    preset = tmp_path / "preset.toml"
    preset.write_text(
        'unet_target_module = ["Transformer2DModel", "ResnetBlock2D", "Downsample2D", '
        '"Upsample2D"]\nunet_target_name = ["conv_in", "conv_out"]\n'
    )
    network = kohya.create_network(
        1.0, 2, 3.0, None, [text_of(theirs)], theirs.unet, conv_dim=2, conv_alpha=1.0,
        preset=str(preset), **ALGORITHMS[name],
    )  # fmt: skip
    network.apply_to([text_of(theirs)], theirs.unet, True, True)
    randomise(network, 0.05)
    path = tmp_path / "x.safetensors"
    # With transformers 5.6 and later its names lack the level text_model, as files in the wild do.
    network.save_weights(str(path), torch.float32, {"ss_base_model_version": "sd_v1"})
    scales = [value for key, value in load_file(path).items() if key.endswith("dora_scale")]
    assert {scale.shape[0] == 1 for scale in scales} == AXES.get(name, set())
    wanted = predict(theirs)
    plain = predict(family)
    adapters = attach_file(family, path, CPU)
    try:
        torch.testing.assert_close(predict(family), wanted, rtol=1e-4, atol=1e-4)
        adapters.set_multiplier(0.0)
        assert torch.equal(predict(family), plain)
    finally:
        adapters.remove()
    assert (wanted - plain).abs().max() > 1e-2


@pytest.mark.parametrize("dora", [False, True], ids=["lora", "dora"])
@pytest.mark.parametrize("stabilised", [False, True], ids=["plain", "rslora"])
def test_a_file_of_diffusers_does_what_diffusers_does(dora, stabilised, pico, family, tmp_path):
    """Ranks and alphas that differ between layers stand in the header only."""
    from diffusers import StableDiffusionPipeline
    from diffusers.training_utils import _collate_lora_metadata
    from peft import LoraConfig, get_peft_model_state_dict

    theirs = load_plain(pico)
    shared = {"use_dora": dora, "use_rslora": stabilised}
    theirs.unet.add_adapter(
        LoraConfig(
            r=2, lora_alpha=3, target_modules=["to_q", "to_k", "conv1", "proj_in"],
            rank_pattern={"to_k": 4}, alpha_pattern={"to_k": 1, "conv1": 5}, **shared,
        )
    )  # fmt: skip
    text_of(theirs).add_adapter(
        LoraConfig(r=3, lora_alpha=2, target_modules=["q_proj", "out_proj"], **shared)
    )
    for model in (theirs.unet, text_of(theirs)):
        randomise_lora(model)
    models = {"unet": theirs.unet, "text_encoder": text_of(theirs)}
    StableDiffusionPipeline.save_lora_weights(
        tmp_path,
        **{f"{name}_lora_layers": get_peft_model_state_dict(m) for name, m in models.items()},
        **_collate_lora_metadata(models),
    )
    wanted = predict(theirs)
    adapters = attach_file(family, tmp_path / "pytorch_lora_weights.safetensors", CPU)
    changed = predict(family)
    adapters.remove()
    torch.testing.assert_close(changed, wanted, rtol=1e-4, atol=1e-4)
    assert adapters.kinds() == {"dora" if dora else "lora"}
    assert (wanted - predict(family)).abs().max() > 1e-3


def randomise_lora(model):
    torch.manual_seed(3)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "lora_" in name:
                parameter.add_(0.05 * torch.randn(parameter.shape))


def make_factors(family):
    """Factors on every layer, whose ranks and alphas differ."""
    torch.manual_seed(0)
    factors = {}
    for index, target in enumerate(list_targets(family)):
        adapter = LoRA(target.layer, 1 + index % 3, 0.5 + index % 4)
        with torch.no_grad():
            adapter.down.normal_()
            adapter.up.normal_()
        factors[target.name] = adapter.factors()
    return {
        name: (down.detach(), up.detach(), scale) for name, (down, up, scale) in factors.items()
    }


def multiply(modules):
    """Returns the weight difference of each layer."""
    return {
        layer: (up.flatten(1) @ down.flatten(1)).view(up.shape[0], *down.shape[1:]) * scale
        for layer, (down, up, scale) in modules.items()
    }


def read_parts(path, family):
    layers = [target.name for target in list_targets(family)]
    file = read_adapter_file(path, layers, family.unet_names, family.name)
    return {layer: module.parts() for layer, module in file.modules.items()}, file.naming


@pytest.mark.parametrize("which", ["family", "family_xl"])
def test_kohya_to_peft_and_back_keeps_every_change(which, request, tmp_path):
    family = request.getfixturevalue(which)
    factors = make_factors(family)
    names = name_layers(factors, family.name, family.unet_names)
    wanted = multiply(factors)
    path = tmp_path / "x.safetensors"
    write_kohya(path, factors, names, {}, "fp32")
    for write in (
        lambda parts: write_peft(path, parts, {}, "fp32"),
        lambda parts: write_kohya(path, parts, names, {}, "fp32"),
    ):
        parts, _ = read_parts(path, family)
        write(parts)
        again, naming = read_parts(path, family)
        changes = multiply(again)
        assert set(changes) == set(wanted)
        for layer, change in changes.items():
            torch.testing.assert_close(change, wanted[layer], rtol=1e-5, atol=1e-6)
    assert naming == "kohya"


def write_plain(path, names, layers=None, **extra):
    """Writes a LoRA of rank 2 for layers of the small model, under given spellings."""
    sizes = {UNET: (16, 16), TEXT: (32, 32), CONV: (32, 32, 3, 3)}
    torch.manual_seed(0)
    tensors = {}
    for layer, (down, up) in names.items():
        outputs, *inputs = sizes[layer]
        tensors[down] = torch.randn(2, *inputs)
        tensors[up] = torch.randn(outputs, 2, *(1,) * (len(inputs) - 1))
    save_file(tensors | extra, path)
    return path


SPELLINGS = {
    "kohya": (
        "lora_unet_down_blocks_0_attentions_0_transformer_blocks_0_attn1_to_q",
        "lora_te_text_model_encoder_layers_1_self_attn_q_proj",
        ("lora_down.weight", "lora_up.weight"),
    ),
    "kohya, original blocks": (
        "lora_unet_input_blocks_1_1_transformer_blocks_0_attn1_to_q",
        "lora_te1_text_model_encoder_layers_1_self_attn_q_proj",
        ("lora_down.weight", "lora_up.weight"),
    ),
    "kohya without text_model": (
        "lora_unet_down_blocks_0_attentions_0_transformer_blocks_0_attn1_to_q",
        "lora_te_encoder_layers_1_self_attn_q_proj",
        ("lora_down.weight", "lora_up.weight"),
    ),
    "peft": (UNET, TEXT, ("lora_A.weight", "lora_B.weight")),
    "peft without text_model": (
        UNET,
        TEXT.replace("text_model.", ""),
        ("lora_A.weight", "lora_B.weight"),
    ),
    "peft of its own save function": (
        f"base_model.model.{UNET}",
        f"base_model.model.{TEXT}",
        ("lora_A.default.weight", "lora_B.default.weight"),
    ),
    "diffusers' linear layers": (
        UNET,
        TEXT,
        ("lora_linear_layer.down.weight", "lora_linear_layer.up.weight"),
    ),
    "diffusers' processors": (
        UNET.replace("to_q", "processor.to_q_lora"),
        TEXT,
        ("down.weight", "up.weight"),
    ),
    "diffusers' first processors": (
        UNET.replace("to_q", "processor.to_q_lora").removeprefix("unet."),
        TEXT,
        ("down.weight", "up.weight"),
    ),
}


@pytest.mark.parametrize("name", SPELLINGS)
def test_every_spelling_is_read(name, family, tmp_path):
    unet, text, (down, up) = SPELLINGS[name]
    text_parts = ("lora_A.weight", "lora_B.weight") if down == "down.weight" else (down, up)
    keys = {UNET: (f"{unet}.{down}", f"{unet}.{up}")}
    keys[TEXT] = tuple(f"{text}.{part}" for part in text_parts)
    path = write_plain(tmp_path / "x.safetensors", keys)
    parts, _ = read_parts(path, family)
    assert set(parts) == {UNET, TEXT}
    # No alpha stands for the rank: the scale is 1.
    assert {scale for _, _, scale in parts.values()} == {1.0}
    tensors = load_file(path)
    assert torch.equal(parts[UNET][0], tensors[keys[UNET][0]])
    adapters = attach_file(family, path, CPU)
    adapters.remove()
    assert set(adapters.adapters) == {UNET, TEXT}


def test_sdxl_is_read_in_both_block_namings(family_xl):
    """The original number of a block differs between families, so the base model's own count."""
    layer = "unet.up_blocks.0.attentions.1.proj_in"
    names = family_xl.unet_names
    assert parse_name("lora_unet_up_blocks_0_attentions_1_proj_in", names).layer == layer
    assert parse_name("lora_unet_output_blocks_1_1_proj_in", names).layer == layer
    upsampler = "unet.up_blocks.0.upsamplers.0.conv"
    assert parse_name("lora_unet_output_blocks_2_1_conv", SD_NAMES).layer == upsampler
    assert parse_name("lora_unet_output_blocks_2_2_conv", SDXL_NAMES).layer == upsampler


KOHYA = {UNET: tuple(f"{SPELLINGS['kohya'][0]}.{part}" for part in SPELLINGS["kohya"][2])}
ALPHA = f"{SPELLINGS['kohya'][0]}.alpha"


@pytest.mark.parametrize(
    ("alpha", "scale"),
    [
        (torch.tensor(4.0), 2.0),
        (torch.tensor(4.0, dtype=torch.float16), 2.0),
        (torch.tensor(4.0, dtype=torch.bfloat16), 2.0),
        (torch.tensor(4), 2.0),
        (torch.tensor([4.0]), 2.0),
        (torch.tensor(0.0), 0.0),
    ],
)
def test_alpha_is_read_in_every_number_format(alpha, scale, family, tmp_path):
    path = write_plain(tmp_path / "x.safetensors", KOHYA, **{ALPHA: alpha})
    assert read_parts(path, family)[0][UNET][2] == scale


@pytest.mark.parametrize(
    ("settings", "scale"),
    [
        ({"unet.lora_alpha": 8}, 4.0),
        ({"unet.lora_alpha": 8, "text_encoder.lora_alpha": 1}, 4.0),
        ({"unet.lora_alpha": 8, "unet.use_rslora": True}, 4.0 * math.sqrt(2)),
        ({"unet.lora_alpha": 8, "unet.alpha_pattern": {"attn1.to_q": 2}}, 1.0),
        ({"unet.lora_alpha": 8, "unet.alpha_pattern": {"ttn1.to_q": 2}}, 4.0),
        ({"unet.lora_alpha": 8, "unet.alpha_pattern": {"^attn1.to_q": 2}}, 4.0),
        ({"unet.lora_alpha": 8, "unet.alpha_pattern": {f"^{UNET[5:]}": 2}}, 1.0),
    ],
)
def test_alphas_of_peft_stand_in_the_header(settings, scale, family, tmp_path):
    path = tmp_path / "x.safetensors"
    tensors = {
        f"{UNET}.lora_A.weight": torch.ones(2, 16),
        f"{UNET}.lora_B.weight": torch.ones(16, 2),
    }
    save_file(tensors, path, {"lora_adapter_metadata": json.dumps(settings)})
    assert read_parts(path, family)[0][UNET][2] == pytest.approx(scale)


@pytest.mark.parametrize(
    "settings",
    [
        "no JSON",
        "[]",
        json.dumps({"unet.lora_alpha": "8"}),
        json.dumps({"unet.alpha_pattern": 3}),
        json.dumps({"unet.alpha_pattern": {"(a+)+$": 3}}),
    ],
)
def test_a_header_of_peft_that_cannot_be_understood_is_refused(settings, family, tmp_path):
    path = tmp_path / "x.safetensors"
    tensors = {
        f"{UNET}.lora_A.weight": torch.ones(2, 16),
        f"{UNET}.lora_B.weight": torch.ones(16, 2),
    }
    save_file(tensors, path, {"lora_adapter_metadata": settings})
    with pytest.raises(ExportError, match=r"cannot be read.*lora_adapter_metadata"):
        read_parts(path, family)


@pytest.mark.parametrize("precision", ["fp32", "fp16", "bf16"])
@pytest.mark.parametrize("size", [1e-4, 0.1])
@pytest.mark.parametrize("kind", ADAPTERS)
def test_every_kind_is_exported_and_proven(kind, size, precision, family, tmp_path):
    """Also after a step or two, when the change is a tiny share of the weight."""
    targets = list_targets(family)
    adapters = inject(targets, lambda t: ADAPTERS[kind](t.layer, 2, 1.5, 0.0))
    try:
        for number, adapter in enumerate(adapters.adapters.values()):
            generator = torch.Generator().manual_seed(number)
            adapter.reset(generator)
            with torch.no_grad():
                for parameter in adapter.parameters():
                    parameter.add_(size * torch.randn(parameter.shape, generator=generator))
        path = tmp_path / "x.safetensors"
        names = name_layers(adapters.adapters, "sd15", family.unet_names)
        write_kohya(path, adapters.modules(), names, {}, precision)
        rebuild = make_rebuild(adapters)
        proof = compare_with_trained(path, adapters.deltas(), precision, family.unet_names, rebuild)
        assert proof.modules == len(targets)
        first = next(iter(adapters.adapters.values()))
        with torch.no_grad():
            next(first.parameters()).mul_(1.05)
        with pytest.raises(ExportError, match="does not hold what was trained"):
            compare_with_trained(path, adapters.deltas(), precision, family.unet_names, rebuild)
    finally:
        adapters.remove()
