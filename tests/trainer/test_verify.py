"""The contract check: each rule finds the file that breaks it, and nothing in a clean one."""

import hashlib
import json

import pytest
import torch
from safetensors.torch import save_file

from trainer.export import name_layers, write_kohya, write_peft
from trainer.files.verify import RULES, judge, verify_file
from trainer.files.verify.facts import BaseLayers, collect_facts
from trainer.files.verify.findings import PROGRAMS
from trainer.formats.architectures import list_layers
from trainer.formats.families import FAMILIES
from trainer.formats.header import read_header
from trainer.formats.unet_names import SDXL_NAMES

PARTS = ("down_blocks.1.attentions.0", "mid_block", "up_blocks.0.upsamplers", "layers.1.", "conv_s")
QUERY = "lora_unet_down_blocks_1_attentions_0_transformer_blocks_0_attn1_to_q"
TEXT = "lora_te_text_model_encoder_layers_1"


def make_header(family, **changes):
    labels = FAMILIES[family].labels["epsilon"]
    header = {
        "ss_base_model_version": labels.version,
        "ss_v2": str(family == "sd2"),
        "modelspec.sai_model_spec": "1.0.1",
        "modelspec.architecture": labels.architecture,
        "modelspec.implementation": labels.implementation,
        "modelspec.title": "x",
    }
    return {key: value for key, value in {**header, **changes}.items() if value is not None}


def make_tensors(family="sd15", names=None):
    """Returns a LoRA of rank 1 on some layers of a full-size model, as a clean file holds it."""
    layers = {n: s for n, s in list_layers(family).items() if any(part in n for part in PARTS)}
    spellings = names or name_layers(layers, family, FAMILIES[family].unet.names)
    tensors = {}
    for layer, (outputs, *inputs) in layers.items():
        point = (1,) * (len(inputs) - 1)
        tensors[f"{spellings[layer]}.lora_down.weight"] = torch.ones(1, *inputs).half()
        tensors[f"{spellings[layer]}.lora_up.weight"] = torch.ones(outputs, 1, *point).half()
        tensors[f"{spellings[layer]}.alpha"] = torch.tensor(1.0)
    return tensors


def write(path, tensors, header):
    """Writes a file with the right hash, unless the header has one of its own."""
    save_file(tensors, path)
    body = path.read_bytes()[read_header(path).body_start :]
    digest = hashlib.sha256(body).hexdigest()
    save_file(tensors, path, {"sshs_model_hash": digest, **header})
    return path


def rename(tensors, change):
    return {change(key): value for key, value in tensors.items()}


def replace(old, new):
    return lambda tensors: rename(tensors, lambda key: key.replace(old, new))


def add(name, **parts):
    return lambda tensors: tensors | {f"{name}.{p}": value for p, value in parts.items()}


def put(key, value):
    return lambda tensors: tensors | {key: value}


def drop(*ends):
    return lambda tensors: {k: v for k, v in tensors.items() if not k.endswith(ends)}


def only(*marks):
    return lambda tensors: {k: v for k, v in tensors.items() if any(m in k for m in marks)}


def pair(outputs, inputs, rank=1):
    return {
        "lora_down.weight": torch.ones(rank, inputs),
        "lora_up.weight": torch.ones(outputs, rank),
        "alpha": torch.tensor(1.0),
    }


def swap(name, parts):
    """Puts other parts in place of a layer's."""
    return lambda tensors: {
        **{k: v for k, v in tensors.items() if not k.startswith(f"{name}.")},
        **{f"{name}.{part}": value for part, value in parts.items()},
    }


def to_peft(tensors):
    layers = {v: k for k, v in name_layers(list_layers("sd15"), "sd15", SDXL_NAMES).items()}
    parts = {"lora_down.weight": "lora_A.weight", "lora_up.weight": "lora_B.weight"}
    return {
        f"{layers[key.partition('.')[0]]}.{parts[key.partition('.')[2]]}": value
        for key, value in tensors.items()
        if not key.endswith("alpha")
    }


