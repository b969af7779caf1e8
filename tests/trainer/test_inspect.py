"""What a file is said to be, and who reads it, without a base model."""

import json

import pytest
import torch
from safetensors.torch import load_file, save_file

from tests.trainer.test_verify import QUERY, add, make_header, make_tensors, swap, to_peft, write
from trainer.export import ExportError, inspect_file, verify_file
from trainer.files.verify.findings import PROGRAMS


def inspect(path, tensors, header):
    return inspect_file(write(path, tensors, header))


def loads(found):
    return {verdict.program: verdict.loads for verdict in found.programs}


@pytest.fixture
def path(tmp_path):
    return tmp_path / "x.safetensors"


@pytest.mark.parametrize(
    ("family", "title", "counts"),
    [
        ("sd15", "SD 1.x", {"UNet": 278, "text encoder": 72}),
        ("sd2", "SD 2.x", {"UNet": 278, "text encoder": 138}),
        ("sdxl", "SDXL", {"UNet": 788, "text encoder": 72, "second text encoder": 192}),
    ],
)
def test_the_family_and_how_much_of_it_is_changed_are_read_from_names_and_shapes(
    family, title, counts, path
):
    found = inspect(path, make_tensors(family), {})
    assert (found.family, found.certain, found.kinds) == (title, True, ["LoRA"])
    assert {part.name: part.of for part in found.components} == counts
    assert sum(part.modules for part in found.components) == len(make_tensors(family)) / 3


def test_a_clean_file_loads_everywhere(path):
    found = inspect(path, make_tensors(), make_header("sd15"))
    assert loads(found) == dict.fromkeys(PROGRAMS, "yes")
    assert found.findings == []
    assert found.digest == found.stated_digest
    assert (found.naming, found.precision) == ("kohya", "fp16")


def test_the_header_tells_how_it_was_made(path):
    header = make_header(
        "sd15",
        **{
            "modelspec.title": "My zorp",
            "modelspec.trigger_phrase": "zorp",
            "modelspec.prediction_type": "v",
            "ss_sd_model_name": "base",
            "ss_steps": "500",
            "ss_seed": "None",
            "ss_tag_frequency": json.dumps({"a": {"cat": 3, "dog": 9}, "b": {"cat": 8}}),
            "lorasmith.config": "{}",
        },
    )
    found = inspect(path, make_tensors(), header)
    assert (found.title, found.trigger, found.prediction) == ("My zorp", "zorp", "v_prediction")
    assert (found.base_model, found.tags, found.settings) == ("base", ["cat", "dog"], True)
    assert found.training["steps"] == "500"
    assert "seed" not in found.training
    text = found.to_text()
    for word in ("My zorp", "zorp", "steps", "500", "cat, dog", "settings"):
        assert word in text


def test_ranks_and_alphas_are_counted_per_model(path):
    tensors = make_tensors()
    tensors[f"{QUERY}.alpha"] = torch.tensor(4.0)
    tensors[f"{QUERY}.lora_down.weight"] = torch.ones(3, 640)
    tensors[f"{QUERY}.lora_up.weight"] = torch.ones(640, 3)
    unet, text = inspect(path, tensors, {}).components
    assert unet.ranks == {1: unet.modules - 1, 3: 1}
    assert unet.alphas == {1.0: unet.modules - 1, 4.0: 1}
    assert text.alphas == {1.0: text.modules}


def test_who_does_not_read_a_file_is_told_why(path):
    found = inspect(path, to_peft(make_tensors()), make_header("sd15"))
    assert loads(found) == {
        "diffusers": "yes", "A1111": "no", "Forge": "no", "ComfyUI": "partly",
        "InvokeAI": "no", "sd-scripts": "no",
    }  # fmt: skip
    assert all(v.reasons for v in found.programs if v.loads != "yes")
    assert "File refused: The names are those of diffusers" in found.to_text()


@pytest.mark.parametrize(
    ("change", "kinds"),
    [
        (add(QUERY, dora_scale=torch.ones(1, 640)), ["LoRA", "DoRA"]),
        (swap(QUERY, {"diff": torch.ones(640, 640)}), ["LoRA", "full difference"]),
        (swap(QUERY, {"lokr_w1": torch.ones(20, 20), "lokr_w2": torch.ones(32, 32)}),
         ["LoRA", "LoKr"]),
        (swap(QUERY, {"oft_blocks": torch.ones(2, 2)}), ["LoRA", "OFT"]),
    ],
)  # fmt: skip
def test_kinds_are_named(change, kinds, path):
    assert inspect(path, change(make_tensors()), {}).kinds == kinds


