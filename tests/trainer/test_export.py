"""LoRA files: right names and numbers, hashes over the final bytes, nothing half-written."""

import hashlib
import struct

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file

from trainer.export import (
    ExportError,
    compare_with_trained,
    name_layers,
    read_adapter_file,
    write_kohya,
    write_peft,
)
from trainer.export.files import MAX_HEADER_BYTES
from trainer.export.roundtrip import multiply_out
from trainer.formats.unet_names import SD_NAMES, SDXL_NAMES

UNET = "unet.down_blocks.0.attentions.0.transformer_blocks.0.attn1.to_out.0"
CONV = "unet.mid_block.resnets.1.conv1"
TEXT = "text_encoder.text_model.encoder.layers.3.self_attn.q_proj"
NAMES = name_layers([UNET, CONV, TEXT], "sd15", SD_NAMES)


def write_lora(path, factors, metadata, precision):
    return write_kohya(path, factors, NAMES, metadata, precision)


def make_factors():
    torch.manual_seed(0)
    return {
        UNET: (torch.randn(4, 12), torch.randn(10, 4), 0.5),
        CONV: (torch.randn(3, 6, 3, 3), torch.randn(8, 3, 1, 1), 1.7),
        TEXT: (torch.randn(5, 12), torch.randn(12, 5), 1.0),
    }


def delta(down, up, scale):
    flat = up.flatten(1) @ down.flatten(1) * scale
    return flat.view(up.shape[0], *down.shape[1:])


@pytest.mark.parametrize(
    ("precision", "tolerance"), [("fp32", 1e-6), ("fp16", 2e-3), ("bf16", 2e-2)]
)
def test_a_file_read_back_makes_the_same_change(tmp_path, precision, tolerance):
    factors, path = make_factors(), tmp_path / "x.safetensors"
    write_lora(path, factors, {}, precision)
    proof = compare_with_trained(path, {n: delta(*f) for n, f in factors.items()}, precision)
    assert proof.modules == 3
    assert proof.max_relative_error < tolerance


def test_each_model_has_one_alpha_and_uneven_scales_are_folded(tmp_path):
    path = tmp_path / "x.safetensors"
    write_lora(path, make_factors(), {}, "fp32")
    tensors = load_file(path)
    alphas = {k: v for k, v in tensors.items() if k.endswith(".alpha")}
    assert {v.item() for k, v in alphas.items() if k.startswith("lora_unet")} == {2.0}
    assert all(v.dtype == torch.float32 and v.ndim == 0 for v in alphas.values())
    assert tensors[f"{NAMES[CONV]}.lora_down.weight"].shape == (3, 6, 3, 3)
    assert tensors[f"{NAMES[CONV]}.lora_up.weight"].shape == (8, 3, 1, 1)


def test_the_hash_is_over_the_bytes_after_the_header(tmp_path):
    path = tmp_path / "x.safetensors"
    digest = write_lora(path, make_factors(), {"a": "b"}, "fp16")
    raw = path.read_bytes()
    body = raw[8 + struct.unpack("<Q", raw[:8])[0] :]
    assert hashlib.sha256(body).hexdigest() == digest
    with safe_open(path, "pt") as file:
        assert file.metadata()["sshs_model_hash"] == digest
        assert file.metadata()["modelspec.hash_sha256"] == f"0x{digest}"


def test_weights_that_are_no_numbers_are_not_written(tmp_path):
    factors = make_factors()
    factors[CONV][1][0] = float("nan")
    with pytest.raises(ExportError, match=r"mid_block\.resnets\.1\.conv1.*diverged"):
        write_lora(tmp_path / "x.safetensors", factors, {}, "fp32")
    factors[CONV][1][0] = 1e6
    with pytest.raises(ExportError, match="fp16; export in bf16"):
        write_lora(tmp_path / "x.safetensors", factors, {}, "fp16")
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_differs_from_what_was_trained_is_found_out(tmp_path):
    factors, path = make_factors(), tmp_path / "x.safetensors"
    write_lora(path, factors, {}, "fp16")
    deltas = {name: delta(*each) for name, each in factors.items()}
    deltas[TEXT] = deltas[TEXT] * 1.01
    with pytest.raises(ExportError, match="q_proj differs by"):
        compare_with_trained(path, deltas, "fp16")
    with pytest.raises(ExportError, match="lacks 1 of 4"):
        compare_with_trained(path, {**deltas, "unet.conv_in": torch.ones(1, 1)}, "fp16")


def test_a_full_disk_leaves_no_file(tmp_path, monkeypatch):
    def fail(*_args):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", fail)
    with pytest.raises(ExportError, match="the disk is full"):
        write_lora(tmp_path / "x.safetensors", make_factors(), {}, "fp16")
    assert list(tmp_path.iterdir()) == []


