"""Merging the changes of one layer: one function per method, all with the same signature.

Of several changes and their weights each makes one change. Methods that leave numbers out
(`ties`, `dare_linear`, `dare_ties`) make one without factors, which is then cut to a rank.
"""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from trainer.combine.delta import Change, decompose, find_limit, from_matrix, join
from trainer.combine.errors import CombineError
from trainer.combine.sparsify import add_by_sign, add_weighted, draw, trim
from trainer.config import MergeOptions

# Directions nearer to each other than about half a degree are one: fp16 tells no more.
_SAME_DIRECTION = 1e-2


Merge = Callable[[Sequence[Change], Sequence[float], MergeOptions, torch.Generator], Change]


def add_factors(
    changes: Sequence[Change],
    weights: Sequence[float],
    options: MergeOptions,
    generator: torch.Generator,
) -> Change:
    """Adds ups to ups and downs to downs, each with the root of its weight, as PEFT's `linear`.

    The product of sums has cross terms that none of the files meant, so that this is the weighted
    sum only for adapters whose factors are alike: checkpoints of one run, or runs with one start.

    Raises:
        CombineError: ranks differ, or a change has no factors.
    """
    del options, generator
    if len({change.rank for change in changes}) > 1 or any(c.factors is None for c in changes):
        ranks = ", ".join(str(c.rank) if c.factors else "none" for c in changes)
        msg = (
            f"linear adds the factors of LoRA files, which needs equal ranks; here they are {ranks}"
        )
        raise CombineError(msg)
    scaled = [change.scale(weight) for change, weight in zip(changes, weights, strict=True)]
    pairs = [change.factors for change in scaled if change.factors]
    up = torch.stack([pair[0] for pair in pairs]).sum(0)
    down = torch.stack([pair[1] for pair in pairs]).sum(0)
    return Change(changes[0].shape, up, down)


def add_exactly(
    changes: Sequence[Change],
    weights: Sequence[float],
    options: MergeOptions,
    generator: torch.Generator,
) -> Change:
    """Returns the weighted sum itself: factors side by side, ranks added up."""
    del options, generator
    return join([change.scale(weight) for change, weight in zip(changes, weights, strict=True)])


def merge_ties(
    changes: Sequence[Change],
    weights: Sequence[float],
    options: MergeOptions,
    generator: torch.Generator,
) -> Change:
    """Keeps large numbers, and of those only the ones of the majority's sign.

    TIES-Merging (Yadav et al. 2023, arXiv:2306.01708): trim, elect sign, disjoint merge. As in PEFT
    the sign is elected before the weights, and the sum is divided by how many files agree.
    """
    del generator
    thin = [trim(change, options.density) for change in changes]
    return from_matrix(changes[0].shape, add_by_sign(thin, weights, options.majority_sign))


def merge_dare_linear(
    changes: Sequence[Change],
    weights: Sequence[float],
    options: MergeOptions,
    generator: torch.Generator,
) -> Change:
    """Adds what is left when numbers are dropped at random and the others made larger for it.

    DARE (Yu et al. 2023, arXiv:2311.03099): the mean over all draws is the weighted sum.
    """
    thin = [draw(change, options.density, generator) for change in changes]
    return from_matrix(changes[0].shape, add_weighted(thin, weights))


def merge_dare_ties(
    changes: Sequence[Change],
    weights: Sequence[float],
    options: MergeOptions,
    generator: torch.Generator,
) -> Change:
    """Drops numbers at random, then goes on as `ties` does (DARE with TIES)."""
    thin = [draw(change, options.density, generator) for change in changes]
    return from_matrix(changes[0].shape, add_by_sign(thin, weights, options.majority_sign))


def merge_orthogonally(
    changes: Sequence[Change],
    weights: Sequence[float],
    options: MergeOptions,
    generator: torch.Generator,
) -> Change:
    """Adds the changes after their directions are turned away from each other.

    Task singular vectors (Gargiulo et al. 2025, TSV-Merge, arXiv:2412.00081, section 4.2): with the
    changes as Uᵢ Sᵢ Vᵢᵀ, all Uᵢ side by side are replaced by the nearest matrix with orthonormal
    columns (its polar factor), all Vᵢ likewise, and the Sᵢ stay as they are. Changes that share no
    direction are added exactly. What they share is counted once, not as often as it occurs: of two
    equal files the result is one of them. (The paper leaves that case open; here directions
    nearer than half a degree are taken for the same.) Where the ranks add up to more than the layer
    has, each file keeps its strongest directions, the same number for each, as in the paper.
    """
    del options, generator
    limit = find_limit(changes[0].shape)
    total = sum(change.rank for change in changes)
    most = limit // len(changes) if total > limit else limit
    spectra = [decompose(change) for change in changes]
    values = torch.cat(
        [each.values[:most] * weight for each, weight in zip(spectra, weights, strict=True)]
    )
    u = _turn_apart(torch.cat([each.u[:, :most] for each in spectra], dim=1))
    v = _turn_apart(torch.cat([each.v[:, :most] for each in spectra], dim=1))
    roots = values.abs().sqrt()
    return Change(changes[0].shape, u * roots, (v * (roots * values.sign())).T)


MERGES: dict[str, Merge] = {
    "linear": add_factors,
    "concatenate": add_exactly,
    "svd": add_exactly,
    "ties": merge_ties,
    "dare_linear": merge_dare_linear,
    "dare_ties": merge_dare_ties,
    "orthogonal": merge_orthogonally,
}
# Methods whose result has a rank of its own, which needs no cut.
EXACT_RANKS = frozenset({"linear", "concatenate", "orthogonal"})


def _turn_apart(directions: Tensor) -> Tensor:
    """Returns the nearest matrix with orthonormal columns, as far as columns differ.

    With D = L S Rᵀ that is L Rᵀ = D R S⁻¹ Rᵀ, of which R and S² are found from the small Dᵀ D; in
    fp64 that is exact enough down to the smallest S that stays.
    """
    wide = directions.double()
    squares, right = torch.linalg.eigh(wide.T @ wide)
    kept = squares > _SAME_DIRECTION**2
    right = right[:, kept]
    return (wide @ (right / squares[kept].sqrt() @ right.T)).float()
