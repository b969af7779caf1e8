"""Every kind of adapter on every kind of layer, and LoRA against PEFT."""

import copy

import pytest
import torch
from torch import nn

from trainer.adapters import ADAPTERS, LoRA, find_targets, inject
from trainer.adapters.targets import Target, name_layer

LAYERS = {
    "linear": (lambda: nn.Linear(12, 10), (3, 5, 12)),
    "conv1x1": (lambda: nn.Conv2d(6, 8, 1), (2, 6, 5, 5)),
    "conv3x3": (lambda: nn.Conv2d(6, 8, 3, padding=1), (2, 6, 7, 5)),
    "strided": (lambda: nn.Conv2d(6, 8, 3, stride=2, padding=1), (2, 6, 8, 8)),
}
EVERY = pytest.mark.parametrize(
    ("kind", "layer"), [(kind, layer) for kind in ADAPTERS for layer in LAYERS]
)


def make(kind, layer, *, trained):
    torch.manual_seed(0)
    build, shape = LAYERS[layer]
    base = build().double().requires_grad_(False)
    target = Target("unet.layer", base, "unet", wide=False)
    adapters = inject([target], lambda t: ADAPTERS[kind](t.layer, 4, 3.0, 0.0))
    adapter = adapters.adapters["unet.layer"].double()
    adapter.reset(torch.Generator().manual_seed(1))
    if trained:
        with torch.no_grad():
            for parameter in adapter.parameters():
                parameter.add_(torch.randn(parameter.shape, dtype=torch.float64))
    return base, adapters, adapter, torch.randn(shape, dtype=torch.float64)


@EVERY
def test_a_fresh_adapter_changes_nothing(kind, layer):
    base, adapters, _, x = make(kind, layer, trained=False)
    with_adapter = base(x)
    adapters.remove()
    assert torch.equal(with_adapter, base(x))


@EVERY
def test_forward_equals_the_layer_with_the_merged_weight(kind, layer):
    base, adapters, adapter, x = make(kind, layer, trained=True)
    adapters.set_multiplier(0.7)
    with_adapter = base(x)
    adapters.remove()
    merged = copy.deepcopy(base)
    merged.weight.data += 0.7 * adapter.delta().detach()
    torch.testing.assert_close(with_adapter, merged(x), rtol=1e-10, atol=1e-10)
    assert not torch.allclose(with_adapter, base(x))


@EVERY
def test_gradients_reach_the_adapter_and_not_the_base(kind, layer):
    base, _, adapter, x = make(kind, layer, trained=True)
    base(x).square().mean().backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in adapter.parameters())
    assert all(p.grad is None for p in base.parameters())


@EVERY
def test_the_multiplier_is_linear_and_zero_is_off(kind, layer):
    base, adapters, _, x = make(kind, layer, trained=True)
    outputs = {}
    for weight in (0.0, 1.0, 2.0):
        adapters.set_multiplier(weight)
        outputs[weight] = base(x)
    torch.testing.assert_close(outputs[2.0] - outputs[0.0], 2 * (outputs[1.0] - outputs[0.0]))
    adapters.remove()
    assert torch.equal(outputs[0.0], base(x))


@EVERY
def test_factors_rebuild_the_change(kind, layer):
    _, _, adapter, _ = make(kind, layer, trained=True)
    down, up, scale = adapter.factors()
    rebuilt = (up.flatten(1) @ down.flatten(1)).view(adapter.shape) * scale
    torch.testing.assert_close(rebuilt, adapter.delta())


@EVERY
def test_two_adapters_on_one_layer_add_up(kind, layer):
    base, first, adapter, x = make(kind, layer, trained=True)
    second = inject(first.targets.values(), lambda t: ADAPTERS[kind](t.layer, 4, 3.0, 0.0))
    second.adapters["unet.layer"].double().load_state_dict(adapter.state_dict())
    both = base(x)
    second.remove()
    once = base(x)
    first.remove()
    torch.testing.assert_close(both - base(x), 2 * (once - base(x)))


@pytest.mark.parametrize("layer", LAYERS)
def test_lora_equals_peft_in_output_and_gradients(layer):
    from peft import LoraConfig, inject_adapter_in_model

    base, _, adapter, x = make("lora", layer, trained=True)
    model = nn.Sequential(copy.deepcopy(base))
    model[0]._forward_hooks.clear()
    config = LoraConfig(r=4, lora_alpha=3, target_modules=["0"], lora_dropout=0.0)
    model = inject_adapter_in_model(config, model).double()
    theirs = model[0]
    with torch.no_grad():
        theirs.lora_A["default"].weight.copy_(adapter.down)
        theirs.lora_B["default"].weight.copy_(adapter.up)
    ours, reference = base(x), model(x)
    torch.testing.assert_close(ours, reference, rtol=1e-12, atol=1e-12)
    ours.square().sum().backward()
    reference.square().sum().backward()
    torch.testing.assert_close(adapter.down.grad, theirs.lora_A["default"].weight.grad)
    torch.testing.assert_close(adapter.up.grad, theirs.lora_B["default"].weight.grad)


def test_lora_refuses_a_grouped_convolution():
    with pytest.raises(ValueError, match="grouped"):
        LoRA(nn.Conv2d(4, 4, 3, groups=2), 2, 1.0)


@pytest.mark.parametrize(
    ("given", "wanted"),
    [
        (
            "text_encoder.encoder.layers.0.mlp.fc1",
            "text_encoder.text_model.encoder.layers.0.mlp.fc1",
        ),
        ("text_encoder.text_model.encoder.x", "text_encoder.text_model.encoder.x"),
        ("unet.encoder.x", "unet.encoder.x"),
    ],
)
def test_text_encoder_names_do_not_depend_on_the_version_of_transformers(given, wanted):
    assert name_layer(given) == wanted


def test_targets_are_all_attention_feed_forward_and_convolution_layers(pico):
    from diffusers import UNet2DConditionModel
    from transformers import CLIPTextModel

    unet = UNet2DConditionModel.from_pretrained(pico / "unet")
    text = CLIPTextModel.from_pretrained(pico / "text_encoder")
    found = {target.name for target in find_targets({"unet": unet, "text_encoder": text})}
    outside = ("conv_in", "conv_out", "time_embedding")
    expected = {
        f"unet.{name}"
        for name, layer in unet.named_modules()
        if isinstance(layer, nn.Linear | nn.Conv2d) and not name.startswith(outside)
    } | {
        name_layer(f"text_encoder.{name}")
        for name, layer in text.named_modules()
        if isinstance(layer, nn.Linear)
    }
    assert found == expected
    assert len(found) > 80
