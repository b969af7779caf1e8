"""The header of a safetensors file, and the names of the UNet's modules."""

import json

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file

from trainer.formats.header import FormatError, read_header
from trainer.formats.unet_names import SD_NAMES, SDXL_NAMES, UNetNames


def write_file(path, header, body=b"", length=None):
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    length = len(text) if length is None else length
    path.write_bytes(length.to_bytes(8, "little") + text + body)
    return path


def entry(dtype="F32", shape=(2,), span=(0, 8)):
    return {"dtype": dtype, "shape": list(shape), "data_offsets": list(span)}


def test_the_librarys_own_files_are_read(tmp_path):
    tensors = {
        "a": torch.zeros(2, 3, dtype=torch.bfloat16),
        "b.c": torch.zeros(()),
        "d": torch.zeros(0, 4, dtype=torch.float16),
        "e": torch.zeros(5, dtype=torch.int64),
    }
    save_file(tensors, tmp_path / "x.safetensors", metadata={"k": "v"})
    file = read_header(tmp_path / "x.safetensors")
    assert file.metadata == {"k": "v"}
    found = {name: (each.dtype, each.shape) for name, each in file.tensors.items()}
    assert found == {
        "a": ("BF16", (2, 3)),
        "b.c": ("F32", ()),
        "d": ("F16", (0, 4)),
        "e": ("I64", (5,)),
    }
    last = max(each.end for each in file.tensors.values())
    assert file.body_start + last == file.path.stat().st_size


@pytest.mark.parametrize(
    ("header", "body", "length", "says"),
    [
        (b"", b"", 2**40, "announces a header of 1,099,511,627,776 bytes"),
        (b"", b"", 2**64 - 1, "announces a header"),
        (b"{}", b"", 3, "announces a header of 3 bytes"),
        (b"{nonsense", b"", None, "its header is not JSON"),
        (b"\xff\xfe{}", b"", None, "its header is damaged .it holds what is not Unicode text"),
        (b"[" * 100_000, b"", None, "its header is damaged .it is nested more than 64 levels deep"),
        (b"[]", b"", None, "its header is not a table"),
        (b'{"a": {}, "a": {}}', b"", None, "names a twice"),
        ({"__metadata__": {"a": 1}}, b"", None, "metadata is not a table of texts"),
        ({"__metadata__": []}, b"", None, "metadata is not a table of texts"),
        ({"a": 1}, b"", None, "entry for a is malformed"),
        ({"a": entry(shape=(-2,))}, bytes(8), None, "entry for a is malformed"),
        ({"a": entry(shape=(True, 2))}, bytes(8), None, "entry for a is malformed"),
        ({"a": entry(shape=(2.0,))}, bytes(8), None, "entry for a is malformed"),
        ({"a": entry(span=(0,))}, bytes(8), None, "entry for a is malformed"),
        ({"a": entry(dtype="F12")}, bytes(8), None, "number format F12"),
        ({"a": entry(shape=(3,))}, bytes(8), None, r"a needs 12 bytes for its shape \[3\]"),
        ({"a": entry(shape=(2**40, 2**40))}, bytes(8), None, "a needs"),
        ({"a": entry(span=(8, 0))}, bytes(8), None, "a needs 8 bytes"),
        ({"a": entry()}, bytes(7), None, "is cut short: a ends at byte 8 of the body"),
        ({"a": entry(), "b": entry(span=(4, 12))}, bytes(12), None, "b overlaps"),
        ({"a": entry(span=(4, 12))}, bytes(12), None, "a comes after a gap"),
        ({"a": entry()}, bytes(11), None, "3 bytes at its end belong to no tensor"),
    ],
)
def test_a_damaged_header_is_told(tmp_path, header, body, length, says):
    path = write_file(tmp_path / "bad.safetensors", header, body, length)
    with pytest.raises(FormatError, match=says) as caught:
        read_header(path)
    assert "bad.safetensors" in str(caught.value)