def name_original(tensors):
    original = {
        ours: name_layers([layer], "sdxl", FAMILIES["sd15"].unet.names)[layer]
        for layer, ours in name_layers(list_layers("sd15"), "sd15", SDXL_NAMES).items()
        if layer.startswith("unet.")
    }
    return rename(
        tensors,
        lambda key: (
            f"{original.get(key.partition('.')[0], key.partition('.')[0])}.{key.partition('.')[2]}"
        ),
    )


def name_by_diffusers(tensors):
    """Gives the blocks of SDXL the names of diffusers."""
    names = name_layers(list_layers("sdxl"), "sdxl", SDXL_NAMES)
    plain = {
        ours: "lora_unet_" + layer.removeprefix("unet.").replace(".", "_")
        for layer, ours in names.items()
        if layer.startswith("unet.")
    }
    return rename(
        tensors,
        lambda key: ".".join([plain.get(key.partition(".")[0], key.partition(".")[0]),
                              key.partition(".")[2]]),
    )  # fmt: skip


def mix_blocks(tensors):
    part = only("middle_block_2")(tensors)
    return {k: v for k, v in tensors.items() if k not in part} | name_by_diffusers(part)


NAN = torch.full((1, 640), float("nan"))
SQUARE = torch.ones(640, 640)
DOWN, UP = f"{QUERY}.lora_down.weight", f"{QUERY}.lora_up.weight"
LOHA = {
    f"hada_w{n}_{p}": torch.ones(s) for n in (1, 2) for p, s in (("a", (640, 1)), ("b", (1, 640)))
}
LOHA["alpha"] = torch.tensor(1.0)
LOKR = {
    "lokr_w1": torch.ones(20, 20),
    "lokr_w2_a": torch.ones(32, 1),
    "lokr_w2_b": torch.ones(1, 32),
}

