"""The mathematics of merging: against PEFT's functions, and by what each method promises."""

import math

import pytest
import torch
from peft.utils import merge_utils

from trainer.combine import MERGES, CombineError
from trainer.combine import truncated_svd as leading
from trainer.combine.delta import (
    Delta,
    choose_rank,
    decompose,
    from_matrix,
    join,
    measure_effective_rank,
    multiply_inner,
)
from trainer.combine.merge import fit_rank
from trainer.combine.similarity import SimilarityReport, measure_similarity
from trainer.combine.sparsify import trim
from trainer.config import MergeOptions

SHAPES = [(12, 20), (20, 12), (10, 6, 3, 3)]


def draw(shape, rank=3, seed=0, scale=1.0):
    generator = torch.Generator().manual_seed(seed)
    inner = math.prod(shape[1:])
    up = torch.randn(shape[0], rank, generator=generator) * scale
    return Delta(shape, up, torch.randn(rank, inner, generator=generator))


def merge(method, changes, weights, seed=0, **options):
    generator = torch.Generator().manual_seed(seed)
    return MERGES[method](changes, weights, MergeOptions(**options), generator).multiply_out()


def add_up(changes, weights):
    return sum(w * change.multiply_out() for w, change in zip(weights, changes, strict=True))


@pytest.fixture(params=SHAPES)
def changes(request):
    return [draw(request.param, seed=seed, scale=1 + seed) for seed in range(3)]


WEIGHTS = [1.0, -0.5, 0.7]
DENSITIES = [0.1, 0.37, 0.5, 1.0]


@pytest.mark.filterwarnings("ignore:The density")
@pytest.mark.parametrize("sign", ["total", "frequency"])
@pytest.mark.parametrize("density", DENSITIES)
def test_ties_is_that_of_peft(changes, density, sign):
    matrices = [change.multiply_out() for change in changes]
    theirs = merge_utils.ties(matrices, torch.tensor(WEIGHTS), density, sign)
    ours = merge("ties", changes, WEIGHTS, density=density, majority_sign=sign)
    assert torch.allclose(ours, theirs, atol=1e-6)


@pytest.mark.filterwarnings("ignore:The density")
@pytest.mark.parametrize("density", DENSITIES)
@pytest.mark.parametrize("method", ["dare_linear", "dare_ties"])
def test_dare_drops_the_same_numbers_as_peft_with_the_same_seed(changes, method, density):
    matrices = [change.multiply_out() for change in changes]
    torch.manual_seed(11)
    theirs = getattr(merge_utils, method)(matrices, torch.tensor(WEIGHTS), density)
    ours = merge(method, changes, WEIGHTS, seed=11, density=density)
    assert torch.allclose(ours, theirs, atol=1e-6)
    if density < 1:
        assert not torch.allclose(merge(method, changes, WEIGHTS, seed=12, density=density), theirs)


def merge_in_peft(changes, weights, combination, **options):
    """Returns what PEFT's `add_weighted_adapter` makes of LoRAs on one linear layer."""
    from peft import LoraConfig, get_peft_model

    outputs, inputs = changes[0].shape
    model = torch.nn.Sequential(torch.nn.Linear(inputs, outputs, bias=False))
    names = [f"a{number}" for number in range(len(changes))]
    config = LoraConfig(r=changes[0].rank, lora_alpha=2 * changes[0].rank, target_modules=["0"])
    peft = get_peft_model(model, config, adapter_name=names[0])
    for name in names[1:]:
        peft.add_adapter(name, config)
    layer = peft.base_model.model[0]
    for name, change in zip(names, changes, strict=True):
        # Their scale is 2; ours is in the factors, to equal shares.
        layer.lora_A[name].weight.data = change.down / math.sqrt(2)
        layer.lora_B[name].weight.data = change.up / math.sqrt(2)
    peft.base_model.add_weighted_adapter(names, weights, "merged", combination, **options)
    return layer.get_delta_weight("merged").detach()


@pytest.mark.parametrize("method", ["linear", "concatenate"])
def test_factors_are_added_and_concatenated_as_in_peft(method):
    changes = [draw((12, 20), seed=seed) for seed in range(3)]
    theirs = merge_in_peft(changes, WEIGHTS, {"concatenate": "cat"}.get(method, method))
    assert torch.allclose(merge(method, changes, WEIGHTS), theirs, atol=1e-5)


