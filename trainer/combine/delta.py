"""The delta of one layer's weight, as factors where it has them, and its decomposition.

A weight of a convolution, [out, in, k, k], is the matrix [out, in * k * k] here.
"""

import math
from dataclasses import dataclass
from typing import TypeAlias

import torch
from torch import Tensor
from torch.linalg import LinAlgError  # type: ignore[attr-defined]

from trainer.combine.errors import CombineError
from trainer.combine.truncated_svd import compute_truncated_svd, measure_squares

Shape: TypeAlias = tuple[int, ...]
# Singular values below this share of the largest are rounding of numbers in fp32.
_ROUNDING = 1e-6


@dataclass(frozen=True)
class Delta:
    """A weight difference: `up @ down`, or `whole` where it has no such form; zero with neither.

    Attributes:
        shape: Of the layer's weight.
        up: [out, rank], the scale in it and in `down` to equal shares.
        down: [rank, in * k * k].
        whole: [out, in * k * k].
    """

    shape: Shape
    up: Tensor | None = None
    down: Tensor | None = None
    whole: Tensor | None = None

    @property
    def factors(self) -> tuple[Tensor, Tensor] | None:
        """(up, down), or None."""
        return None if self.up is None or self.down is None else (self.up, self.down)

    @property
    def rank(self) -> int:
        """The number of columns of `up`; that of the smaller side where there are no factors."""
        return self.limit if self.up is None else self.up.shape[1]

    @property
    def limit(self) -> int:
        """The largest rank that a matrix of this shape can have."""
        return find_limit(self.shape)

    @property
    def sides(self) -> tuple[int, int]:
        """Rows and columns of the matrix."""
        return self.shape[0], math.prod(self.shape[1:])

    def multiply_out(self) -> Tensor:
        """Returns the matrix, [out, in * k * k]."""
        return self.multiply_rows(slice(None))

    def multiply_rows(self, rows: slice) -> Tensor:
        """Returns some rows of the matrix."""
        if self.factors is not None:
            up, down = self.factors
            return up[rows] @ down
        if self.whole is not None:
            return self.whole[rows]
        return torch.zeros(self.sides)[rows]

    def scale(self, factor: float) -> "Delta":
        """Returns the delta times a factor."""
        if self.factors is None:
            return from_matrix(self.shape, self.multiply_out() * factor)
        up, down = self.factors
        root = math.sqrt(abs(factor))
        return Delta(self.shape, up * root, down * math.copysign(root, factor))


def find_limit(shape: Shape) -> int:
    """Returns the largest rank that a layer's weight can have."""
    return min(shape[0], math.prod(shape[1:]))


def from_matrix(shape: Shape, matrix: Tensor) -> Delta:
    """Returns a delta without factors."""
    return Delta(shape, whole=matrix)


def join(deltas: list[Delta]) -> Delta:
    """Returns the exact sum: factors side by side, so that ranks add up."""
    factors = [each.factors for each in deltas]
    ups = [pair[0] for pair in factors if pair is not None]
    downs = [pair[1] for pair in factors if pair is not None]
    if len(ups) < len(deltas):
        total = deltas[0].multiply_out().clone()
        for each in deltas[1:]:
            total += each.multiply_out()
        return from_matrix(deltas[0].shape, total)
    return Delta(deltas[0].shape, torch.cat(ups, dim=1), torch.cat(downs, dim=0))


def multiply_inner(one: Delta, other: Delta) -> float:
    """Returns the inner product of two deltas, without their matrices where both have factors."""
    if one.factors is None or other.factors is None:
        return torch.sum(one.multiply_out() * other.multiply_out(), dtype=torch.float64).item()
    (up, down), (up2, down2) = one.factors, other.factors
    ups, downs = up.double().T @ up2.double(), down.double() @ down2.double().T
    return torch.sum(ups * downs).item()


def measure_energy(delta: Delta) -> float:
    """Returns the squared Frobenius norm."""
    return max(multiply_inner(delta, delta), 0.0)


@dataclass(frozen=True)
class SVD:
    """A singular value decomposition, perhaps truncated: U diag(values) Vᵀ, largest value first.

    Attributes:
        u: [out, n].
        values: [n], from the largest to the smallest, none below the rounding of fp32.
        v: [in * k * k, n].
        rest: Squared norm of what a truncated decomposition leaves out.
    """

    shape: Shape
    u: Tensor
    values: Tensor
    v: Tensor
    rest: float = 0.0

    @property
    def energy(self) -> float:
        """The squared Frobenius norm."""
        return float(torch.sum(self.values.double() ** 2)) + self.rest

    def cut(self, rank: int) -> Delta:
        """Returns the best delta of a rank (Eckart and Young 1936), split into two factors."""
        roots = self.values[:rank].sqrt()
        return Delta(self.shape, self.u[:, :rank] * roots, (self.v[:, :rank] * roots).T)

    def share(self, rank: int) -> float:
        """Returns the share of the energy in the largest singular values."""
        energy = float(torch.sum(self.values[:rank].double() ** 2))
        return energy / self.energy if self.energy else 1.0