def test_a_file_that_cannot_be_opened_is_told(tmp_path):
    with pytest.raises(FormatError, match="cannot be read: the file or its folder does not exist"):
        read_header(tmp_path / "none.safetensors")
    with pytest.raises(FormatError, match="cannot be read: it is a folder"):
        read_header(tmp_path)
    (tmp_path / "few").write_bytes(b"1234567")
    with pytest.raises(FormatError, match="only 7 bytes"):
        read_header(tmp_path / "few")


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_any_damage_ends_in_a_sentence_or_in_a_whole_file(tmp_path_factory, data):
    path = tmp_path_factory.getbasetemp() / "damaged.safetensors"
    save_file({"a": torch.zeros(2, 3), "b": torch.zeros(4)}, path, metadata={"k": "v"})
    content = bytearray(path.read_bytes())
    for _ in range(data.draw(st.integers(1, 3))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    path.write_bytes(content[: data.draw(st.integers(0, len(content)))])
    try:
        file = read_header(path)
    except FormatError:
        return
    # What passes is a whole file to the library, too, with the same shapes.
    tensors = load_file(path)
    assert {k: tuple(v.shape) for k, v in tensors.items()} == {
        name: each.shape for name, each in file.tensors.items()
    }


def test_names_that_are_printed_in_every_manual():
    assert SD_NAMES.to_original("down_blocks.0.downsamplers.0.conv") == "input_blocks.3.0.op"
    assert SD_NAMES.to_original("up_blocks.0.upsamplers.0.conv") == "output_blocks.2.1.conv"
    assert SDXL_NAMES.to_original("up_blocks.0.upsamplers.0.conv") == "output_blocks.2.2.conv"
    path = "down_blocks.1.attentions.0.transformer_blocks.1.attn2.to_k.weight"
    original = "input_blocks.4.1.transformer_blocks.1.attn2.to_k.weight"
    assert SDXL_NAMES.to_original(path) == original
    assert SDXL_NAMES.from_original(original) == path
    assert SDXL_NAMES.to_original("add_embedding.linear_1.bias") == "label_emb.0.0.bias"
    assert SDXL_NAMES.to_original("mid_block.resnets.1.time_emb_proj") == (
        "middle_block.2.emb_layers.1"
    )


def test_a_name_of_no_module_is_refused():
    for path in ("down_blocks.3.attentions.0.proj_in", "conv", "", "down_blocks.0.resnets.0"):
        with pytest.raises(KeyError):
            SD_NAMES.to_original(path)


_LEVELS = st.lists(st.booleans(), min_size=1, max_size=4)


@settings(max_examples=25, deadline=None)
@given(_LEVELS, st.integers(1, 3), st.booleans())
def test_names_are_a_bijection_that_diffusers_conversion_agrees_with(attention, layers, sdxl):
    from diffusers import UNet2DConditionModel
    from diffusers.loaders.single_file_utils import convert_ldm_unet_checkpoint

    extras = {
        "addition_embed_type": "text_time",
        "addition_time_embed_dim": 8,
        "projection_class_embeddings_input_dim": 32,
    }
    with torch.device("meta"):
        unet = UNet2DConditionModel(
            down_block_types=["CrossAttnDownBlock2D" if a else "DownBlock2D" for a in attention],
            up_block_types=["CrossAttnUpBlock2D" if a else "UpBlock2D" for a in attention[::-1]],
            block_out_channels=[8 * (n + 1) for n in range(len(attention))],
            layers_per_block=layers,
            norm_num_groups=8,
            cross_attention_dim=8,
            attention_head_dim=1,
            **(extras if sdxl else {}),
        )
    names = UNetNames.from_config(dict(unet.config))
    ours = {name: value.shape for name, value in unet.state_dict().items()}
    assert all(names.from_original(names.to_original(name)) == name for name in ours)
    # Every tensor carries its own name through diffusers' conversion.
    original = {f"model.diffusion_model.{names.to_original(name)}": name for name in ours}
    assert len(original) == len(ours)
    config = dict(unet.config) | {"class_embed_type": None}
    converted = convert_ldm_unet_checkpoint(dict(original), config)
    assert converted == {name: name for name in ours}
