"""What a step dispatches: counted, because on a GPU each operation costs its launch."""

import collections

import pytest
import torch
from torch.nn import functional
from torch.utils._python_dispatch import TorchDispatchMode

from trainer.adapters.product import add_product
from trainer.training.loop import read_batches
from trainer.training.session import open_session
from trainer.training.step import take_step

SHAPES = {
    "linear": ((2, 7, 5), (2, 7, 3), (5, 3)),
    "convolution": ((2, 5, 3, 4), (2, 3, 3, 4), (5, 3, 1, 1)),
}


class Count(TorchDispatchMode):
    """Counts operations by name, those that return a view apart."""

    def __init__(self):
        super().__init__()
        self.kernels, self.views = collections.Counter(), 0

    def __torch_dispatch__(self, func, _types, args=(), kwargs=None):
        returns = func._schema.returns
        name = func._schema.name.removeprefix("aten::")
        if name == "_unsafe_view" or any(
            each.alias_info and not each.alias_info.is_write for each in returns
        ):
            self.views += 1
        else:
            self.kernels[name] += 1
        return func(*args, **(kwargs or {}))


def written_out(output, hidden, up, scale):
    apply = functional.linear if up.ndim == 2 else functional.conv2d
    return output + apply(hidden, up) * scale


def make_operands(shapes, dtype=torch.float64):
    generator = torch.Generator().manual_seed(3)
    return [torch.randn(s, generator=generator, dtype=dtype, requires_grad=True) for s in shapes]


@pytest.mark.parametrize("scale", [1.0, 0.25])
@pytest.mark.parametrize("layer", SHAPES)
def test_the_product_and_its_gradients_are_those_of_the_formula(layer, scale):
    operands = make_operands(SHAPES[layer])
    result = add_product(operands[0] * 1, *operands[1:], scale)
    expected = written_out(*operands, scale)
    torch.testing.assert_close(result, expected, rtol=1e-12, atol=1e-12)
    weights = torch.randn_like(result)
    gradients = torch.autograd.grad((result * weights).sum(), operands)
    exact = torch.autograd.grad((expected * weights).sum(), operands)
    torch.testing.assert_close(gradients, exact, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("layer", SHAPES)
def test_an_output_in_another_format_or_order_is_added_to_all_the_same(layer):
    output, hidden, up = make_operands(SHAPES[layer], torch.float32)
    half = output.detach().half()
    result = add_product(half.clone(), hidden, up, 0.5)
    assert result.dtype == torch.float16
    expected = written_out(half.float(), hidden, up, 0.5)
    torch.testing.assert_close(result.float(), expected, rtol=2e-3, atol=2e-3)
    turned = output.detach().transpose(0, -1).contiguous().transpose(0, -1)
    assert not turned.is_contiguous()
    torch.testing.assert_close(
        add_product(turned.clone(), hidden, up, 0.5), written_out(output, hidden, up, 0.5)
    )


def test_an_output_that_its_own_gradient_needs_is_an_error_and_no_wrong_gradient():
    output, hidden, up = make_operands(SHAPES["linear"])
    result = add_product(output.exp(), hidden, up, 0.5)  # exp keeps its output
    with pytest.raises(RuntimeError, match="inplace operation"):
        result.sum().backward()


def test_a_step_reads_no_value_and_passes_over_each_output_once(make_run, cache):
    session = open_session(make_run(), cache)
    session.adapters.train(mode=True)
    batches = read_batches(session)
    for _ in range(2):
        take_step(session, batches)
    with Count() as count:
        take_step(session, batches)
    # Reading a value has the host wait for the device; only logged steps do.
    assert count.kernels["_local_scalar_dense"] == 0
    adapted = len(session.adapters.adapters)
    assert count.kernels["addmm_"] + count.kernels["baddbmm_"] == adapted
    # One for each weight of the optimiser would be three times the adapters at least.
    per_weight = [n for n in count.kernels if "adam" in n or n.startswith("_foreach")]
    assert sum(count.kernels[name] for name in per_weight) < 12
    assert sum(count.kernels.values()) < 14 * adapted
