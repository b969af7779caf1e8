"""Seeded damage: bytes that somebody could have made of a whole file, by accident or on purpose."""

import json
from collections.abc import Callable, Sequence
from random import Random
from typing import Any

NUMBERS = [0, -1, 1, 2**31, 2**63, 2**64, -(2**63), 10**400, 1e308, -0.0, 0.5]
TEXTS = [
    "", " ", "\x00", "../../etc/passwd", "a" * 5000, "\u202e\u05d0\u0627", "\U0001f98a", "\ud800",
    "NaN", "Infinity", "-Infinity", "null", "true", "{}", "[[[[", "con", "C:\\x", "\r\n", "%s%n",
]  # fmt: skip
WORDS = [
    b"\x00", b"\xff\xfe", b"\xef\xbb\xbf", b'"', b"{", b"[" * 400, b"}", b"\\u0000", b"\\ud800",
    b"\n", b"1" * 5000, b"-", b"1e999", b"NaN", b"nan", b"inf", b"../", b"\xed\xa0\x80", b"\x1b[2J",
    b"'''",
]  # fmt: skip


def choose_value(random: Random, depth: int = 0) -> Any:
    """Returns a value of JSON that nobody expects."""
    kind = random.randrange(8 if depth < 3 else 5)
    if kind == 0:
        return random.choice(NUMBERS)
    if kind == 1:
        return random.choice(TEXTS)
    if kind == 2:
        return random.choice([None, True, False])
    if kind == 3:
        return random.random() * 10 ** random.randrange(-5, 20)
    if kind == 4:
        return random.choice([[], {}, [[]], [{}], {"": None}])
    if kind == 5:
        return [choose_value(random, depth + 1) for _ in range(random.randrange(4))]
    if kind == 6:
        return {
            random.choice(TEXTS): choose_value(random, depth + 1)
            for _ in range(random.randrange(4))
        }
    value: Any = 1
    for _ in range(random.choice([5, 60, 200])):
        value = [value]
    return value


def change_value(random: Random, value: Any) -> Any:
    """Returns a value of JSON with something in it changed, left out, added or put elsewhere."""
    if random.random() < 0.15 or not isinstance(value, dict | list) or not value:
        return choose_value(random)
    if isinstance(value, list):
        copy = list(value)
        place = random.randrange(len(copy))
        if random.random() < 0.2:
            copy.insert(place, choose_value(random))
        elif random.random() < 0.2:
            del copy[place]
        else:
            copy[place] = change_value(random, copy[place])
        return copy
    table = dict(value)
    key = random.choice(list(table))
    if random.random() < 0.2:
        del table[key]
    elif random.random() < 0.2:
        table[random.choice([*table, *TEXTS])] = choose_value(random)
    else:
        table[key] = change_value(random, table[key])
    return table


def damage_json(random: Random, value: Any) -> bytes:
    """Returns JSON that is damaged in what it says, in how it is written, or in both."""
    for _ in range(random.randrange(1, 4)):
        value = change_value(random, value)
    try:
        text = json.dumps(value)
    except (ValueError, RecursionError):
        text = "[" * 3000
    content = text.encode("utf-8", "surrogatepass")
    return damage_bytes(random, content) if random.random() < 0.3 else content


def damage_bytes(random: Random, content: bytes, words: Sequence[bytes] = WORDS) -> bytes:
    """Returns bytes with some flipped, cut out, doubled, cut off, or put in."""
    data = bytearray(content)
    for _ in range(random.choice([1, 1, 2, 5, 20])):
        place = random.randrange(len(data) + 1)
        end = min(len(data), place + random.choice([1, 4, 30, 300]))
        kind = random.randrange(6)
        if kind == 0 and data:
            data[place % len(data)] = random.randrange(256)
        elif kind == 1:
            del data[place:end]
        elif kind == 2:
            data[place:place] = data[place:end]
        elif kind == 3:
            del data[place:]
        elif kind == 4:
            data[place:place] = random.choice(words)
        else:
            data[place:end] = bytes(random.randrange(256) for _ in range(end - place))
    return bytes(data)


Damage = Callable[[Random, bytes], bytes]
