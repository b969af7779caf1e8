"""Every kind of adapter on every kind of layer."""

import pytest
import torch
from safetensors.torch import load_file
from torch import nn
from torch.nn import functional

from trainer.adapters import (
    ADAPTERS,
    DoRA,
    FullDifference,
    LoHa,
    LoKr,
    LoRA,
    inject,
    restore_adapter,
)
from trainer.adapters.base import apply_weight, geometry_of, read_weight
from trainer.adapters.targets import Target
from trainer.export import write_kohya
from trainer.formats.families import SD15
from trainer.models.layers import list_adaptable_layers, list_all_layers, name_layer


def pack_linear():
    """A linear layer whose weight is held in 4 bits."""
    bitsandbytes = pytest.importorskip("bitsandbytes")
    layer = bitsandbytes.nn.Linear4bit(12, 10, compute_dtype=torch.float32, quant_type="nf4")
    return layer.to("cpu")


LAYERS = {
    "linear": (lambda: nn.Linear(12, 10).double(), (3, 5, 12)),
    "conv1x1": (lambda: nn.Conv2d(6, 8, 1).double(), (2, 6, 5, 5)),
    "conv3x3": (lambda: nn.Conv2d(6, 8, 3, padding=1).double(), (2, 6, 7, 5)),
    "strided": (lambda: nn.Conv2d(6, 8, 3, stride=2, padding=1).double(), (2, 6, 8, 8)),
    "linear4bit": (pack_linear, (3, 5, 12)),
}
# What `ADAPTERS` offers, and what only a file can ask for.
KINDS = {
    **ADAPTERS,
    "lokr of low rank": lambda *given: LoKr(*given, whole=False),
    "dora per output": lambda layer, *size: DoRA(layer, LoRA(layer, *size), "output"),
    "dora around loha": lambda layer, *size: DoRA(layer, LoHa(layer, *size)),
    "dora around lokr": lambda layer, *size: DoRA(layer, LoKr(layer, *size)),
    "dora with the exact gradient": lambda *given: with_exact_gradient(ADAPTERS["dora"](*given)),
    "full": lambda layer, *_size: FullDifference(layer),
    "full with bias": lambda layer, *_size: FullDifference(layer, with_bias=True),
}
EVERY = pytest.mark.parametrize(
    ("kind", "layer"), [(kind, layer) for kind in KINDS for layer in LAYERS]
)


def with_exact_gradient(adapter):
    adapter.exact_gradient = True
    return adapter


def make(kind, layer, *, trained):
    """Returns a layer, the set on it, its adapter, an input and what counts as rounding."""
    torch.manual_seed(0)
    build, shape = LAYERS[layer]
    base = build().requires_grad_(False)
    dtype = torch.float32 if layer == "linear4bit" else torch.float64
    target = Target("unet.layer", base, "unet")
    adapters = inject([target], lambda t: KINDS[kind](t.layer, 4, 3.0, 0.0).to(dtype))
    adapter = adapters.adapters["unet.layer"]
    adapter.reset(torch.Generator().manual_seed(1))
    if trained:
        with torch.no_grad():
            for parameter in adapter.parameters():
                parameter.add_(0.3 * torch.randn(parameter.shape, dtype=dtype))
    tolerance = {"rtol": 1e-10, "atol": 1e-10}
    if dtype == torch.float32:
        tolerance = {"rtol": 1e-5, "atol": 1e-5}
    return base, adapters, adapter, torch.randn(shape, dtype=dtype), tolerance


def merge(base, adapter, multiplier, x):
    """Returns the output of the layer with the change added to its weight."""
    weight = read_weight(base) + multiplier * adapter.delta().detach()
    bias = base.bias
    if isinstance(adapter, FullDifference) and adapter.bias is not None:
        bias = bias + multiplier * adapter.bias.detach()
    if geometry_of(base) is None:
        return functional.linear(x, weight, bias)
    return functional.conv2d(x, weight, bias, **geometry_of(base))


@EVERY
def test_a_fresh_adapter_changes_nothing(kind, layer):
    base, adapters, adapter, x, _ = make(kind, layer, trained=False)
    with_adapter = base(x)
    adapters.remove()
    assert torch.equal(with_adapter, base(x))
    assert adapter.delta().abs().max() == 0