def test_a_stale_hash_is_shown_beside_the_true_one(path):
    found = inspect(path, make_tensors(), {"sshs_model_hash": "0x12"})
    assert found.digest != found.stated_digest == "0x12"
    assert f"{found.digest} (the header has 0x12)" in found.to_text()


def test_a_file_for_another_architecture_is_named_and_not_judged(path):
    name = "lora_unet_double_blocks_0_img_attn_qkv"
    tensors = {
        f"{name}.lora_down.weight": torch.ones(1, 8),
        f"{name}.lora_up.weight": torch.ones(8, 1),
    }
    found = inspect(path, tensors, {})
    assert (found.family, found.programs) == ("Flux", [])
    assert "for Flux" in found.to_text()


def test_layers_that_two_families_share_leave_the_family_open(path):
    tensors = {k: v for k, v in make_tensors().items() if "resnets" in k}
    found = inspect(path, tensors, {})
    assert (found.family, found.certain) == ("SD 1.x or SD 2.x", False)
    assert inspect(path, tensors, make_header("sd2")).family == "SD 2.x"


def test_everything_can_be_written_as_json(path):
    found = inspect(path, make_tensors(), make_header("sd15"))
    tree = json.loads(json.dumps(found.to_dict()))
    assert tree["components"][0]["ranks"] == {"1": found.components[0].modules}
    assert [row["program"] for row in tree["programs"]] == list(PROGRAMS)


def test_a_hostile_header_is_shown_and_not_believed(path):
    header = {
        "ss_tag_frequency": '{"a": [1, 2], "b": {"cat": "many"}, "c": {"dog": 2}}',
        "modelspec.prediction_type": "[" * 2000,
        "ss_base_model_version": "sd_v1",
    }
    found = inspect(path, make_tensors(), header)
    assert found.tags[0] == "dog"
    assert found.prediction == "epsilon"


def test_what_is_no_adapter_is_refused(path):
    save_file({"conv.weight": torch.ones(2)}, path)
    with pytest.raises(ExportError, match="contains no adapter"):
        inspect_file(path)
    path.write_bytes(b"\x00" * 8)
    with pytest.raises(ExportError):
        inspect_file(path)


@pytest.mark.parametrize("base", ["pico", "pico_xl"])
def test_what_a_run_exports_is_clean(base, request, make_run, cache):
    from tests.trainer.conftest import load_plain
    from trainer.commands import train
    from trainer.runs import read_events
    from trainer.training.attach import describe_layers

    folder = request.getfixturevalue(base)
    run = make_run(f"base_model.path={folder}", "train.steps=3", "output.formats=both")
    train(run, cache)
    layers = describe_layers(load_plain(folder))
    kohya, peft = run.path / "pico.safetensors", run.path / "pico-diffusers.safetensors"
    assert [finding.to_line() for finding in verify_file(kohya, layers)] == []
    assert [finding.to_line() for finding in verify_file(kohya)] == []
    assert {(f.rule, f.severity) for f in verify_file(peft, layers)} == {("format", "note")}
    assert [e for e in read_events(run.events_path) if e["event"] == "warning"] == []
    found = inspect_file(kohya)
    assert found.family == ("SDXL" if base == "pico_xl" else "SD 1.x")
    assert (found.trigger, found.settings) == ("zorp", True)
    assert sum(part.modules for part in found.components) == len(load_file(kohya)) / 3
    assert loads(found) == dict.fromkeys(PROGRAMS, "yes")


def test_damaged_settings_in_a_header_do_not_hide_the_rest(tmp_path, capsys):
    from app.cli import main

    path = tmp_path / "x.safetensors"
    layer = "lora_unet_mid_block_attentions_0_proj_in"
    tensors = {f"{layer}.lora_down.weight": torch.ones(1, 1280, 1, 1),
               f"{layer}.lora_up.weight": torch.ones(1280, 1, 1, 1)}  # fmt: skip
    save_file(tensors, path, {"lorasmith.config": "{broken", "modelspec.title": "Mine"})
    assert main(["inspect", str(path), "--json"]) == 0
    described = json.loads(capsys.readouterr().out)
    assert (described["title"], described["settings"]) == ("Mine", {})
    assert described["header"]["lorasmith.config"] == "{broken"
    assert any(
        "settings in the file's header are damaged" in each for each in described["findings"]
    )
