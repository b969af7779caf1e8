"""Files of strangers that go beyond any bound end in one kind of error."""

import json

import pytest
import torch

from trainer.combine.delta import Delta, decompose
from trainer.combine.errors import CombineError
from trainer.config import ConfigError, layer_config, read_config
from trainer.formats.header import FormatError, read_header


def write(path, header):
    path.write_bytes(len(header).to_bytes(8, "little") + header)
    return path


@pytest.mark.parametrize(
    ("header", "message"),
    [
        (rb'{"__metadata__": {"title": "\ud800"}}', "Unicode"),
        (b'{"__metadata__": {"title": "\xed\xa0\x80"}}', "Unicode"),
        (b'{"a": {"dtype": "F32", "shape": [' + b"9" * 5000 + b"]}}", "not JSON"),
        (b"[" * 100_000, "levels deep"),
        (b'{"a":' * 200 + b"1" + b"}" * 200, "levels deep"),
        (json.dumps({"__metadata__": {"x": "y" * (17 * 1024**2)}}).encode(), "of metadata"),
        (b"{" + b",".join(b'"t%d": 1' % n for n in range(200_000)) + b', "t199999": 1}', "t199999"),
    ],
    ids=["escaped half", "raw half", "digits", "deep list", "deep table", "metadata", "twins"],
)
@pytest.mark.timeout(60)  # of a table with two rows of one name, it took hours
def test_a_header_beyond_the_bounds_is_refused(tmp_path, header, message):
    with pytest.raises(FormatError, match=message):
        read_header(write(tmp_path / "x.safetensors", header))


def test_a_header_with_a_whole_pair_is_read(tmp_path):
    path = write(tmp_path / "x.safetensors", rb'{"__metadata__": {"title": "\ud83d\ude00"}}')
    assert read_header(path).metadata == {"title": "\U0001f600"}


@pytest.mark.parametrize(
    "content",
    ["a = " + "[" * 5000, "a = " + "9" * 5000, "# " + "x" * (5 * 1024**2), "a = \udcff"],
    ids=["deep", "digits", "large", "no text"],
)
def test_a_config_beyond_the_bounds_is_refused(tmp_path, content):
    path = tmp_path / "config.toml"
    path.write_bytes(content.encode("utf-8", "surrogateescape"))
    with pytest.raises(ConfigError, match=r"config\.toml"):
        read_config(path)


@pytest.mark.parametrize("value", ["[" * 5000, "9" * 5000])
def test_an_assignment_beyond_the_bounds_is_a_text_that_does_not_suit(value):
    with pytest.raises(ConfigError, match=r"train\.steps"):
        layer_config(assignments=[f"train.steps={value}"])


def test_a_delta_that_is_not_finite_is_refused():
    delta = Delta((4, 4), whole=torch.full((4, 4), float("nan")))
    with pytest.raises(CombineError, match="not finite"):
        decompose(delta)