# Rule, family, what is done to a clean file's tensors and header, severity, who stumbles.
CASES = [
    ("family", "sd15", replace("lora_unet_mid_block", "lora_unet_double_blocks"), {}, "error", ""),
    ("strangers", "sd15", put("surprise", SQUARE), {}, "error", "Forge InvokeAI diffusers"),
    ("words", "sd15", put("bundle_emb.my cat.emb_params", torch.ones(2, 768)), {}, "note",
     "ComfyUI Forge InvokeAI diffusers sd-scripts"),
    ("format", "sd15", to_peft, {}, "note", "A1111 ComfyUI Forge InvokeAI sd-scripts"),
    ("format", "sd15", lambda t: t | {"unet.conv_in.lora_A.weight": torch.ones(1, 4, 3, 3),
     "unet.conv_in.lora_B.weight": torch.ones(320, 1, 1, 1)}, {}, "error",
     "A1111 ComfyUI Forge InvokeAI diffusers sd-scripts"),
    ("blocks", "sd15", name_original, {}, "error", "InvokeAI diffusers sd-scripts"),
    ("blocks", "sdxl", name_by_diffusers, {}, "warning", "A1111"),
    ("blocks", "sdxl", lambda t: mix_blocks(t), {}, "error",
     "InvokeAI diffusers sd-scripts"),
    ("text_prefix", "sd15", replace("lora_te_", "lora_te1_"), {}, "error", "InvokeAI sd-scripts"),
    ("text_prefix", "sdxl", replace("lora_te1_", "lora_te_"), {}, "error",
     "A1111 InvokeAI sd-scripts"),
    ("text_level", "sd15", replace("text_model_", ""), {}, "error",
     "A1111 ComfyUI Forge InvokeAI diffusers sd-scripts"),
    ("known_layers", "sd15", replace("mid_block_resnets_1", "mid_block_resnets_7"), {}, "error",
     "A1111 ComfyUI Forge InvokeAI diffusers sd-scripts"),
    ("outer_layers", "sd15", add("lora_unet_time_embedding_linear_1", **pair(1280, 320)), {},
     "warning", "sd-scripts"),
    ("outer_layers", "sdxl", add("lora_te2_text_projection", **pair(1280, 1280)), {}, "warning",
     "A1111 sd-scripts"),
    ("twins", "sdxl", add("lora_te2_encoder_layers_1_mlp_fc1", **pair(5120, 1280)), {},
     "error", ""),
    ("text_sets", "sd15", lambda t: {k: v for k, v in t.items() if "k_proj" not in k}, {},
     "warning", ""),
    ("text_sets", "sd2", lambda t: {k: v for k, v in t.items() if "k_proj" not in k}, {}, "error",
     "A1111"),
    ("text_sets", "sd15", lambda t: {k: v for k, v in t.items() if "out_proj" not in k}, {},
     "error", "diffusers"),
    ("kinds", "sd15", swap(QUERY, LOHA), {}, "note", "diffusers sd-scripts"),
    ("kinds", "sd15", swap(QUERY, LOKR), {}, "note", "diffusers sd-scripts"),
    ("kinds", "sdxl", swap("lora_te2_text_model_encoder_layers_1_mlp_fc1",
     {"diff": torch.ones(5120, 1280)}), {}, "note", "diffusers sd-scripts"),
    ("kinds", "sd15", swap(QUERY, {"oft_blocks": SQUARE}), {}, "warning",
     "Forge InvokeAI diffusers"),
    ("tucker", "sd15", lambda t: swap("lora_unet_mid_block_resnets_1_conv1", {
        "lora_down.weight": torch.ones(1, 1280, 1, 1), "lora_mid.weight": torch.ones(1, 1, 3, 3),
        "lora_up.weight": torch.ones(1280, 1, 1, 1), "alpha": torch.tensor(1.0)})(t), {},
     "warning", "diffusers sd-scripts"),
    ("dora", "sd15", add(QUERY, dora_scale=torch.ones(1, 640)), {}, "note", "diffusers sd-scripts"),
    ("dora", "sd15", add(QUERY, dora_scale=torch.ones(640, 1)), {}, "error",
     "A1111 ComfyUI Forge InvokeAI diffusers sd-scripts"),
    ("dora", "sd15", add(QUERY, dora_scale=torch.ones(640)), {}, "error",
     "A1111 ComfyUI Forge InvokeAI diffusers sd-scripts"),
    ("lengths", "sd15", add(QUERY, dora_scale=torch.ones(1, 320)), {}, "error",
     "A1111 ComfyUI Forge InvokeAI"),
    ("lengths", "sd15", lambda t: add("lora_unet_mid_block_resnets_1_conv1",
     dora_scale=torch.ones(1, 640, 1, 1))(t), {}, "error", "A1111 ComfyUI Forge InvokeAI"),
    ("lengths", "sd15", lambda t: add(QUERY, dora_scale=torch.ones(1, 71))(swap(QUERY, LOHA)(t)),
     {}, "error", "A1111 ComfyUI Forge InvokeAI"),
    ("empty", "sd15", lambda t: t | {DOWN: torch.ones(0, 640), UP: torch.ones(640, 0)}, {},
     "error", " ".join(PROGRAMS)),
    *(("number_formats", "sd15", put(DOWN, torch.ones(1, 640).to(dtype)), {}, "error",
       " ".join(PROGRAMS))
      for dtype in (torch.int8, torch.bool, torch.uint16, torch.complex64, torch.int64)),
    ("parts", "sd15", drop(f"{QUERY}.lora_up.weight"), {}, "error", " ".join(PROGRAMS)),
    ("parts", "sd15", put(DOWN, torch.ones(2, 640)), {}, "error", " ".join(PROGRAMS)),
    ("shapes", "sd15", put(DOWN, torch.ones(1, 320)), {}, "error",
     "A1111 ComfyUI Forge InvokeAI diffusers sd-scripts"),
    ("shapes", "sd15", lambda t: swap(QUERY.replace("transformer_blocks_0_attn1_to_q", "proj_in"),
     pair(640, 640))(t), {}, "error", "diffusers sd-scripts"),
    ("finite", "sd15", put(DOWN, NAN), {}, "error", " ".join(PROGRAMS)),
    ("alphas", "sd15", put(f"{QUERY}.alpha", torch.ones(2)), {}, "error", " ".join(PROGRAMS)),
    ("alphas", "sd15", drop(f"{QUERY}.alpha"), {}, "note", ""),
    ("peft_alphas", "sd15", lambda t: t, {"lora_adapter_metadata": "{}"}, "error", "diffusers"),
    ("even_alphas", "sd15", put(f"{QUERY}.alpha", torch.tensor(4.0)), {}, "warning", "diffusers"),
    ("even_alphas", "sd15", put(f"{TEXT}_mlp_fc1.alpha", torch.tensor(4.0)), {}, "warning",
     "diffusers"),
    ("stated_family", "sd15", lambda t: t, {"ss_base_model_version": "sdxl_base_v1-0"}, "error",
     "A1111 Forge"),
    ("stated_family", "sdxl", lambda t: t, {"ss_base_model_version": None}, "warning", "A1111"),
    ("stated_family", "sd2", lambda t: t,
     {"ss_base_model_version": None, "ss_v2": None, "modelspec.architecture": "other"}, "warning",
     "A1111 Forge"),
    ("detection", "sd15", only("resnets"), {}, "warning", "InvokeAI"),
    ("detection", "sd15", only("attn1"), {}, "warning", "InvokeAI"),
    ("hashes", "sd15", lambda t: t, {"sshs_model_hash": "0x00"}, "warning", ""),
    ("hashes", "sd15", lambda t: t, {"modelspec.hash_sha256": "00"}, "warning", ""),
    ("size", "sd15", lambda t: t, {"modelspec.thumbnail": "x" * (1 << 20)}, "warning", ""),
    ("tables", "sd15", lambda t: t, {"ss_tag_frequency": json.dumps({"a": 3})}, "warning", ""),
    ("tables", "sd15", lambda t: t, {"ss_dataset_dirs": "[]"}, "warning", ""),
    ("tables", "sd15", lambda t: t, {"ss_training_started_at": "None"}, "warning", ""),
    ("tables", "sd15", lambda t: t, {"ss_network_args": "{broken"}, "warning", ""),
    ("modelspec", "sd15", lambda t: t, {"modelspec.title": None}, "note", ""),
    ("privacy", "sd15", lambda t: t, {"ss_reg_dataset_dirs": "/home/me/x"}, "warning", ""),
]  # fmt: skip


