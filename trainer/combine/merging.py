"""Merging the deltas of one layer: one function per method, all with the same signature.

Each combines several deltas and their weights into one delta. Methods that sparsify (`ties`,
`dare_linear`, `dare_ties`) return one without factors, which is then cut to a rank.
"""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from trainer.combine.delta import Delta, decompose, find_limit, from_matrix, join
from trainer.combine.errors import CombineError
from trainer.combine.sparsify import add_by_sign, add_weighted, drop_and_rescale, trim
from trainer.config import MergeOptions

# Singular vectors closer than about half a degree count as equal: fp16 is no more precise.
_EQUAL_SINE = 1e-2


Merge = Callable[[Sequence[Delta], Sequence[float], MergeOptions, torch.Generator], Delta]


def add_factors(
    deltas: Sequence[Delta],
    weights: Sequence[float],
    options: MergeOptions,
    generator: torch.Generator,
) -> Delta:
    """Adds ups to ups and downs to downs, each with the root of its weight, as PEFT's `linear`.

    The product of sums has cross terms that are in none of the files, so that this is the weighted
    sum only for adapters whose factors are alike: checkpoints of one run, or runs with one start.

    Raises:
        CombineError: ranks differ, or a delta has no factors.
    """
    del options, generator
    if len({delta.rank for delta in deltas}) > 1 or any(c.factors is None for c in deltas):
        ranks = ", ".join(str(c.rank) if c.factors else "none" for c in deltas)
        msg = (
            f"linear adds the factors of LoRA files, which needs equal ranks; here they are {ranks}"
        )
        raise CombineError(msg)
    scaled = [delta.scale(weight) for delta, weight in zip(deltas, weights, strict=True)]
    pairs = [delta.factors for delta in scaled if delta.factors]
    up = torch.stack([pair[0] for pair in pairs]).sum(0)
    down = torch.stack([pair[1] for pair in pairs]).sum(0)
    return Delta(deltas[0].shape, up, down)


def add_exactly(
    deltas: Sequence[Delta],
    weights: Sequence[float],
    options: MergeOptions,
    generator: torch.Generator,
) -> Delta:
    """Returns the weighted sum itself: factors side by side, ranks added up."""
    del options, generator
    return join([delta.scale(weight) for delta, weight in zip(deltas, weights, strict=True)])


def merge_ties(
    deltas: Sequence[Delta],
    weights: Sequence[float],
    options: MergeOptions,
    generator: torch.Generator,
) -> Delta:
    """Keeps the largest numbers, and of those only the ones with the majority sign.

    TIES-Merging (Yadav et al. 2023, arXiv:2306.01708): trim, elect sign, disjoint merge. As in PEFT
    the sign is elected before the weights, and the sum is divided by how many files agree.
    """
    del generator
    sparse = [trim(delta, options.density) for delta in deltas]
    return from_matrix(deltas[0].shape, add_by_sign(sparse, weights, options.majority_sign))


def merge_dare_linear(
    deltas: Sequence[Delta],
    weights: Sequence[float],
    options: MergeOptions,
    generator: torch.Generator,
) -> Delta:
    """Drops numbers at random, rescales the others, and adds them with their weights.

    DARE (Yu et al. 2023, arXiv:2311.03099): the expected value is the weighted sum.
    """
    sparse = [drop_and_rescale(delta, options.density, generator) for delta in deltas]
    return from_matrix(deltas[0].shape, add_weighted(sparse, weights))


def merge_dare_ties(
    deltas: Sequence[Delta],
    weights: Sequence[float],
    options: MergeOptions,
    generator: torch.Generator,
) -> Delta:
    """Drops numbers at random, then goes on as `ties` does (DARE with TIES)."""
    sparse = [drop_and_rescale(delta, options.density, generator) for delta in deltas]
    return from_matrix(deltas[0].shape, add_by_sign(sparse, weights, options.majority_sign))


def merge_orthogonally(
    deltas: Sequence[Delta],
    weights: Sequence[float],
    options: MergeOptions,
    generator: torch.Generator,
) -> Delta:
    """Adds the deltas after making their singular vectors orthogonal to each other.

    Task singular vectors (Gargiulo et al. 2025, TSV-Merge, arXiv:2412.00081, section 4.2): with the
    deltas as Uᵢ Sᵢ Vᵢᵀ, all Uᵢ side by side are replaced by the nearest matrix with orthonormal
    columns (its polar factor), all Vᵢ likewise, and the Sᵢ stay as they are. Deltas whose singular
    vectors are orthogonal are added exactly. What they share is counted once, not as often as it
    occurs: the merge of two equal files is one of them. (The paper leaves that case open; here
        vectors
    closer than half a degree count as equal.) Where the ranks add up to more than the layer has,
    each file keeps its largest singular values, the same number for each, as in the paper.
    """
    del options, generator
    limit = find_limit(deltas[0].shape)
    total = sum(delta.rank for delta in deltas)
    most = limit // len(deltas) if total > limit else limit
    svds = [decompose(delta) for delta in deltas]
    values = torch.cat(
        [each.values[:most] * weight for each, weight in zip(svds, weights, strict=True)]
    )
    u = _orthonormalise(torch.cat([each.u[:, :most] for each in svds], dim=1))
    v = _orthonormalise(torch.cat([each.v[:, :most] for each in svds], dim=1))
    roots = values.abs().sqrt()
    return Delta(deltas[0].shape, u * roots, (v * (roots * values.sign())).T)


MERGES: dict[str, Merge] = {
    "linear": add_factors,
    "concatenate": add_exactly,
    "svd": add_exactly,
    "ties": merge_ties,
    "dare_linear": merge_dare_linear,
    "dare_ties": merge_dare_ties,
    "orthogonal": merge_orthogonally,
}
# Methods whose result has an exact rank and is not truncated.
EXACT_RANKS = frozenset({"linear", "concatenate", "orthogonal"})


def _orthonormalise(vectors: Tensor) -> Tensor:
    """Returns the nearest matrix with orthonormal columns, as far as columns differ.

    With D = L S Rᵀ that is L Rᵀ = D R S⁻¹ Rᵀ, of which R and S² are found from the small Dᵀ D; in
    fp64 that is exact enough down to the smallest S that stays.
    """
    wide = vectors.double()
    squares, right = torch.linalg.eigh(wide.T @ wide)
    distinct = squares > _EQUAL_SINE**2
    right = right[:, distinct]
    return (wide @ (right / squares[distinct].sqrt() @ right.T)).float()
