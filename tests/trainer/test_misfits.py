"""Files that are damaged, dangerous, of another kind or for another base model."""

import struct

import pytest
import torch
from safetensors.torch import save_file

from tests.trainer.conftest import load_plain
from trainer.config import AdapterConfig
from trainer.export import ExportError, name_layers, write_kohya
from trainer.training.attach import attach_file, attach_for_training

CPU = torch.device("cpu")
QUERY = "lora_unet_down_blocks_0_attentions_0_transformer_blocks_0_attn1_to_q"
CROSS = "lora_unet_down_blocks_0_attentions_0_transformer_blocks_0_attn2_to_k"
GOOD = {
    f"{QUERY}.lora_down.weight": torch.ones(2, 16),
    f"{QUERY}.lora_up.weight": torch.ones(16, 2),
}


@pytest.fixture(scope="module")
def family(pico):
    return load_plain(pico)


def count_hooks(family):
    models = family.adaptable_models().values()
    return sum(len(module._forward_hooks) for model in models for module in model.modules())


def refuse(family, path):
    """Returns the sentence with which a file is refused; nothing of it stays on the model."""
    with pytest.raises(ExportError) as caught:
        attach_file(family, path, CPU)
    assert count_hooks(family) == 0
    sentence = str(caught.value)
    assert path.name in sentence
    assert sentence.endswith(".")
    return sentence


def header(length, content=b"{}"):
    return struct.pack("<Q", length) + content


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "cut short"),
        (b"\x89PNG", "cut short"),
        (header(2**40), r"announces a header of 1,099,511,627,776 bytes"),
        (header(2**63 + 5), "announces a header"),
        (header(9, b"not json!"), "not JSON"),
        (header(4, b"\xff\xff\xff\xff"), "not Unicode text"),
        (header(2), "contains no adapter"),
    ],
)
def test_damaged_headers_are_refused(content, says, family, tmp_path):
    path = tmp_path / "x.safetensors"
    path.write_bytes(content)
    with pytest.raises(ExportError, match=says):
        attach_file(family, path, CPU)


def test_a_truncated_file_is_refused(family, tmp_path):
    path = tmp_path / "x.safetensors"
    save_file(GOOD, path)
    path.write_bytes(path.read_bytes()[:-50])
    assert "cut short" in refuse(family, path)


def test_a_missing_file_is_refused(family, tmp_path):
    assert "There is no LoRA file" in refuse(family, tmp_path / "x.safetensors")


@pytest.mark.parametrize("name", ["x.pt", "x.ckpt", "X.BIN"])
def test_a_pickle_is_never_opened(name, family, tmp_path):
    path = tmp_path / name
    path.write_bytes(b"\x80\x02cos\nsystem\n")
    assert "can run code" in refuse(family, path)


@pytest.mark.parametrize(
    ("names", "says"),
    [
        (["model.diffusion_model.input_blocks.0.0.weight"], "is a base model, not a LoRA"),
        (["emb_params"], "is a text embedding"),
        (["down_blocks.0.resnets.0.conv1.weight"], "none of its 1 tensors belongs"),
        ([*GOOD, "surprise"], "1 tensors that are not part of a known adapter, first sur"),
        ([*GOOD, "lora_unet_conv_in.oft_diag"], "by OFT in the form of before.*works in A1111"),
        ([*GOOD, "lora_unet_conv_in.oft_R.weight"], "by OFT in the form of another program"),
        ([*GOOD, "lora_unet_conv_in.ia3_l"], r"by \(IA\)³ of PEFT"),
        ([*GOOD, "lora_unet_conv_norm_out.w_norm"], r"by normalisation layers \(w_norm\)"),
        ([*GOOD, f"{CROSS}.a1.weight"], "lacks glora_a2, glora_b1, glora_b2"),
        ([f"{QUERY}.lora_down.weight"], "damaged: .*attn1_to_q holds only lora_down.weight"),
        ([f"{QUERY}.hada_w1_a"], "damaged: .*holds only hada_w1_a"),
        ([f"{QUERY}.alpha"], "parts of an unknown kind"),
        (["lora_unet_nowhere.lora_down.weight", "lora_unet_nowhere.lora_up.weight"],
         "1 of 1 layers are unknown, first lora_unet_nowhere"),
        (["lora_unet_double_blocks_0_img_attn_qkv.lora_down.weight",
          "lora_unet_double_blocks_0_img_attn_qkv.lora_up.weight"], "made for Flux, and this base"),
    ],
)  # fmt: skip
def test_files_of_another_kind_are_refused_by_what_they_are(names, says, family, tmp_path):
    path = tmp_path / "x.safetensors"
    save_file({name: GOOD.get(name, torch.ones(2, 2)) for name in names}, path)
    with pytest.raises(ExportError, match=says):
        attach_file(family, path, CPU)
    assert count_hooks(family) == 0


def test_the_same_layer_under_two_spellings_is_refused(family, tmp_path):
    path = tmp_path / "x.safetensors"
    other = QUERY.replace("down_blocks_0_attentions_0", "input_blocks_1_1")
    twin = {key.replace(QUERY, other): value.clone() for key, value in GOOD.items()}
    save_file(GOOD | twin, path)
    assert "to_q twice" in refuse(family, path)


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_weights_that_are_no_numbers_are_refused_by_layer(bad, family, tmp_path):
    path = tmp_path / "x.safetensors"
    broken = {key: value.clone() for key, value in GOOD.items()}
    broken[f"{QUERY}.lora_up.weight"][3, 1] = bad
    save_file(broken, path)
    sentence = refuse(family, path)
    assert "unet.down_blocks.0.attentions.0.transformer_blocks.0.attn1.to_q" in sentence
    assert "not finite" in sentence