def write_both(folder, factors, metadata):
    names = name_layers(factors, "sdxl", SDXL_NAMES)
    write_kohya(folder / "kohya.safetensors", factors, names, metadata, "fp16")
    write_peft(folder / "peft.safetensors", factors, metadata, "fp16")
    return [folder / "kohya.safetensors", folder / "peft.safetensors"]


def test_a_whole_sdxl_header_stays_under_a_mebibyte_with_tags_and_thumbnail(tmp_path):
    attention = [f"attn{n}.to_{part}" for n in (1, 2) for part in ("q", "k", "v", "out.0")]
    parts = [*attention, "ff.net.0.proj", "ff.net.2"]
    inner = [f"transformer_blocks.{n}.{part}" for n in range(10) for part in parts]
    blocks = [f"up_blocks.0.attentions.{n}" for n in range(3)] + ["mid_block.attentions.0"]
    blocks += [f"down_blocks.2.attentions.{n}" for n in range(2)]
    layers = [f"unet.{block}.{each}" for block in blocks for each in inner]
    text = [f"self_attn.{part}_proj" for part in ("q", "k", "v", "out")]
    layers += [
        f"text_encoder_2.text_model.encoder.layers.{n}.{each}"
        for n in range(75)
        for each in (*text, "mlp.fc1", "mlp.fc2")
    ]
    assert len(layers) == 1050
    # Ranks that differ make the longest description; small tensors shorten each entry a little.
    factors = {
        layer: (torch.ones(1 + n % 3, 2), torch.ones(2, 1 + n % 3), 1.0)
        for n, layer in enumerate(layers)
    }
    metadata = {"ss_tag_frequency": "t" * (64 << 10), "modelspec.thumbnail": "x" * (40 << 10)}
    for path in write_both(tmp_path, factors, metadata):
        with path.open("rb") as file:
            assert struct.unpack("<Q", file.read(8))[0] < MAX_HEADER_BYTES - 100_000
        with safe_open(path, "pt") as file:
            assert metadata.items() <= file.metadata().items()


def test_a_header_that_would_be_too_long_loses_the_least_needed_first(tmp_path):
    metadata = {
        "ss_tag_frequency": "t" * (1 << 20),
        "modelspec.thumbnail": "x" * 100,
        "ss_v2": "False",
    }
    write_lora(tmp_path / "x.safetensors", make_factors(), metadata, "fp16")
    with safe_open(tmp_path / "x.safetensors", "pt") as file:
        written = file.metadata()
    assert "ss_tag_frequency" not in written
    assert written["modelspec.thumbnail"] == "x" * 100
    assert written["ss_v2"] == "False"


def test_equal_weights_and_metadata_give_equal_bytes(tmp_path):
    metadata = {key: key for key in "zyxwvut"}
    for name in ("a", "b"):
        write_lora(tmp_path / f"{name}.safetensors", make_factors(), metadata, "fp16")
    a, b = ((tmp_path / f"{name}.safetensors").read_bytes() for name in "ab")
    assert a == b


def test_a_layer_without_effect_is_written_without_effect(tmp_path):
    factors = {**make_factors(), CONV: (torch.ones(2, 6, 3, 3), torch.ones(8, 2, 1, 1), 0.0)}
    write_lora(tmp_path / "x.safetensors", factors, {}, "fp16")
    tensors = load_file(tmp_path / "x.safetensors")
    assert all(value.item() > 0 for key, value in tensors.items() if key.endswith(".alpha"))
    assert not tensors[f"{NAMES[CONV]}.lora_up.weight"].any()


@pytest.mark.parametrize("precision", ["fp16", "bf16"])
def test_no_alpha_is_rounded_to_the_weights_format(tmp_path, precision):
    factors = {UNET: (torch.randn(7, 12), torch.randn(10, 7), 13.23 / 7)}
    write_lora(tmp_path / "x.safetensors", factors, {}, precision)
    alpha = load_file(tmp_path / "x.safetensors")[f"{NAMES[UNET]}.alpha"]
    assert alpha.dtype == torch.float32
    assert alpha.item() == pytest.approx(13.23, rel=1e-6)


@pytest.mark.parametrize("size", [1e-4, 1e-6, 1e-8])
def test_changes_of_a_few_steps_keep_their_digits_in_fp16(tmp_path, size):
    """Weights this small have few digits in fp16, or none, unless the other factor gives some."""
    factors = {
        layer: (down, up * size / up.abs().max(), scale)
        for layer, (down, up, scale) in make_factors().items()
    }
    deltas = {layer: delta(*parts) for layer, parts in factors.items()}
    kohya, peft = tmp_path / "kohya.safetensors", tmp_path / "peft.safetensors"
    write_lora(kohya, factors, {}, "fp16")
    write_peft(peft, factors, {}, "fp16")
    for path in (kohya, peft):
        read = read_adapter_file(path, factors, SD_NAMES).modules
        for layer, wanted in deltas.items():
            found = multiply_out(layer, read[layer])
            assert (found - wanted).norm() <= 2e-3 * wanted.norm()
