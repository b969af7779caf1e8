"""The sizes of a LoKr's two matrices, w1 and w2, as LyCORIS and all its readers split them."""

import math


def find_divisor(size: int, limit: int = 0) -> int:
    """Returns the largest divisor of a size that is not above its square root, nor a limit."""
    most = math.isqrt(size)
    return next(n for n in range(min(limit or most, most), 0, -1) if size % n == 0)


def is_whole(second: tuple[int, ...], rank: int) -> bool:
    """Returns whether w2 is one matrix at this rank, because two factors would not be smaller.

    Args:
        second: Rows and columns of w2, without a kernel.
        rank: Of the factors.
    """
    return rank >= max(second) / 2
