"""LoRA files: right names and numbers, an honest header, damaged ones refused."""

import hashlib
import json
import struct

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from trainer.config import RunConfig, layer_config
from trainer.export import (
    ExportError,
    ExportFacts,
    compare_with_trained,
    make_metadata,
    read_lora,
    to_kohya_name,
    write_lora,
)
from trainer.export.kohya import check_header

UNET = "unet.down_blocks.0.attentions.0.transformer_blocks.0.attn1.to_out.0"
CONV = "unet.mid_block.resnets.1.conv1"
TEXT = "text_encoder.text_model.encoder.layers.3.self_attn.q_proj"


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


def facts(**changes):
    values = {
        "family": "sd15",
        "prediction": "epsilon",
        "base_model_name": "base",
        "captions": ["zorp, Red cat", "zorp, dog"],
        "resolution": 512,
        "buckets": {(512, 512): 2},
        "step": 100,
        "started": 1_700_000_000.0,
    }
    return ExportFacts(**{**values, **changes})


def test_names_are_kohyas():
    assert to_kohya_name(UNET) == (
        "lora_unet_down_blocks_0_attentions_0_transformer_blocks_0_attn1_to_out_0"
    )
    assert to_kohya_name(TEXT) == "lora_te_text_model_encoder_layers_3_self_attn_q_proj"


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
    assert tensors[f"{to_kohya_name(CONV)}.lora_down.weight"].shape == (3, 6, 3, 3)
    assert tensors[f"{to_kohya_name(CONV)}.lora_up.weight"].shape == (8, 3, 1, 1)


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
        compare_with_trained(path, {**deltas, "unet.more": torch.ones(1, 1)}, "fp16")


def test_a_file_of_another_model_is_refused_by_name(tmp_path):
    path = tmp_path / "x.safetensors"
    write_lora(path, make_factors(), {}, "fp16")
    with pytest.raises(ExportError, match="2 of 3 layers are unknown"):
        read_lora(path, [TEXT])


def test_another_format_is_refused(tmp_path):
    path = tmp_path / "x.safetensors"
    save_file({f"{to_kohya_name(UNET)}.hada_w1_a": torch.ones(2, 2)}, path)
    with pytest.raises(ExportError, match="not a plain LoRA"):
        read_lora(path, [UNET])


def header(length, content=b"{}"):
    return struct.pack("<Q", length) + content


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "not a safetensors"),
        (b"\x89PNG", "not a safetensors"),
        (header(2**40), "not a safetensors"),
        (header(2**63 + 5), "not a safetensors"),
        (header(9, b"not json!"), "not JSON"),
        (header(4, b"\xff\xff\xff\xff"), "not JSON"),
    ],
)
def test_damaged_headers_are_refused_before_anything_is_allocated(tmp_path, content, says):
    path = tmp_path / "x.safetensors"
    path.write_bytes(content)
    with pytest.raises(ExportError, match=says):
        check_header(path)


def test_a_truncated_file_is_refused(tmp_path):
    path = tmp_path / "x.safetensors"
    write_lora(path, make_factors(), {}, "fp16")
    path.write_bytes(path.read_bytes()[:-50])
    with pytest.raises(ExportError, match="damaged"):
        read_lora(path, [UNET, CONV, TEXT])


def test_a_full_disk_leaves_no_file(tmp_path, monkeypatch):
    def fail(*_args):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", fail)
    with pytest.raises(ExportError, match="No space left"):
        write_lora(tmp_path / "x.safetensors", make_factors(), {}, "fp16")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("family", "prediction", "version", "architecture"),
    [
        ("sd15", "epsilon", "sd_v1", "stable-diffusion-v1/lora"),
        ("sd2", "v_prediction", "sd_v2_v", "stable-diffusion-v2-768-v/lora"),
    ],
)
def test_the_header_names_the_family_as_other_programs_read_it(
    family, prediction, version, architecture
):
    found = make_metadata(RunConfig(), facts(family=family, prediction=prediction))
    assert found["ss_base_model_version"] == version
    assert found["ss_v2"] == str(family == "sd2")
    assert found["modelspec.architecture"] == architecture


def test_the_header_is_text_that_a1111_can_parse():
    settings = {"name": "zorp-lora", "dataset": {"trigger": "zorp", "path": "/home/me/secret"}}
    found = make_metadata(layer_config(settings=settings), facts())
    assert all(isinstance(value, str) and value != "None" for value in found.values())
    assert json.loads(found["ss_tag_frequency"]) == {
        "zorp-lora": {"zorp": 2, "red cat": 1, "dog": 1}
    }
    assert json.loads(found["ss_dataset_dirs"]) == {"zorp-lora": {"n_repeats": 1, "img_count": 2}}
    assert json.loads(found["ss_bucket_info"])["buckets"]["0"]["resolution"] == [512, 512]
    assert float(found["ss_training_started_at"]) == 1_700_000_000.0
    assert found["modelspec.trigger_phrase"] == "zorp"
    assert "secret" not in json.dumps(found)
    assert "/home" not in json.dumps(found)


def test_tag_counts_can_be_left_out():
    config = layer_config(assignments=["output.tag_counts=false"])
    assert "ss_tag_frequency" not in make_metadata(config, facts())


def test_dates_follow_source_date_epoch(monkeypatch):
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "0")
    found = make_metadata(RunConfig(), facts())
    assert found["modelspec.date"] == "1970-01-01T00:00:00Z"
    assert found["ss_training_started_at"] == "0.0"
