"""What each kind of adapter changes, against NumPy and numbers worked out by hand."""

import math

import numpy as np
import pytest
import torch
from torch import nn

from tests.trainer.conftest import load_plain
from trainer.adapters import ADAPTERS, AdaLoRA, BudgetPlan, DoRA, LoKr, LoRA, MaxNorm, RankAllocator
from trainer.adapters.low_rank import drop_ranks
from trainer.config import AdapterConfig
from trainer.training.attach import attach_new

CPU = torch.device("cpu")


def fill(adapter, seed=0):
    """Gives all weights of an adapter random values, and returns them as NumPy arrays."""
    rng = np.random.default_rng(seed)
    for name, parameter in adapter.named_parameters():
        values = rng.normal(size=tuple(parameter.shape))
        parameter.data = torch.from_numpy(values + 3 if name == "magnitude" else values)
    adapter.double()
    return {name: parameter.detach().numpy() for name, parameter in adapter.named_parameters()}


def make_layer(kernel=0):
    torch.manual_seed(1)
    layer = nn.Conv2d(6, 4, kernel, padding=1) if kernel else nn.Linear(6, 4)
    return layer.double().requires_grad_(requires_grad=False)


def assert_change(adapter, expected):
    """The difference of the weight and the effect on an input are both as expected."""
    np.testing.assert_allclose(adapter.delta().detach().numpy(), expected, rtol=1e-9, atol=1e-12)
    if expected.ndim == 2:
        x = np.random.default_rng(5).normal(size=(3, 6))
        found = adapter(torch.from_numpy(x)).detach().numpy()
        np.testing.assert_allclose(found, x @ expected.T, rtol=1e-9, atol=1e-12)
    norm = np.sqrt((expected**2).sum())
    assert adapter.norm().item() == pytest.approx(norm, rel=1e-9)


def test_lora_by_hand():
    adapter = LoRA(nn.Linear(2, 2), rank=2, alpha=3.0)
    adapter.down.data = torch.tensor([[1.0, 2.0], [0.0, 1.0]])
    adapter.up.data = torch.tensor([[2.0, 0.0], [1.0, -1.0]])
    # up @ down is (2, 4), (1, 1), and alpha / rank is 3 / 2.
    assert adapter.delta().tolist() == [[3.0, 6.0], [1.5, 1.5]]
    # Of the input (2, 1): 3 * 2 + 6 * 1 and 1.5 * 2 + 1.5 * 1.
    assert adapter(torch.tensor([[2.0, 1.0]])).tolist() == [[12.0, 4.5]]


@pytest.mark.parametrize("kernel", [0, 3])
def test_lora(kernel):
    adapter = LoRA(make_layer(kernel), rank=3, alpha=1.5)
    weights = fill(adapter)
    down, up = weights["down"].reshape(3, -1), weights["up"].reshape(4, 3)
    assert_change(adapter, 0.5 * (up @ down).reshape(adapter.shape))


@pytest.mark.parametrize("kernel", [0, 3])
def test_loha(kernel):
    adapter = ADAPTERS["loha"](make_layer(kernel), 4, 1.0)
    w = fill(adapter)
    product = (w["w1_a"] @ w["w1_b"]) * (w["w2_a"] @ w["w2_b"])
    assert_change(adapter, product.reshape(adapter.shape) / 4)


@pytest.mark.parametrize(("whole", "scale"), [(True, 1.0), (False, 0.25)])
def test_lokr_scales_by_alpha_only_where_its_second_matrix_is_of_low_rank(whole, scale):
    adapter = LoKr(make_layer(), rank=2, alpha=0.5, first=(2, 3), whole=whole)
    w = fill(adapter)
    second = w["w2"] if whole else w["w2_a"] @ w["w2_b"]
    assert_change(adapter, scale * np.kron(w["w1"], second))


@pytest.mark.parametrize(("axis", "summed"), [("input", 0), ("output", 1)])
def test_dora_gives_each_channel_the_length_that_it_learned(axis, summed):
    layer = make_layer()
    base = layer.weight.numpy()
    adapter = ADAPTERS["dora"](layer, 3, 1.5, axis=axis)
    start = np.sqrt((base**2).sum(axis=summed, keepdims=True))
    np.testing.assert_allclose(adapter.magnitude.detach().numpy(), start, rtol=1e-6)
    w = fill(adapter)
    changed = base + 0.5 * w["inner.up"] @ w["inner.down"]
    lengths = np.sqrt((changed**2).sum(axis=summed, keepdims=True))
    assert_change(adapter, changed * w["magnitude"] / lengths - base)


