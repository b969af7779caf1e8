"""Seeds by position: a random number depends only on where in the run it is used."""

import hashlib


def derive_seed(*parts: int | str) -> int:
    """Returns a 63-bit seed that is the same for the same parts, on every machine."""
    text = "/".join(str(part) for part in parts)
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big") >> 1
