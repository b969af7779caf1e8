"""Frozen weights in 8 bits: their numbers, gradients, memory, and a run on them."""

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

from tests.trainer.conftest import load_plain
from trainer.commands import train
from trainer.config import layer_config
from trainer.export import verify_file
from trainer.memory import estimate_memory
from trainer.models.eight_bits import (
    EIGHT_BIT_FORMATS,
    EightBitConv2d,
    EightBitLinear,
    pack,
    unpack,
)
from trainer.runs import read_events

KINDS = list(EIGHT_BIT_FORMATS)


def draw(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def test_numbers_by_hand():
    # A channel's largest weight becomes 448 in e4m3, whose next number below is 416, and 127 in
    # int8. A channel of zeros stays one.
    weight = torch.tensor([[4.48, -2.24, 4.3], [0.0, 0.0, 0.0]])
    stored, scale = pack(weight, EIGHT_BIT_FORMATS["fp8"])
    assert scale.tolist() == pytest.approx([0.01, 1.0])
    assert stored.float().tolist() == [[448, -224, 416], [0, 0, 0]]
    weight = torch.tensor([[12.7, -6.34, 0.04]])
    stored, scale = pack(weight, EIGHT_BIT_FORMATS["int8"])
    assert scale.tolist() == pytest.approx([0.1])
    assert stored.tolist() == [[127, -63, 0]]
    assert unpack(stored, scale, torch.float32)[0].tolist() == pytest.approx([12.7, -6.3, 0])


def test_errors_are_those_of_the_formats():
    weight = draw(64, 32, 3, 3)
    unit = weight.abs().amax(dim=(1, 2, 3), keepdim=True)
    for kind, share, absolute in (("fp8", 1 / 16, 2**-10 / 448), ("int8", 0, 0.5 / 127)):
        error = (unpack(*pack(weight, EIGHT_BIT_FORMATS[kind]), torch.float32) - weight).abs()
        assert (error <= share * weight.abs() + unit * absolute * 1.001).all()
        assert error.max() > 0


@pytest.mark.parametrize("kind", KINDS)
def test_small_weights_survive_fp16(kind):
    weight = draw(8, 16) * 1e-6
    stored, scale = pack(weight, EIGHT_BIT_FORMATS[kind])
    error = (unpack(stored, scale, torch.float16).float() - weight).norm() / weight.norm()
    assert error < 0.06  # the smallest step of fp16 is 6e-8


LAYERS = {
    "linear": (nn.Linear(6, 5), (3, 6)),
    "linear without bias": (nn.Linear(6, 5, bias=False), (2, 4, 6)),
    "convolution": (nn.Conv2d(4, 6, 3, padding=1), (2, 4, 7, 5)),
    "convolution with a stride": (nn.Conv2d(4, 6, 3, stride=2, padding=1), (1, 4, 8, 9)),
    "1 x 1 convolution": (nn.Conv2d(4, 6, 1, bias=False), (2, 4, 3, 3)),
}


def make_pair(name, kind):
    """A packed layer, and a plain one with its expanded weights."""
    template, shape = LAYERS[name]
    layer = type(template)(**_arguments(template))
    layer.load_state_dict(template.state_dict())
    cls = EightBitLinear if isinstance(layer, nn.Linear) else EightBitConv2d
    packed = cls(layer, EIGHT_BIT_FORMATS[kind])
    plain = type(template)(**_arguments(template))
    plain.load_state_dict(template.state_dict())
    plain.weight.data = packed.unpack()
    return packed, plain, shape


def _arguments(layer):
    bias = {"bias": layer.bias is not None}
    if isinstance(layer, nn.Linear):
        return {"in_features": layer.in_features, "out_features": layer.out_features} | bias
    names = ("in_channels", "out_channels", "kernel_size", "stride", "padding")
    return {name: getattr(layer, name) for name in names} | bias


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", LAYERS)
def test_output_and_gradient_are_those_of_the_expanded_weight(name, kind):
    packed, plain, shape = make_pair(name, kind)
    assert packed.weight.itemsize == 1
    assert not packed.weight.requires_grad
    for autocast in (False, True):
        results = []
        for layer in (packed, plain):
            x = draw(*shape).requires_grad_()
            with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
                y = layer(x)
            (y.float() * draw(*y.shape, seed=1)).sum().backward()
            results.append((y, x.grad))
        (y, grad), (plain_y, plain_grad) = results
        assert y.dtype == plain_y.dtype
        tolerance = 2e-2 if autocast else 1e-5
        torch.testing.assert_close(y, plain_y, rtol=tolerance, atol=tolerance)
        torch.testing.assert_close(grad, plain_grad, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("name", LAYERS)
def test_autograd_keeps_no_expanded_weight_and_no_input(name):
    packed, _, shape = make_pair(name, "fp8")
    kept = []
    hooks = torch.autograd.graph.saved_tensors_hooks(lambda t: kept.append(t) or t, lambda t: t)
    with hooks:
        packed(draw(*shape).requires_grad_())
    assert {each.data_ptr() for each in kept} <= {packed.weight.data_ptr(), packed.scale.data_ptr()}


@pytest.mark.parametrize("kind", KINDS)
def test_the_blocks_of_a_unet_take_half_of_16_bits_and_draw_nearly_the_same(kind, pico):
    plain = load_plain(pico, dtype=torch.bfloat16)
    packed = load_plain(pico, dtype=torch.bfloat16, quantize=kind)
    layers = {n: m for n, m in packed.unet.named_modules() if isinstance(m, nn.Linear | nn.Conv2d)}
    outside = {n for n, layer in layers.items() if layer.weight.itemsize > 1}
    assert {name.partition(".")[0] for name in outside} == {"conv_in", "conv_out", "time_embedding"}
    assert packed.adaptable_layers()
    for name, layer in layers.items():
        before = plain.unet.get_submodule(name).weight
        assert layer.weight.nbytes == before.nbytes / (1 if name in outside else 2)
    latents, steps = draw(2, 4, 8, 8), torch.tensor([100, 800])
    words = plain.encode_captions(["a cat", "a dog"])
    ours, theirs = (each.predict(latents, steps, words).float() for each in (packed, plain))
    error = (ours - theirs).norm() / theirs.norm()
    assert 0 < error < (0.1 if kind == "fp8" else 0.03)


@pytest.mark.parametrize(("kind", "adapter"), [("fp8", "lora"), ("int8", "dora")])
def test_a_run_on_8_bits_learns_and_its_file_is_whole(kind, adapter, make_run, cache):
    run = make_run(f"base_model.quantize={kind}", f"adapter.kind={adapter}", "train.steps=6")
    assert train(run, cache) == "finished"
    losses = [e["loss"] for e in read_events(run.events_path) if e["event"] == "step"]
    assert np.isfinite(losses).all()
    assert [p for p in verify_file(run.path / "pico.safetensors") if p.severity == "error"] == []


def test_the_estimate_counts_one_byte_a_weight_and_four_a_channel(settings, pico):
    def estimate(kind):
        assignments = [f"base_model.quantize={kind}"]
        return estimate_memory(layer_config(settings=settings, assignments=assignments))

    plain, fp8, int8 = (estimate(kind).base_model_bytes for kind in ("none", "fp8", "int8"))
    layers = [m for m in load_plain(pico, quantize="fp8").unet.modules() if hasattr(m, "unpack")]
    saved = sum(3 * layer.weight.numel() - 4 * len(layer.scale) for layer in layers)
    assert plain - fp8 == plain - int8 == saved  # from fp32


def test_grouped_convolutions_keep_their_groups():
    layer = nn.Conv2d(4, 8, 3, groups=2)
    x = draw(1, 4, 6, 6)
    expected = functional.conv2d(x, layer.weight, layer.bias, groups=2)
    packed = EightBitConv2d(layer, EIGHT_BIT_FORMATS["int8"])
    torch.testing.assert_close(packed(x), expected, rtol=0.05, atol=0.02)