def test_dora_by_hand():
    layer = nn.Linear(2, 1, bias=False)
    layer.weight.data = torch.tensor([[3.0, 0.0]])
    adapter = DoRA(layer, LoRA(layer, 1, 1.0), axis="output")
    adapter.inner.down.data, adapter.inner.up.data = torch.tensor([[0.0, 4.0]]), torch.ones(1, 1)
    # The direction is (3, 4) / 5; with a length of 10 it is (6, 8), which is (3, 8) away from W.
    adapter.magnitude.data = torch.tensor([[10.0]])
    assert adapter.delta().tolist() == [[3.0, 8.0]]


def test_vera_scales_the_shared_matrices_by_its_own_size():
    adapter = ADAPTERS["vera"](make_layer(), 5, 7.0)
    assert adapter.d.tolist() == pytest.approx([0.1] * 5)
    w = fill(adapter)
    first, second = (m.numpy() for m in adapter.projections.on(adapter.d))
    assert (first.shape, second.shape) == ((5, 6), (4, 5))
    assert 0.5 < np.abs(first).max() <= 1
    assert first.min() < 0 < first.max()
    # Kaiming: sqrt(6 / inputs) for both, that is sqrt(6 / 6) and sqrt(6 / 5).
    expected = np.diag(w["b"]) @ second @ np.diag(w["d"]) @ first * math.sqrt(6 / 6 * 6 / 5)
    assert_change(adapter, expected)
    wide = ADAPTERS["vera"](nn.Linear(24, 4).double(), 5, 7.0)
    w = fill(wide)
    first, second = (m.numpy() for m in wide.projections.on(wide.d))
    expected = np.diag(w["b"]) @ second @ np.diag(w["d"]) @ first * math.sqrt(6 / 24 * 6 / 5)
    np.testing.assert_allclose(wide.delta().detach().numpy(), expected, rtol=1e-9)


@pytest.mark.parametrize("kernel", [0, 3])
def test_adalora_is_a_singular_value_decomposition(kernel):
    adapter = AdaLoRA(make_layer(kernel), rank=3, alpha=1.5)
    w = fill(adapter)
    adapter.kept[1] = 0
    middle = np.diag(w["values"] * [1, 0, 1])
    expected = 0.5 * (w["left"] @ middle @ w["right"]).reshape(adapter.shape)
    assert_change(adapter, expected)


@pytest.mark.parametrize(
    ("scaling", "scales"),
    # The layer of another rank gets the alpha 2 * 5 / 4, so that alpha / rank stays 5 / 4.
    [
        ("alpha/rank", (1 / 3, 5 / 4, 1 / 8, 5 / 4)),
        ("alpha/sqrt(rank)", (1.0, 5 / 2, 1 / 2, 2.5 / math.sqrt(2))),
    ],
)
def test_rank_stabilised_scaling_divides_by_the_root_of_the_rank(scaling, scales, pico):
    config = AdapterConfig(
        scaling=scaling, rank=9, alpha=3.0, conv_rank=4, conv_alpha=5.0, text_rank=16,
        text_alpha=2.0, blocks=[{"pattern": "unet.mid_block.*.conv1", "rank": 2}],
    )  # fmt: skip
    adapters = attach_new(load_plain(pico), config, 1, CPU)
    found = {name: (a.rank, round(a.scale, 6)) for name, a in adapters.adapters.items()}
    ranks = (9, 4, 16, 2)
    usual, wide, text, own = ((n, round(s, 6)) for n, s in zip(ranks, scales, strict=True))
    attention = "unet.mid_block.attentions.0.transformer_blocks.0.attn1.to_q"
    assert found[attention] == usual
    assert found["unet.mid_block.resnets.0.conv1"] == own
    assert found["unet.mid_block.resnets.0.conv2"] == wide
    assert set(found.values()) == {usual, wide, text, own}


def test_ranks_that_are_left_out_are_made_up_for_by_the_others():
    torch.manual_seed(0)
    found = drop_ranks(torch.ones(200, 3, 8), 0.25, axis=-1)
    assert found.unique().tolist() == pytest.approx([0.0, 4 / 3])
    assert (found == 0).float().mean().item() == pytest.approx(0.25, abs=0.03)
    assert torch.equal(found[:, 0], found[:, 2])  # all places of an example lose the same ranks


# --- rules beside the gradient ------------------------------------------------------------------