@pytest.mark.parametrize(
    ("part", "shape", "says"),
    [
        ("lora_down.weight", (), r"has the shape \(\)"),
        ("lora_down.weight", (0, 16), r"has the shape \(0, 16\)"),
        ("lora_up.weight", (16, 3), "rank 2 and lora_up.weight 3"),
        ("lora_up.weight", (15, 2), r"1 of 1 layers do not fit, first unet.*\(15, 2\)"),
        ("lora_mid.weight", (3, 3, 1, 1), r"core of \(3, 3, 1, 1\) does not fit"),
        ("alpha", (2,), "2 numbers instead of one"),
        ("dora_scale", (1, 5), "dora_scale"),
    ],
)
def test_shapes_that_do_not_fit_are_refused(part, shape, says, family, tmp_path):
    path = tmp_path / "x.safetensors"
    save_file(GOOD | {f"{QUERY}.{part}": torch.ones(shape)}, path)
    with pytest.raises(ExportError, match=says):
        attach_file(family, path, CPU)
    assert count_hooks(family) == 0


def test_all_layers_that_do_not_fit_are_counted(family, tmp_path):
    path = tmp_path / "x.safetensors"
    pairs = {name: (torch.ones(2, 9), torch.ones(9, 2)) for name in (QUERY, CROSS)}
    save_file(
        {
            f"{n}.lora_{k}.weight": t
            for n, p in pairs.items()
            for k, t in zip(("down", "up"), p, strict=True)
        },
        path,
    )
    assert "2 of 2 layers do not fit" in refuse(family, path)


@pytest.mark.parametrize(
    ("width", "metadata", "made"),
    [
        (1024, {}, "SD 2.x"),
        (2048, {}, "SDXL"),
        (32, {"ss_base_model_version": "sdxl_base_v1-0"}, "SDXL"),
        (9, {"ss_base_model_version": "sd_v2_v"}, "SD 2.x"),
        (9, {"modelspec.architecture": "stable-diffusion-xl-v1-base/lora"}, "SDXL"),
    ],
)  # fmt: skip
def test_a_file_for_another_family_is_named_with_both_families(
    width, metadata, made, family, tmp_path
):
    path = tmp_path / "x.safetensors"
    fitting = width == 32
    name = QUERY.replace("down_blocks_0", "down_blocks_7") if fitting else CROSS
    tensors = {
        f"{name}.lora_down.weight": torch.ones(2, width),
        f"{name}.lora_up.weight": torch.ones(16, 2),
    }
    save_file(tensors, path, metadata)
    assert f"was made for {made}, and this base model is SD 1.x" in refuse(family, path)


def test_an_sdxl_file_on_sd_is_named_by_its_second_text_encoder(family, pico_xl, tmp_path):
    path = tmp_path / "x.safetensors"
    xl = load_plain(pico_xl)
    layer = "text_encoder_2.text_model.encoder.layers.0.self_attn.q_proj"
    factors = {layer: (torch.ones(2, 48), torch.ones(48, 2), 1.0)}
    write_kohya(path, factors, name_layers(factors, "sdxl", xl.unet_names), {}, "fp32")
    assert "was made for SDXL, and this base model is SD 1.x" in refuse(family, path)
    attach_file(xl, path, CPU).remove()


def test_files_add_up_and_come_off_again(family, tmp_path):
    path = tmp_path / "x.safetensors"
    save_file(GOOD, path)
    first, second = attach_file(family, path, CPU), attach_file(family, path, CPU)
    assert count_hooks(family) == 2
    assert not any(p.requires_grad for a in first.adapters.values() for p in a.parameters())
    first.remove()
    second.remove()
    assert count_hooks(family) == 0


def test_training_continues_from_a_file(family, tmp_path):
    path = tmp_path / "x.safetensors"
    save_file(GOOD | {f"{QUERY}.alpha": torch.tensor(1.5)}, path)
    adapters = attach_for_training(family, path, AdapterConfig(rank=99, dropout=0.25), CPU)
    adapters.remove()
    (adapter,) = adapters.adapters.values()
    assert (adapter.rank, adapter.alpha, adapter.dropout) == (2, 1.5, 0.25)
    assert all(parameter.requires_grad for parameter in adapter.parameters())
    assert torch.equal(adapter.delta(), torch.ones(16, 16) * 2 * 0.75)


@pytest.mark.parametrize(
    ("tensors", "says"),
    [
        (GOOD | {f"{QUERY}.alpha": torch.tensor(0.0)}, "the alpha 0"),
        ({f"{QUERY}.diff": torch.ones(16, 16)}, "full difference"),
        (
            {"lora_unet_conv_in.lora_down.weight": torch.ones(2, 4, 3, 3),
             "lora_unet_conv_in.lora_up.weight": torch.ones(16, 2, 1, 1)},
            "changes unet.conv_in, which is not trained",
        ),
    ],
)  # fmt: skip
def test_training_does_not_start_from_what_cannot_learn(tensors, says, family, tmp_path):
    path = tmp_path / "x.safetensors"
    save_file(tensors, path)
    with pytest.raises(ExportError, match=says):
        attach_for_training(family, path, AdapterConfig(), CPU)
    assert count_hooks(family) == 0