@EVERY
def test_forward_equals_the_layer_with_the_merged_weight(kind, layer):
    base, adapters, adapter, x, tolerance = make(kind, layer, trained=True)
    adapters.set_multiplier(0.7)
    with_adapter = base(x)
    adapters.remove()
    torch.testing.assert_close(with_adapter, merge(base, adapter, 0.7, x), **tolerance)
    assert not torch.allclose(with_adapter, base(x), rtol=1e-3)


@EVERY
def test_gradients_reach_the_adapter_and_not_the_base(kind, layer):
    base, _, adapter, x, _ = make(kind, layer, trained=True)
    base(x).square().mean().backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in adapter.parameters())
    assert all(p.grad is None for p in base.parameters())
    assert {id(p) for p in adapter.parameters()}.isdisjoint(id(p) for p in base.parameters())


@EVERY
def test_the_gradient_to_the_input_is_that_of_the_merged_weight(kind, layer):
    base, _, adapter, x, tolerance = make(kind, layer, trained=True)
    grads = []
    for compute in (base, lambda each: merge(base, adapter, 1.0, each)):
        given = x.clone().requires_grad_()
        compute(given).square().sum().backward()
        grads.append(given.grad)
    scale = grads[1].abs().max()
    torch.testing.assert_close(grads[0] / scale, grads[1] / scale, **tolerance)


@EVERY
def test_nothing_as_large_as_the_weight_is_kept_for_the_backward_pass(kind, layer):
    base, _, adapter, x, _ = make(kind, layer, trained=True)
    weights = {p.data_ptr() for p in (*base.parameters(), *adapter.parameters())}
    size = read_weight(base).numel()
    kept = []

    def note(tensor):
        if tensor.numel() >= size and tensor.data_ptr() not in weights:
            kept.append(tuple(tensor.shape))
        return tensor

    given = x[:1].clone().requires_grad_() if x.ndim == 3 else x[:1, :, :2, :2].clone()
    given = given[:, :1] if x.ndim == 3 else given
    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        base(given)
    assert [shape for shape in kept if shape != tuple(given.shape)] == []


@EVERY
def test_the_multiplier_is_linear_and_zero_is_off(kind, layer):
    base, adapters, _, x, tolerance = make(kind, layer, trained=True)
    outputs = {}
    for weight in (0.0, 1.0, 2.0):
        adapters.set_multiplier(weight)
        outputs[weight] = base(x)
    torch.testing.assert_close(
        outputs[2.0] - outputs[0.0], 2 * (outputs[1.0] - outputs[0.0]), **tolerance
    )
    adapters.remove()
    assert torch.equal(outputs[0.0], base(x))


@EVERY
def test_what_a_file_holds_makes_the_same_change_again(kind, layer):
    base, adapters, adapter, _, _ = make(kind, layer, trained=True)
    parts = adapters.tensors()["unet.layer"]
    alpha = float(parts.get("alpha", torch.tensor(1.0)))
    again = restore_adapter(base, parts, alpha)
    assert again.kind == adapter.file_kind
    torch.testing.assert_close(again.delta(), adapter.delta().float(), rtol=1e-5, atol=1e-5)
    assert set(again.tensors()) == set(parts)


@EVERY
def test_two_adapters_on_one_layer_add_up(kind, layer):
    base, first, adapter, x, tolerance = make(kind, layer, trained=True)
    second = inject(first.targets.values(), lambda t: KINDS[kind](t.layer, 4, 3.0, 0.0).to(x.dtype))
    second.adapters["unet.layer"].load_state_dict(adapter.state_dict())
    both = base(x)
    second.remove()
    once = base(x)
    first.remove()
    torch.testing.assert_close(both - base(x), 2 * (once - base(x)), **tolerance)


