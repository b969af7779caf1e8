"""A zip archive is unpacked whole and inside its folder, or refused with a sentence."""

import io
import stat
import struct
import zipfile

import pytest

from datasets_tools import archive
from datasets_tools.archive import unpack_zip
from datasets_tools.errors import DatasetError


@pytest.fixture
def place(tmp_path):
    (tmp_path / "out").mkdir()
    return tmp_path / "out"


def pack(path, files, compression=zipfile.ZIP_DEFLATED):
    with zipfile.ZipFile(path, "w", compression) as packed:
        for name, content in files:
            packed.writestr(name, content)
    return path


def read(unpacked):
    return {name: path.read_bytes() for name, path in unpacked}


def refuse(path, place, words):
    with pytest.raises(DatasetError) as caught:
        unpack_zip(path, place)
    assert words in str(caught.value)
    assert str(caught.value).startswith(path.name)


def test_files_and_folders_are_unpacked_with_their_names(tmp_path, place):
    files = [("a.png", b"1"), ("10_cat/b.png", b"2"), ("10_cat/猫 🐈.txt", b"3"), ("x/", b"")]
    files += [("__MACOSX/._a.png", b"x"), (".DS_Store", b"x"), ("10_cat/.hidden", b"x")]
    unpacked = unpack_zip(pack(tmp_path / "a.zip", files), place)
    assert read(unpacked) == {"a.png": b"1", "10_cat/b.png": b"2", "10_cat/猫 🐈.txt": b"3"}
    assert all(path.is_relative_to(place) for _, path in unpacked)


@pytest.mark.parametrize(
    "name", ["../x.png", "a/../../x.png", "/etc/x.png", "C:/x.png", "..\\x.png", "C:\\x.png", ".."]
)
def test_name_that_leads_out_of_the_archive_is_refused(tmp_path, place, name):
    path = pack(tmp_path / "a.zip", [("a.png", b"1"), (name, b"2")])
    refuse(path, place, "in it leads out of it")
    assert list(place.iterdir()) == []


def test_link_is_refused(tmp_path, place):
    info = zipfile.ZipInfo("a.png")
    info.external_attr = (stat.S_IFLNK | 0o777) << 16
    refuse(pack(tmp_path / "a.zip", [(info, "/etc/passwd")]), place, "“a.png” in it is a link")


def test_archive_with_a_password_is_refused(tmp_path, place):
    path = pack(tmp_path / "a.zip", [("a.png", b"1")])
    data = bytearray(path.read_bytes())
    for signature, offset in ((b"PK\3\4", 6), (b"PK\1\2", 8)):
        data[data.index(signature) + offset] |= 1
    path.write_bytes(data)
    refuse(path, place, "it is locked with a password")


def test_bomb_is_refused_before_it_is_unpacked(tmp_path, place):
    zeros = bytes(20 * 1024**2)
    path = pack(tmp_path / "bomb.zip", [(f"{number}.bmp", zeros) for number in range(14)])
    assert path.stat().st_size < 1024**2
    refuse(path, place, "it unpacks to more than 100 times its size")
    assert list(place.iterdir()) == []


def test_archive_that_is_too_large_or_has_too_many_files_is_refused(tmp_path, place, monkeypatch):
    path = pack(tmp_path / "a.zip", [("a.png", b"1" * 600), ("b.png", b"1" * 600)])
    with pytest.raises(DatasetError, match="it unpacks to more than"):
        unpack_zip(path, place, most_bytes=1199)
    assert len(unpack_zip(path, place, most_bytes=1200)) == 2
    monkeypatch.setattr(archive, "MOST_FILES", 1)
    refuse(path, place, "it has more than 1 files")


def test_file_that_is_larger_than_its_size_says_is_refused(tmp_path, place):
    path = pack(tmp_path / "a.zip", [("a.png", bytes(5000))])
    data = bytearray(path.read_bytes())
    data[data.index(b"PK\1\2") + 24 :][:4] = struct.pack("<I", 10)
    at = data.index(b"PK\1\2") + 24
    data[at : at + 4] = struct.pack("<I", 10)
    path.write_bytes(data)
    with pytest.raises(DatasetError):
        unpack_zip(path, place)
    assert sum(file.stat().st_size for file in place.rglob("*") if file.is_file()) <= 10


@pytest.mark.parametrize("share", [0.0, 0.3, 0.8])
def test_damaged_archive_is_refused_by_name(tmp_path, place, share):
    path = pack(tmp_path / "a.zip", [("a.png", bytes(range(256)) * 9)])
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * share)])
    refuse(path, place, "is no zip archive that can be unpacked")


def test_changed_bytes_are_noticed(tmp_path, place):
    path = pack(tmp_path / "a.zip", [("a.png", b"abcdef" * 50)], zipfile.ZIP_STORED)
    path.write_bytes(path.read_bytes().replace(b"abcdef", b"abcdeX", 1))
    refuse(path, place, "is no zip archive that can be unpacked")


@pytest.mark.parametrize(
    ("encoding", "seen"), [("utf-8", "été.png"), ("cp437", "été.png"), ("shift_jis", None)]
)
def test_names_that_are_not_marked_as_unicode_are_paired_alike(tmp_path, place, encoding, seen):
    name = "été" if seen else "猫"
    raw = name.encode(encoding)
    memory = io.BytesIO()
    with zipfile.ZipFile(memory, "w") as packed:
        packed.writestr("N" * len(raw) + ".png", b"image")
        packed.writestr("N" * len(raw) + ".txt", b"text")
    path = tmp_path / "a.zip"
    path.write_bytes(memory.getvalue().replace(b"N" * len(raw), raw))
    names = [inside for inside, _ in unpack_zip(path, place)]
    assert [inside[-4:] for inside in names] == [".png", ".txt"]
    assert names[0][:-4] == names[1][:-4]
    if seen:
        assert names[0] == seen


def test_archive_inside_stays_packed(tmp_path, place):
    inner = pack(tmp_path / "inner.zip", [("b.png", b"2")]).read_bytes()
    unpacked = unpack_zip(pack(tmp_path / "a.zip", [("inner.zip", inner), ("a.png", b"1")]), place)
    assert read(unpacked) == {"inner.zip": inner, "a.png": b"1"}