def test_svd_is_that_of_peft():
    changes = [draw((12, 20), seed=seed) for seed in range(3)]
    theirs = merge_in_peft(changes, WEIGHTS, "svd", svd_rank=4)
    generator = torch.Generator()
    joined = MERGES["svd"](changes, WEIGHTS, MergeOptions(), generator)
    assert torch.allclose(decompose(joined).cut(4).multiply_out(), theirs, atol=1e-5)


def test_concatenation_is_the_weighted_sum(changes):
    exact = add_up(changes, WEIGHTS)
    error = (merge("concatenate", changes, WEIGHTS) - exact).norm() / exact.norm()
    assert error < 1e-6


def test_linear_refuses_unequal_ranks():
    with pytest.raises(CombineError, match="equal ranks; here they are 3, 2"):
        merge("linear", [draw((12, 20)), draw((12, 20), rank=2)], [1, 1])


def test_linear_refuses_changes_without_factors():
    whole = from_matrix((12, 20), torch.ones(12, 20))
    with pytest.raises(CombineError, match="here they are 3, none"):
        merge("linear", [draw((12, 20)), whole], [1, 1])


def split(shape, count, rank):
    """Returns changes that share neither a row nor a column direction."""
    generator = torch.Generator().manual_seed(0)
    inner = math.prod(shape[1:])
    u = torch.linalg.qr(torch.randn(shape[0], count * rank, generator=generator))[0]
    v = torch.linalg.qr(torch.randn(inner, count * rank, generator=generator))[0]
    values = torch.rand(count * rank, generator=generator) + 0.5
    columns = [slice(n * rank, (n + 1) * rank) for n in range(count)]
    return [Delta(shape, u[:, c] * values[c], v[:, c].T) for c in columns]


def test_orthogonal_adds_changes_that_share_nothing_exactly():
    changes = split((12, 20), count=3, rank=3)
    exact = add_up(changes, WEIGHTS)
    assert torch.allclose(merge("orthogonal", changes, WEIGHTS), exact, atol=1e-5)


def test_orthogonal_counts_what_is_equal_once():
    change = draw((12, 20))
    twice = merge("orthogonal", [change, change], [1.0, 1.0])
    assert torch.allclose(twice, change.multiply_out(), atol=1e-4)


def test_orthogonal_makes_directions_orthogonal_and_keeps_all_strengths():
    changes = [draw((40, 50), seed=seed) for seed in range(3)]
    merged = from_matrix((40, 50), merge("orthogonal", changes, [1.0, 1.0, 1.0]))
    strengths = torch.cat([decompose(change).values for change in changes])
    wanted = strengths.sort(descending=True).values
    assert torch.allclose(decompose(merged).values, wanted, rtol=1e-4)


def test_orthogonal_does_not_depend_on_the_order():
    changes = [draw((12, 20), seed=seed) for seed in range(3)]
    one, other = (
        merge("orthogonal", changes, WEIGHTS),
        merge("orthogonal", changes[::-1], WEIGHTS[::-1]),
    )
    assert torch.allclose(one, other, atol=1e-5)


@pytest.mark.parametrize("method", MERGES)
def test_one_file_that_weighs_nothing_is_not_there(method):
    changes = [draw((12, 20), seed=seed) for seed in range(2)]
    if method in {"ties", "dare_ties", "orthogonal"}:
        # These look at directions and signs before the weights; the whole may not vanish, though.
        assert merge(method, changes, [1.0, 0.0]).norm() > 0
    else:
        alone = merge(method, changes[:1], [1.0], density=1.0)
        assert torch.allclose(merge(method, changes, [1.0, 0.0], density=1.0), alone, atol=1e-6)


@pytest.mark.parametrize("whole", [False, True])
@pytest.mark.parametrize("shape", SHAPES)
def test_taking_apart_and_putting_together_changes_nothing(shape, whole):
    change = draw(shape, rank=5)
    given = from_matrix(shape, change.multiply_out()) if whole else change
    spectrum = decompose(given)
    assert spectrum.values.numel() == 5
    assert torch.allclose(spectrum.cut(5).multiply_out(), change.multiply_out(), atol=1e-5)
    reference = torch.linalg.svdvals(change.multiply_out())[:5]
    assert torch.allclose(spectrum.values, reference, rtol=1e-5)


