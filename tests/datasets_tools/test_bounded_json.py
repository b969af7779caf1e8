"""JSON of strangers is read within bounds, with one error; leftovers of killed writers go."""

import os
import time

import pytest

from datasets_tools.bounded_json import MOST_LEVELS, UnreadableError, parse_json, read_table
from datasets_tools.files import remove_leftovers


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "not JSON"),
        (b"{", "not JSON"),
        (b"9" * 5000, "not JSON"),
        (b"\xff", "not Unicode"),
        (rb'"\ud800"', "not Unicode"),
        (rb'{"\udFFF": 1}', "not Unicode"),
        (b'"\xed\xa0\x80"', "not Unicode"),
        ('"\ud800"', "not Unicode"),
        (b"[" * 100_000, "levels deep"),
        (b"[" * (MOST_LEVELS + 1) + b"]" * (MOST_LEVELS + 1), "levels deep"),
        (b'{"a":' * (MOST_LEVELS + 1) + b"1" + b"}" * (MOST_LEVELS + 1), "levels deep"),
    ],
)
def test_what_is_not_within_the_bounds_is_one_error(data, message):
    with pytest.raises(UnreadableError, match=message):
        parse_json(data)


@pytest.mark.parametrize(
    ("data", "value"),
    [
        (b'{"a": [1, 2.5, null, true]}', {"a": [1, 2.5, None, True]}),
        (rb'"\ud83d\ude00"', "\U0001f600"),
        ("“ä”".encode().join((b'"', b'"')), "“ä”"),
        (b"[" * MOST_LEVELS + b"]" * MOST_LEVELS, None),
    ],
)
def test_what_is_within_the_bounds_is_read(data, value):
    assert value is None or parse_json(data) == value
    parse_json(data)


def test_a_file_that_is_too_large_or_no_table_is_refused(tmp_path):
    path = tmp_path / "x.json"
    path.write_text('{"a": 1}')
    assert read_table(path) == {"a": 1}
    with pytest.raises(UnreadableError, match="more than 7 bytes"):
        read_table(path, 7)
    path.write_text("[]")
    with pytest.raises(UnreadableError, match="not a table"):
        read_table(path)


def test_leftovers_of_killed_writers_are_removed_and_nothing_else(tmp_path):
    (tmp_path / "checkpoints" / ".step-000004").mkdir(parents=True)
    (tmp_path / "checkpoints" / "step-000002").mkdir()
    (tmp_path / ".aside-abc12_de").mkdir()
    (tmp_path / ".trash").mkdir()
    left = [tmp_path / f".{'0' * 32}.tmp", tmp_path / "checkpoints" / f".{'a' * 32}.tmp"]
    kept = [tmp_path / "a.tmp", tmp_path / ".x.tmp", tmp_path / ".process.lock"]
    for path in [*left, *kept]:
        path.touch()
    remove_leftovers(tmp_path, 3600)
    assert all(path.exists() for path in left)  # another process may be writing them
    hour = time.time() - 3700
    os.utime(left[0], (hour, hour))
    remove_leftovers(tmp_path, 3600)
    assert [path.exists() for path in left] == [False, True]
    remove_leftovers(tmp_path)
    names = {path.name for path in tmp_path.rglob("*")}
    assert names == {"a.tmp", ".x.tmp", ".process.lock", ".trash", "checkpoints", "step-000002"}