def find(path):
    return {(finding.rule, finding.severity): finding for finding in verify_file(path)}


@pytest.mark.parametrize("family", FAMILIES)
def test_a_clean_file_has_no_finding(family, tmp_path):
    path = write(tmp_path / "x.safetensors", make_tensors(family), make_header(family))
    assert [finding.to_line() for finding in verify_file(path)] == []


@pytest.mark.parametrize(
    ("rule", "family", "change", "header", "severity", "stumbling"),
    CASES,
    ids=[f"{case[0]}-{number}" for number, case in enumerate(CASES)],
)
def test_each_rule_finds_the_file_that_breaks_it(
    rule, family, change, header, severity, stumbling, tmp_path
):
    tensors = {key: value.clone() for key, value in change(make_tensors(family)).items()}
    path = write(tmp_path / "x.safetensors", tensors, make_header(family, **header))
    facts = collect_facts(path)
    found = [finding for finding in RULES[rule](facts) if finding.severity == severity]
    assert found, [finding.to_line() for finding in judge(facts)]
    touched = {program for finding in found for program in finding.effects}
    assert touched == set(stumbling.split())
    # What else is said follows from the same fault, and never contradicts a clean file's rules.
    others = {finding.rule for finding in judge(facts)} - {rule}
    assert others <= FOLLOWING.get(rule, set()), [f.to_line() for f in judge(facts)]
    for finding in found:
        line = finding.to_line()
        assert line.startswith(f"{severity}: ")
        assert "\n" not in line


# One fault can break several rules: a layer under a wrong name is also an unknown one.
FOLLOWING = {
    "format": {"outer_layers"},
    "text_prefix": {"detection"},
    "twins": {"text_level"},
    "lengths": {"dora", "kinds"},
}


def test_every_rule_has_a_case():
    assert {case[0] for case in CASES} == set(RULES)


def test_zero_alpha_is_found_with_who_reads_it_otherwise(tmp_path):
    tensors = make_tensors()
    for key in tensors:
        if key.endswith("alpha"):
            tensors[key] = torch.tensor(0.0)
    path = write(tmp_path / "x.safetensors", tensors, make_header("sd15"))
    (finding,) = verify_file(path)
    assert (finding.rule, set(finding.effects)) == ("alphas", {"sd-scripts"})


