"""Frozen layers and their LoRA as one operation: the formula's numbers, and when it is used."""

import pytest
import torch
from diffusers import UNet2DConditionModel
from torch import nn
from torch.nn import functional

from tests.trainer.test_step_cost import Count
from trainer.adapters import LoRA, Target, inject
from trainer.adapters.fused_product import lay_side_by_side, multiply_together
from trainer.models.redundancy import remove_redundancy, use_channels_last
from trainer.optim import restore_optimizer

SELF = ("attn1.to_q", "attn1.to_k", "attn1.to_v")
CROSS = ("attn2.to_k", "attn2.to_v")


def make_tensors(count, shape, generator, grad=True):
    parts = [torch.randn(shape, generator=generator, dtype=torch.float64) for _ in range(count)]
    return [nn.Parameter(part, requires_grad=grad) for part in parts]


@pytest.mark.parametrize("together", [True, False])
@pytest.mark.parametrize("scale", [1.0, 0.25])
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("count", [1, 2, 3])
def test_outputs_and_gradients_are_those_of_the_formula(count, bias, scale, together):
    generator = torch.Generator().manual_seed(5)
    x = torch.randn(2, 7, 6, generator=generator, dtype=torch.float64, requires_grad=True)
    downs, ups = (make_tensors(count, shape, generator) for shape in ((3, 6), (5, 3)))
    weights = make_tensors(count, (5, 6), generator, grad=False)
    biases = make_tensors(count if bias else 0, (5,), generator, grad=False)
    if together:
        for parameters in (downs, ups, weights, biases):
            lay_side_by_side(parameters) if parameters else None
    outputs = multiply_together(x, scale, (downs, ups), (weights, biases))
    expected = [
        functional.linear(x, weight + scale * up @ down, biases[index] if bias else None)
        for index, (weight, up, down) in enumerate(zip(weights, ups, downs, strict=True))
    ]
    # Another factor for each, so that exchanged outputs or gradients are noticed.
    losses = [
        sum(((index + 1) * y.sin()).sum() for index, y in enumerate(each))
        for each in (outputs, expected)
    ]
    learned = [x, *downs, *ups]
    found, exact = (torch.autograd.grad(loss, learned) for loss in losses)
    torch.testing.assert_close(list(outputs), expected, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(found, exact, rtol=1e-12, atol=1e-12)


def attach(names, ranks=(4, 4, 4), kernel=None, dtype=torch.float64):
    torch.manual_seed(0)
    make = nn.Linear if kernel is None else lambda a, b: nn.Conv2d(a, b, kernel)
    layers = [make(6, 6).to(dtype).requires_grad_(False) for _ in names]
    targets = [Target(f"unet.{n}", each, "unet") for n, each in zip(names, layers, strict=True)]
    left = iter(ranks)
    adapters = inject(targets, lambda target: LoRA(target.layer, next(left), 2.0).to(dtype))
    for parameter in adapters.named_parameters().values():
        parameter.data.normal_()
    adapters.to(torch.device("cpu"))
    return layers, adapters


def written_out(layers, adapters, inputs):
    results = []
    pairs = zip(adapters.adapters.values(), layers, strict=True)
    for (adapter, layer), x in zip(pairs, inputs, strict=True):
        change = functional.linear(x, adapter.delta()) * adapter.multiplier
        results.append(functional.linear(x, layer.weight, layer.bias) + change)
    return results


def count_products(layers, inputs):
    with Count() as count:
        outputs = [layer(x) for layer, x in zip(layers, inputs, strict=True)]
    names = ("mm", "addmm", "addmm_", "bmm", "baddbmm_")
    return outputs, sum(count.kernels[name] for name in names)


@pytest.mark.parametrize(("names", "count"), [(SELF, 3), (CROSS, 2)])
def test_layers_of_one_input_share_their_products(names, count):
    layers, adapters = attach(names)
    x = torch.randn(2, 5, 6, dtype=torch.float64)
    inputs = [x] * count
    outputs, products = count_products(layers, inputs)
    assert products == 3  # frozen, down, up
    torch.testing.assert_close(outputs, written_out(layers, adapters, inputs))
    adapters.set_multiplier(0.5)
    outputs, _ = count_products(layers, inputs)
    torch.testing.assert_close(outputs, written_out(layers, adapters, inputs))
    assert not any(group._outputs for group in adapters._groups)


def test_frozen_weights_that_were_moved_are_laid_together_again():
    layers, adapters = attach(SELF)
    for layer in layers:
        layer.weight.data, layer.bias.data = layer.weight.data.clone(), layer.bias.data.clone()
    inputs = [torch.randn(2, 5, 6, dtype=torch.float64)] * 3
    outputs, products = count_products(layers, inputs)
    assert products == 3
    torch.testing.assert_close(outputs, written_out(layers, adapters, inputs))


def test_layers_are_called_with_different_inputs_or_ranks_all_the_same():
    layers, adapters = attach(SELF)
    inputs = [torch.randn(2, 5, 6, dtype=torch.float64) for _ in SELF]
    outputs, _ = count_products(layers, inputs)
    torch.testing.assert_close(outputs, written_out(layers, adapters, inputs))
    layers, adapters = attach(SELF, ranks=(4, 2, 4))
    assert not adapters._groups
    outputs, _ = count_products(layers, inputs)
    torch.testing.assert_close(outputs, written_out(layers, adapters, inputs))


def test_a_part_of_the_layers_is_no_group():
    layers, adapters = attach((SELF[0], SELF[2]))
    inputs = [torch.randn(2, 5, 6, dtype=torch.float64)] * 2
    outputs, _ = count_products(layers, inputs)
    assert not adapters._groups
    torch.testing.assert_close(outputs, written_out(layers, adapters, inputs))


def test_dropout_is_left_to_the_adapter():
    layers, adapters = attach(SELF)
    for adapter in adapters.adapters.values():
        adapter.set_dropout(0.5, 0.0, 0.0)
    adapters.train(mode=True)
    inputs = [torch.ones(2, 50, 6, dtype=torch.float64)] * 3
    outputs, _ = count_products(layers, inputs)
    for output, expected in zip(outputs, written_out(layers, adapters, inputs), strict=True):
        assert not torch.allclose(output, expected)
    adapters.train(mode=False)
    outputs, _ = count_products(layers, inputs)
    torch.testing.assert_close(outputs, written_out(layers, adapters, inputs))


def test_layers_are_their_own_again_without_the_adapters():
    layers, adapters = attach(SELF)
    x = torch.randn(2, 5, 6, dtype=torch.float64)
    adapters.remove()
    assert not any("forward" in vars(layer) or layer._forward_hooks for layer in layers)
    for layer in layers:
        assert torch.equal(layer(x), functional.linear(x, layer.weight, layer.bias))


@pytest.mark.parametrize("order", [torch.channels_last, torch.contiguous_format])
def test_a_convolution_of_one_pixel_is_a_product_where_its_input_is_a_matrix(order):
    (layer,), adapters = attach(("conv",), kernel=1)
    adapter = adapters.adapters["unet.conv"]
    x = torch.randn(2, 6, 3, 4, dtype=torch.float64).to(memory_format=order).requires_grad_()
    expected = functional.conv2d(x, layer.weight + adapter.delta(), layer.bias)
    with Count() as count:
        output = layer(x)
    assert (count.kernels["convolution"] == 0) == (order == torch.channels_last)
    learned = [x, adapter.down, adapter.up]
    found, exact = (torch.autograd.grad(y.sin().sum(), learned) for y in (output, expected))
    torch.testing.assert_close(output, expected)
    torch.testing.assert_close(found, exact)


def test_a_unet_without_redundant_operations_gives_the_same_to_the_last_bit(pico):
    plain, changed = (UNet2DConditionModel.from_pretrained(pico / "unet") for _ in range(2))
    text = torch.randn(2, 77, plain.config.cross_attention_dim)
    inputs = (torch.randn(2, 4, 8, 8), torch.tensor([500, 20]), text)
    remove_redundancy(changed)
    with torch.no_grad(), Count() as before:
        expected = plain(*inputs).sample
    with torch.no_grad(), Count() as after:
        result = changed(*inputs).sample
    assert torch.equal(result, expected)
    resnets = sum(type(each).__name__ == "ResnetBlock2D" for each in plain.modules())
    assert before.kernels["silu"] - after.kernels["silu"] == resnets - 1
    assert before.kernels["div"] - after.kernels["div"] > resnets
    use_channels_last(changed)
    with torch.no_grad(), Count() as last:
        torch.testing.assert_close(changed(*inputs).sample, expected, rtol=1e-4, atol=1e-5)
    assert last.kernels["clone"] < after.kernels["clone"]
    assert list(plain.state_dict()) == list(changed.state_dict())


def test_a_restored_optimizer_lies_in_the_order_of_its_weights():
    """A fused update goes through weight, gradient and state by their place in memory."""
    weight = torch.randn(4, 3, 3, 3).to(memory_format=torch.channels_last)
    first, second = (nn.Parameter(weight.clone()) for _ in range(2))
    optimizers = [torch.optim.AdamW([each], fused=True) for each in (first, second)]

    def update(number):
        for parameter, optimizer in zip((first, second), optimizers, strict=True):
            generator = torch.Generator().manual_seed(number)
            gradient = torch.randn(weight.shape, generator=generator)
            parameter.grad = torch.empty_like(parameter).copy_(gradient)
            optimizer.step()

    update(0)
    state = {
        f"w.{key}": value.contiguous().clone() for key, value in optimizers[0].state[first].items()
    }
    optimizers[1].state.clear()
    numbers = {"weights": {}, "groups": [{}]}
    restore_optimizer(optimizers[1], {"w": second}, state, numbers)
    update(1)
    assert torch.equal(first, second)