def test_the_largest_norm_scales_both_factors_alike():
    adapter = LoRA(nn.Linear(2, 2), rank=1, alpha=2.0)
    adapter.down.data, adapter.up.data = torch.tensor([[3.0, 4.0]]), torch.tensor([[0.6], [0.8]])
    # The change is 2 * up * down, whose norm is 2 * 1 * 5 = 10: four times as large as 2.5.
    MaxNorm([adapter], 2.5).after_step(1)
    torch.testing.assert_close(adapter.down.data, torch.tensor([[1.5, 2.0]]))
    torch.testing.assert_close(adapter.up.data, torch.tensor([[0.3], [0.4]]))
    MaxNorm([adapter], 99.0).after_step(2)
    torch.testing.assert_close(adapter.down.data, torch.tensor([[1.5, 2.0]]))


def make_allocator(adapters, **settings):
    plan = {"steps": 100, "warmup_steps": 10, "final_steps": 30, **settings}
    return RankAllocator(adapters, BudgetPlan(**plan))


def test_the_penalty_of_adalora_is_the_mean_distance_from_right_angles():
    adapters = {name: AdaLoRA(make_layer(), 2, 1.0) for name in ("a", "b")}
    weights = [fill(adapter, seed) for seed, adapter in enumerate(adapters.values())]
    sides = [rows for w in weights for rows in (w["right"], w["left"].T)]
    distances = [np.sqrt(((rows @ rows.T - np.eye(2)) ** 2).sum()) for rows in sides]
    found = make_allocator(adapters, orthogonality=0.3).penalty()
    assert found.item() == pytest.approx(0.3 * np.mean(distances), rel=1e-9)


@pytest.mark.parametrize(
    ("step", "left"),
    # 40 ranks fall to 20 by (1 - done)^3, where done is 1/4 at step 25 and 1/2 at step 40.
    [(0, 40), (10, 40), (25, 28), (40, 22), (69, 20), (70, 20), (100, 20)],
)
def test_the_budget_of_adalora_falls_as_a_cube(step, left):
    plan = BudgetPlan(steps=100, warmup_steps=10, final_steps=30, kept_share=0.5)
    assert plan.count_left(step, 40) == left


def test_the_importance_of_adalora_is_smoothed_and_so_is_its_uncertainty():
    adapter = AdaLoRA(nn.Linear(2, 2), 1, 1.0)
    allocator = make_allocator({"a": adapter}, beta1=0.75, beta2=0.5, warmup_steps=60)
    adapter.values.data = torch.tensor([-2.0])
    for step, gradient in enumerate((4.0, 0.5), start=1):
        adapter.values.grad = torch.tensor([gradient])
        allocator.after_step(step)
    memory = allocator.memory()
    # |w g| is 8, then 1. Smoothed: 2 = 8 / 4, then 1.75 = 2 * 3/4 + 1 / 4.
    assert memory["a.values.importance"].item() == pytest.approx(1.75)
    # Apart from that: |8 - 2| = 6, then |1 - 1.75| = 0.75. Smoothed: 3, then 1.875.
    assert memory["a.values.uncertainty"].item() == pytest.approx(1.875)


@pytest.mark.parametrize(
    ("left", "right", "gone"),
    [
        # The value counts 3 * 2 = 6 for the first rank and 5 * 1 = 5 for the second one.
        (((0, 0), (0, 0)), ((0, 0), (0, 0)), 1),
        # The means of the vectors come on top: (4 + 0) / 2 for the second rank, not for the first.
        (((0, 0), (4, 0)), ((0, 0), (0, 0)), 0),
        (((0, 0), (0, 0)), ((0, 0), (4, 0)), 0),
        (((0, 0), (1, 0)), ((0, 0), (0.5, 0)), 1),  # 5 + 0.5 + 0.25 is less than 6
    ],
)
def test_the_least_important_rank_is_given_up(left, right, gone):
    adapter = AdaLoRA(nn.Linear(2, 2), 2, 1.0)
    allocator = make_allocator({"a": adapter}, kept_share=0.5)
    memory = allocator.memory()
    memory["a.values.importance"].copy_(torch.tensor([3.0, 5.0]))
    memory["a.values.uncertainty"].copy_(torch.tensor([2.0, 1.0]))
    for side, ranks in (("left", torch.tensor(left).T), ("right", torch.tensor(right))):
        memory[f"a.{side}.importance"].copy_(ranks)
        memory[f"a.{side}.uncertainty"].fill_(1)
    adapter.values.data = torch.tensor([7.0, 9.0])
    allocator.after_step(70)  # from here on the ranks stay as they are
    expected = [7.0, 9.0]
    expected[gone] = 0.0
    assert adapter.values.tolist() == expected
    assert adapter.kept.tolist() == [float(value != 0) for value in expected]
