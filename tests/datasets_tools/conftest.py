"""Pictures for the tests: small, made on the spot, each different from the others."""

import random
import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

MakeImage = Callable[..., Path]


@pytest.fixture
def make_image(tmp_path: Path) -> MakeImage:
    """Return a function that writes a picture of random blocks into `tmp_path`."""

    def make(name: str, size: tuple[int, int] = (64, 48), seed: int | str = "", **how) -> Path:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        rng = random.Random(f"{name} {seed}" if seed == "" else seed)
        blocks = Image.new("RGB", (8, 6))
        blocks.putdata([tuple(rng.randrange(256) for _ in range(3)) for _ in range(48)])
        blocks.resize(size, Image.Resampling.NEAREST).save(path, **how)
        return path

    return make


@pytest.fixture
def make_dataset(tmp_path: Path, make_image: MakeImage) -> Callable[..., Path]:
    """Return a function that fills `tmp_path/set` with sound, captioned examples."""

    def make(count: int = 10, caption: str = "mycat, picture {}") -> Path:
        for number in range(count):
            image = make_image(f"set/image{number}.png", (512, 512))
            image.with_suffix(".txt").write_text(caption.format(number), encoding="utf-8")
        return tmp_path / "set"

    return make


@pytest.fixture
def png_file() -> Callable[..., bytes]:
    """Return a function that builds a PNG by hand, for what Pillow would not write."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        crc = zlib.crc32(kind + data)
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", crc)

    def build(
        size: tuple[int, int], depth: int, colour: int, pixels: bytes, behind: bytes = b""
    ) -> bytes:
        head = struct.pack(">IIBBBBB", *size, depth, colour, 0, 0, 0)
        body = chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(pixels, 9))
        exif = chunk(b"eXIf", behind) if behind else b""
        return b"\x89PNG\r\n\x1a\n" + body + exif + chunk(b"IEND", b"")

    return build


@pytest.fixture
def wide_profile() -> bytes:
    """Return a colour profile with the primaries of Display P3 and a gamma of 2.2."""

    def fixed(*values: float) -> bytes:
        return b"".join(struct.pack(">i", round(value * 65536)) for value in values)

    gamma = b"curv\0\0\0\0" + struct.pack(">IH", 1, round(2.2 * 256)) + b"\0\0"
    name = b"Test wide\0"
    tags = {
        b"desc": b"desc\0\0\0\0" + struct.pack(">I", len(name)) + name + bytes(78 + 2),
        b"wtpt": b"XYZ \0\0\0\0" + fixed(0.9642, 1.0, 0.8249),
        b"rXYZ": b"XYZ \0\0\0\0" + fixed(0.5151, 0.2412, -0.0011),
        b"gXYZ": b"XYZ \0\0\0\0" + fixed(0.2919, 0.6922, 0.0419),
        b"bXYZ": b"XYZ \0\0\0\0" + fixed(0.1572, 0.0666, 0.7841),
        b"rTRC": gamma,
        b"gTRC": gamma,
        b"bTRC": gamma,
    }
    table, data = struct.pack(">I", len(tags)), b""
    start = 128 + 4 + 12 * len(tags)
    for kind, value in tags.items():
        table += kind + struct.pack(">II", start + len(data), len(value))
        data += value + bytes(-len(value) % 4)
    head = struct.pack(
        ">I4sI4s4s4s", start + len(data), bytes(4), 0x02100000, b"mntr", b"RGB ", b"XYZ "
    )
    head += (
        struct.pack(">6H", 2026, 1, 1, 0, 0, 0) + b"acsp" + bytes(28) + fixed(0.9642, 1.0, 0.8249)
    )
    return head + bytes(128 - len(head)) + table + data