@pytest.mark.parametrize("energy", [0.5, 0.9, 0.99])
def test_the_energy_that_was_asked_for_is_kept_with_the_fewest_directions(energy):
    spectrum = decompose(draw((30, 40), rank=12))
    rank = choose_rank(spectrum, energy=energy)
    assert spectrum.share(rank) >= energy > spectrum.share(rank - 1)
    change = draw((30, 40), rank=12).multiply_out()
    kept = spectrum.cut(rank).multiply_out().norm() ** 2 / change.norm() ** 2
    assert kept.item() == pytest.approx(spectrum.share(rank), rel=1e-4)


def test_the_ratio_of_singular_values_decides_what_is_kept():
    values = torch.tensor([8.0, 4.0, 2.0, 1.0])
    spectrum = decompose(from_matrix((4, 4), torch.diag(values)))
    assert [choose_rank(spectrum, ratio=ratio) for ratio in (1, 2, 3.9, 4, 100)] == [1, 2, 2, 3, 4]


def test_effective_rank_counts_equal_values_and_ignores_small_ones():
    equal = decompose(from_matrix((6, 6), torch.eye(6)))
    assert measure_effective_rank(equal) == pytest.approx(6)
    one = decompose(from_matrix((6, 6), torch.diag(torch.tensor([1.0, 1e-4, 0, 0, 0, 0]))))
    assert measure_effective_rank(one) < 1.01


def test_inner_products_of_factors_are_those_of_their_matrices(changes):
    one, other = changes[:2]
    wanted = (one.multiply_out() * other.multiply_out()).sum().item()
    assert multiply_inner(one, other) == pytest.approx(wanted, rel=1e-4)
    whole = from_matrix(one.shape, one.multiply_out())
    assert multiply_inner(whole, other) == pytest.approx(wanted, rel=1e-4)


def test_joining_factors_and_matrices_is_the_sum(changes):
    mixed = [changes[0], from_matrix(changes[0].shape, changes[1].multiply_out())]
    assert torch.allclose(join(mixed).multiply_out(), add_up(changes[:2], [1, 1]), atol=1e-5)


def report_on(changes, result):
    layer = measure_similarity("x", range(len(changes)), changes, result, signs=True)
    return SimilarityReport([layer])


def test_interference_of_equal_and_of_opposite_changes():
    change = draw((12, 20))
    equal = report_on([change, change], join([change, change]))
    assert equal.cosines[0, 1] == pytest.approx(1)
    assert equal.sign_conflicts == 0
    assert equal.lost == pytest.approx(0, abs=1e-9)
    opposite = report_on([change, change.scale(-1)], change)
    assert opposite.cosines[0, 1] == pytest.approx(-1)
    assert opposite.sign_conflicts == 1


def test_what_a_merge_loses_is_the_distance_from_the_weighted_sum():
    changes = [draw((12, 20), seed=seed) for seed in range(2)]
    exact = join(changes)
    spectrum = decompose(exact)
    report = report_on(changes, spectrum.cut(2))
    assert report.lost == pytest.approx(1 - spectrum.share(2), rel=1e-4)
    assert report.to_dict()["layers"][0]["rank"] == 2


@pytest.mark.filterwarnings("ignore:The density")
@pytest.mark.parametrize("method", ["ties", "dare_linear", "dare_ties"])
def test_a_matrix_of_many_blocks_is_merged_as_in_peft(method):
    changes = [draw((700, 1000), rank=8, seed=seed) for seed in range(2)]
    matrices = [change.multiply_out() for change in changes]
    torch.manual_seed(3)
    theirs = getattr(merge_utils, method)(matrices, torch.tensor([1.0, -0.5]), 0.3)
    ours = merge(method, changes, [1.0, -0.5], seed=3, density=0.3)
    # A matrix of one block and one of three may differ by rounding, and so may the threshold.
    assert ((ours - theirs).abs() > 1e-4).sum() <= 2