@EVERY
def test_decay_pulls_towards_the_base_model_and_spares_what_would_not(kind, layer):
    """Whatever decays may shrink and a fresh layer stays as it is; only the rest would move it."""
    _, _, adapter, _, _ = make(kind, layer, trained=False)
    weights = dict(adapter.named_parameters())
    with torch.no_grad():
        for name in weights.keys() - set(adapter.never_decayed):
            weights[name].mul_(0.5)
        assert adapter.delta().abs().max() == 0
        for name in adapter.never_decayed:
            weights[name].mul_(0.5)
            assert adapter.delta().abs().max() > 0
            weights[name].mul_(2)


@pytest.mark.parametrize("kind", ADAPTERS)
def test_a_kind_names_the_weights_that_start_at_zero(kind):
    _, _, adapter, _, _ = make(kind, "conv3x3", trained=False)
    zero = {name for name, weight in adapter.named_parameters() if not weight.any()}
    assert zero == {name for name, _ in adapter.named_parameters()} & set(adapter.starts_at_zero)
    assert zero


@pytest.mark.parametrize("kind", ADAPTERS)
def test_dropout_works_while_training_only(kind):
    base = nn.Linear(12, 10)
    adapter = ADAPTERS[kind](base, 4, 3.0, 0.5)
    with torch.no_grad():
        for parameter in adapter.parameters():
            parameter.add_(torch.randn(parameter.shape))
    x = torch.randn(64, 12)
    assert not torch.equal(adapter(x), adapter(x))
    adapter.train(mode=False)
    torch.testing.assert_close(adapter(x), apply_weight(x, adapter.delta(), None))


@pytest.mark.parametrize("kind", ADAPTERS)
def test_adapters_learn_in_fp32_on_a_half_precision_base(kind):
    """Under autocast, as training runs: the output stays bf16 and the gradients are fp32."""
    base = nn.Linear(12, 10).to(torch.bfloat16).requires_grad_(False)
    adapters = inject(
        [Target("unet.layer", base, "unet")],
        lambda t: ADAPTERS[kind](t.layer, 4, 4.0, 0.0),
    )
    adapter = adapters.adapters["unet.layer"]
    adapter.reset(torch.Generator().manual_seed(0))
    x = torch.randn(5, 12, dtype=torch.bfloat16)
    plain = functional.linear(x, base.weight, base.bias)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(base(x), plain)
        output = base(x)
    assert output.dtype == torch.bfloat16
    output.float().square().sum().backward()
    assert {p.dtype for p in adapter.parameters()} == {torch.float32}
    assert any(p.grad is not None and p.grad.abs().sum() > 0 for p in adapter.parameters())


def test_a_channel_of_zeros_does_not_break_dora():
    base = nn.Linear(6, 4)
    with torch.no_grad():
        base.weight[:, 2] = 0
    adapter = ADAPTERS["dora"](base, 2, 2.0, 0.0)
    adapter.reset(torch.Generator().manual_seed(0))
    assert torch.equal(adapter(torch.randn(3, 6)), torch.zeros(3, 4))


def test_the_base_weight_is_no_part_of_a_dora_checkpoint():
    adapter = ADAPTERS["dora"](nn.Linear(12, 10), 2, 2.0, 0.0)
    assert set(adapter.state_dict()) == {"magnitude", "inner.down", "inner.up"}
    assert adapter.magnitude.shape == (1, 12)


@pytest.mark.parametrize("kind", ADAPTERS)
def test_adapters_refuse_a_grouped_convolution(kind):
    with pytest.raises(ValueError, match="grouped"):
        ADAPTERS[kind](nn.Conv2d(4, 4, 3, groups=2), 2, 1.0, 0.0)


@pytest.mark.parametrize(("size", "dtype"), [(1e-6, torch.float32), (1e-2, torch.float16)])
def test_a_full_difference_too_small_for_fp16_keeps_its_digits(size, dtype, tmp_path):
    torch.manual_seed(0)
    parts = {"diff": size * torch.randn(40, 30), "diff_b": size * torch.randn(40)}
    path = tmp_path / "x.safetensors"
    write_kohya(path, {"unet.a": parts}, {"unet.a": "lora_unet_a"}, {}, "fp16")
    written = load_file(path)
    for name, value in parts.items():
        read = written[f"lora_unet_a.{name}"]
        assert read.dtype == dtype
        assert (read.float() - value).norm() < 1e-3 * value.norm()