def test_ranks_of_a_diffusers_file_without_its_header_are_found(tmp_path):
    tensors = to_peft(make_tensors())
    layer = "unet.mid_block.attentions.0.transformer_blocks.0.attn1.to_q"
    tensors |= {f"{layer}.lora_A.weight": torch.ones(3, 1280),
                f"{layer}.lora_B.weight": torch.ones(1280, 3)}  # fmt: skip
    path = write(tmp_path / "x.safetensors", tensors, make_header("sd15"))
    assert find(path)["peft_alphas", "warning"].effects["diffusers"].loads == "partly"


def test_up_to_twelve_leftover_keys_are_left_out_by_forge_and_more_refused(tmp_path):
    for count, loads in ((4, "partly"), (5, "no")):
        tensors = make_tensors()
        for number in range(count):
            tensors |= add(f"lora_unet_nowhere_{number}", **pair(4, 4))({})
        path = write(tmp_path / "x.safetensors", tensors, make_header("sd15"))
        assert find(path)["known_layers", "error"].effects["Forge"].loads == loads


@pytest.mark.parametrize("content", [b"", b"\x00" * 8, b"not a file of tensors at all"])
def test_a_damaged_file_is_one_finding(content, tmp_path):
    path = tmp_path / "x.safetensors"
    path.write_bytes(content)
    (finding,) = verify_file(path)
    assert finding.severity == "error"
    assert set(finding.effects) == set(PROGRAMS)


def test_a_header_that_safetensors_refuses_is_one_finding(tmp_path):
    """It cannot read a number that is too large, although nobody asks for it."""
    path = write(tmp_path / "x.safetensors", make_tensors(), make_header("sd15"))
    content = path.read_bytes()
    size = int.from_bytes(content[:8], "little")
    header = (
        content[8 : 8 + size].rstrip()[:-1].replace(b'"dtype"', b'"x": 1e999, "dtype"', 1) + b"}"
    )
    path.write_bytes(len(header).to_bytes(8, "little") + header + content[8 + size :])
    (finding,) = verify_file(path)
    assert (finding.severity, finding.rule) == ("error", "header")
    assert "x.safetensors is damaged" in finding.message


def test_a_file_without_adapters_is_one_finding(tmp_path):
    path = tmp_path / "x.safetensors"
    save_file({"conv.weight": torch.ones(2)}, path)
    (finding,) = verify_file(path)
    assert "contains no adapter" in finding.to_line()


def test_a_model_of_other_sizes_is_judged_by_its_own_layers(tmp_path):
    layers = {
        "unet.mid_block.attentions.0.proj_in": (24, 24, 1, 1),
        "unet.mid_block.attentions.0.transformer_blocks.0.attn2.to_k": (24, 48),
    }
    factors = {
        layer: (torch.ones(2, *s[1:]), torch.ones(s[0], 2, *s[2:]), 1.0)
        for layer, s in layers.items()
    }
    names = FAMILIES["sd15"].unet.names
    path = tmp_path / "x.safetensors"
    write_kohya(path, factors, name_layers(layers, "sd15", names), make_header("sd15"), "fp16")
    assert verify_file(path) == []
    assert verify_file(path, BaseLayers(layers, names)) == []
    wrong = {layer: (25, *shape[1:]) for layer, shape in layers.items()}
    assert {f.rule for f in verify_file(path, BaseLayers(wrong, names))} == {"shapes"}
    fewer = dict(list(layers.items())[:1])
    assert {f.rule for f in verify_file(path, BaseLayers(fewer, names))} == {"known_layers"}


def test_a_diffusers_file_of_ours_has_only_the_note_about_its_format(tmp_path):
    layer = "unet.mid_block.attentions.0.transformer_blocks.0.attn2.to_k"
    path = tmp_path / "x.safetensors"
    factors = {layer: (torch.ones(2, 768), torch.ones(1280, 2), 1.0)}
    write_peft(path, factors, make_header("sd15"), "fp16")
    assert [(f.rule, f.severity) for f in verify_file(path)] == [("format", "note")]