@pytest.mark.parametrize("density", [1e-9, 0.003, 0.5, 0.99, 1.0])
def test_trimming_keeps_as_many_numbers_as_were_asked_for(density):
    change = draw((700, 1000), rank=8)
    kept = trim(change, density).make_rows(slice(None))
    assert int((kept != 0).sum()) == int(density * 700_000)
    whole = change.multiply_out()
    assert (whole[kept == 0].abs().max() if density < 1 else 0) <= whole.abs().max()
    if 0 < int(density * 700_000) < 700_000:
        assert kept[kept != 0].abs().min() > whole[kept == 0].abs().max()


def list_energies(change):
    """Returns the exact squares of all singular values, the largest first."""
    matrix = change.multiply_out().double()
    return torch.linalg.svdvals(matrix) ** 2


# Sizes of SDXL, and what is hard: numbers drawn, few that stay, directions of equal strength.
HARD = [
    ((1280, 1280), "ties", 0.5, 0.0),
    pytest.param((1280, 1280), "dare_linear", 0.1, 0.0, marks=pytest.mark.slow),
    pytest.param((1280, 1280), "dare_ties", 0.1, 0.7, marks=pytest.mark.slow),
    pytest.param((640, 5760), "dare_linear", 0.01, 0.0, marks=pytest.mark.slow),
    ((5120, 640), "ties", 0.2, 0.7),
]


@pytest.mark.parametrize(("shape", "method", "density", "decay"), HARD)
def test_a_rank_holds_the_most_energy_that_it_can_to_a_thousandth(shape, method, density, decay):
    changes = []
    for seed in range(2):
        change = draw(shape, rank=32, seed=seed)
        strengths = torch.arange(1, 33).float() ** -decay
        changes.append(Delta(shape, change.up * strengths, change.down))
    options = MergeOptions(density=density)
    merged = MERGES[method](changes, [1.0, 0.8], options, torch.Generator().manual_seed(1))
    for rank in (8, 32):
        result, cut = fit_rank(merged, rank, energy=1.0)
        squares = list_energies(merged)
        best = float(1 - squares[:rank].sum() / squares.sum())
        assert best - 1e-5 <= cut <= best + 1e-3
        missed = (merged.whole - result.multiply_out()).double().square().sum() / squares.sum()
        assert missed.item() == pytest.approx(cut, abs=1e-5)
        again, _ = fit_rank(merged, rank, energy=1.0)
        assert torch.equal(again.up, result.up)
        assert torch.equal(again.down, result.down)


def test_the_strongest_directions_are_those_of_an_exact_decomposition():
    change = draw((400, 500), rank=300)
    values = torch.arange(300, 0, -1).float() ** 2
    u, v = (torch.linalg.qr(each)[0] for each in (change.up, change.down.T))
    whole = from_matrix((400, 500), (u * values) @ v.T)
    found, exact = decompose(whole, most=10), decompose(whole)
    assert (found.values.numel(), exact.values.numel()) == (10, 300)
    assert torch.allclose(found.values, exact.values[:10], rtol=5e-3)
    assert found.energy == pytest.approx(exact.energy, rel=1e-5)
    assert found.share(7) == pytest.approx(exact.share(7), abs=5e-4)
    for wish in ({"energy": 0.05}, {"energy": 0.999}, {"ratio": 1.03}):
        assert choose_rank(found, 10, **wish) == choose_rank(exact, 10, **wish)


def test_a_small_matrix_and_one_that_does_not_settle_are_taken_apart_exactly(monkeypatch):
    small = draw((40, 50), rank=30).multiply_out()
    assert leading.compute_truncated_svd(small, 4) is None
    large = from_matrix((300, 400), torch.randn(300, 400, generator=torch.Generator()))
    assert leading.compute_truncated_svd(large.whole, 4) is not None
    monkeypatch.setattr(leading, "_MAX_ITERATIONS", 2)
    assert leading.compute_truncated_svd(large.whole, 4) is None
    assert decompose(large, most=4).values.numel() == 300


@pytest.mark.parametrize("rank", [1, 3])
def test_a_matrix_of_low_rank_and_one_of_zeros_settle(rank):
    change = draw((200, 300), rank=rank)
    spectrum = decompose(from_matrix((200, 300), change.multiply_out()), most=8)
    assert spectrum.values.numel() == rank
    assert torch.allclose(spectrum.cut(8).multiply_out(), change.multiply_out(), atol=1e-4)
    assert decompose(from_matrix((200, 300), torch.zeros(200, 300)), most=8).values.numel() == 0