def test_only_lora_has_factors():
    targets = [Target("unet.a", nn.Linear(4, 4), "unet")]
    assert set(inject(targets, lambda t: LoRA(t.layer, 2, 1.0)).factors()) == {"unet.a"}
    with pytest.raises(ValueError, match=r"unet\.a carries loha"):
        inject(targets, lambda t: LoHa(t.layer, 2, 1.0)).factors()


@pytest.mark.parametrize(
    ("tensors", "says"),
    [
        ({"lora_down.weight": (2, 5), "lora_up.weight": (10, 2)}, r"down .*\(2, 5\).*\(2, 12\)"),
        ({"lora_down.weight": (2, 12), "lora_up.weight": (10, 3)}, r"up .*\(10, 3\).*\(10, 2\)"),
        ({"lokr_w1": (3, 4), "lokr_w2": (4, 3)}, "3 by 4, does not divide"),
        ({"lokr_w1": (2, 4), "lokr_w2": (4, 3)}, r"w2 .*\(4, 3\).*\(5, 3\)"),
        ({"oft_diag": (2, 2)}, "oft_diag, which is no adapter known"),
        ({"oft_blocks": (2, 2)}, r"oft_blocks have the shape \(2, 2\), where it has 10 outputs"),
        ({"oft_blocks": (3, 3, 3)}, "where it has 10 outputs"),
        ({"oft_blocks": (2, 5, 2, 2)}, "its 2 levels do not fit 10 outputs"),
        ({"ia3_scale": (9,), "on_input": ()}, "it has 9 factors, where the layer has 12 inputs"),
        (
            {"glora_a1": (12, 2), "glora_a2": (2, 12), "glora_b1": (10, 3), "glora_b2": (3, 12)},
            r"its factors do not fit a weight of the shape \(10, 12\)",
        ),
        (
            {"glora_a1": (2, 2), "glora_a2": (2, 2), "glora_b1": (2, 2), "glora_b2": (2, 2)},
            "so the order of factors is not defined",
        ),
        ({"diff": (10, 12), "dora_scale": (1, 7)}, "dora_scale"),
        ({"diff": (10, 12), "dora_scale": (1, 12, 3)}, "dora_scale"),
    ],
)
def test_tensors_that_do_not_fit_are_refused_with_both_shapes(tensors, says):
    given = {name: torch.ones(shape) for name, shape in tensors.items()}
    with pytest.raises(ValueError, match=says):
        restore_adapter(nn.Linear(12, 10), given, 1.0)


def test_a_convolution_of_one_pixel_may_be_written_as_a_linear_layer():
    parts = {"lora_down.weight": torch.randn(2, 6), "lora_up.weight": torch.randn(8, 2)}
    adapter = restore_adapter(nn.Conv2d(6, 8, 1), parts, 2.0)
    wanted = parts["lora_up.weight"] @ parts["lora_down.weight"]
    torch.testing.assert_close(adapter.delta()[:, :, 0, 0], wanted)


@pytest.mark.parametrize(
    ("given", "wanted"),
    [
        (
            "text_encoder.encoder.layers.0.mlp.fc1",
            "text_encoder.text_model.encoder.layers.0.mlp.fc1",
        ),
        ("text_encoder.text_model.encoder.x", "text_encoder.text_model.encoder.x"),
        ("text_encoder_2.encoder.x", "text_encoder_2.text_model.encoder.x"),
        ("text_encoder_2.text_projection", "text_encoder_2.text_projection"),
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
    models = {"unet": unet, "text_encoder": text}
    found = {target.name for target in list_adaptable_layers(models, SD15.adaptable_blocks)}
    outside = ("conv_in", "conv_out", "time_embedding")
    every = {
        f"unet.{name}"
        for name, layer in unet.named_modules()
        if isinstance(layer, nn.Linear | nn.Conv2d)
    } | {
        name_layer(f"text_encoder.{name}")
        for name, layer in text.named_modules()
        if isinstance(layer, nn.Linear)
    }
    assert found == {name for name in every if not name.startswith(outside, len("unet."))}
    assert len(found) > 80
    assert {target.name for target in list_all_layers(models, SD15.adaptable_blocks)} == every