def decompose(delta: Delta, most: int = 0) -> SVD:
    """Returns the singular values and vectors.

    Of factors: each is turned into an orthonormal and a small triangular matrix, and only the
    product of the small ones is decomposed, which is as exact and never needs the large matrix.

    Args:
        delta: What to decompose.
        most: How many of the largest singular values to compute, which for a large matrix without
            factors takes a fraction of the time, see `compute_truncated_svd`; 0 computes all.

    Raises:
        CombineError: its numbers are not finite, or too large for that.
    """
    try:
        return _decompose(delta, most)
    except LinAlgError as error:
        msg = (
            f"A weight of {delta.shape} cannot be decomposed into singular values: it holds "
            "numbers that are not finite, or far too large. Use another file."
        )
        raise CombineError(msg) from error


def _decompose(delta: Delta, most: int) -> SVD:
    rest = 0.0
    if delta.factors is None or delta.rank >= delta.limit:
        matrix = delta.multiply_out()
        truncated = compute_truncated_svd(matrix, most) if most else None
        u, values, v = _decompose_matrix(matrix) if truncated is None else truncated
        if truncated is not None:
            rest = max(measure_squares(matrix) - float(torch.sum(values.double() ** 2)), 0.0)
    else:
        up, down = delta.factors
        (q_up, r_up), (q_down, r_down) = torch.linalg.qr(up), torch.linalg.qr(down.T)
        core = r_up.double() @ r_down.double().T  # [rank, rank]
        u, values, v = (each.float() for each in _decompose_core(core))
        u, v = q_up @ u, q_down @ v
    count = int((values > _ROUNDING * values.max()).sum()) if values.numel() else 0
    return SVD(delta.shape, u[:, :count], values[:count], v[:, :count], rest)


def _decompose_core(core: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    u, values, v = torch.linalg.svd(core, full_matrices=False)
    return u, values, v.T


def _decompose_matrix(matrix: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Returns U, the values and V of a whole matrix.

    By the eigenvectors of the smaller Gram matrix in fp64: for the widest layers of SDXL five
    times as fast as a singular value decomposition, and exact to the rounding of fp32.
    """
    wide = matrix.shape[0] < matrix.shape[1]
    tall = (matrix.T if wide else matrix).double()
    squares, v = torch.linalg.eigh(tall.T @ tall)
    values = squares.clamp_min(0).sqrt().flip(0)
    v = v.flip(1)
    # Values below that cannot be distinguished from zero; `decompose` cuts it off.
    u = (tall @ v) / values.clamp_min(_ROUNDING * float(values.max()) + 1e-300)
    parts = (v, values, u) if wide else (u, values, v)
    return parts[0].float(), parts[1].float(), parts[2].float()


def choose_rank(svd: SVD, rank: int = 0, energy: float = 1.0, ratio: float = 0.0) -> int:
    """Returns how many singular values to keep: the fewest that one of the limits allows.

    Args:
        svd: Of the delta.
        rank: At most so many; 0 for no limit.
        energy: As many as contain this share of the squared norm.
        ratio: Those whose value is at least the largest one over this number; 0 for all.
    """
    count = svd.values.numel()
    if count == 0:
        return 0
    if rank:
        count = min(count, rank)
    if energy < 1:
        squares = torch.cumsum(svd.values.double() ** 2, 0)
        short = squares < energy * (squares[-1] + svd.rest) * (1 - 1e-12)
        count = min(count, int(short.sum()) + 1)
    if ratio:
        count = min(count, int((svd.values * ratio >= svd.values[0]).sum()))
    return max(count, 1)


def measure_effective_rank(svd: SVD) -> float:
    """Returns the effective rank (Roy and Vetterli 2007, EUSIPCO, section 3).

    It is e to the entropy of the singular values as shares of their sum: n for n equal values, and
    little more than 1 where one of them outweighs the others.
    """
    values = svd.values.double()
    if values.numel() == 0:
        return 0.0
    shares = values / values.sum()
    return math.exp(-float(torch.sum(shares * shares.log())))
