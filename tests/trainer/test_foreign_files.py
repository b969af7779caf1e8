"""Files as other programs write them, rebuilt from bug reports: what each is, and what can be done.

Each row is a file, what `inspect` has to answer, and what the commands that write files do with it.
"""

import contextlib
import json
from dataclasses import dataclass, field

import pytest
import torch
from safetensors.torch import load_file, save, save_file

from tests.trainer.foreign_files import (
    SDXL_HEADER,
    factors,
    make_lora,
    make_parts,
    make_peft,
    name,
    noise,
    pick,
    write,
)
from trainer.combine import (
    CombineError,
    MergeRequest,
    convert_file,
    merge_files,
    resize_file,
    scale_file,
)
from trainer.config import MergeOptions, RankChoice
from trainer.export import ExportError, inspect_file, verify_file
from trainer.files.read.kinds import READERS
from trainer.files.verify.findings import PROGRAMS
from trainer.files.verify.weights import _KINDS
from trainer.formats.embedding import find_embedding
from trainer.formats.families import FAMILIES

XL = FAMILIES["sdxl"]
ALL = dict.fromkeys(PROGRAMS, "yes")
NONE = dict.fromkeys(PROGRAMS, "no")
NO_DIFFUSERS = ALL | {"diffusers": "no", "sd-scripts": "no"}


@dataclass
class Case:
    """A file.

    Attributes:
        make: Returns its tensors.
        family: Title that is told.
        loads: What programs make of it.
        header: Its texts.
        certain: Whether the family is shown by names or shapes.
        naming: Whose names.
        kinds: Of adapter.
        says: Part of a finding.
        refused: Why it cannot be merged and resized; "" where it can.
        scales: Whether it can be scaled.
    """

    make: object
    family: str
    loads: dict
    header: dict = field(default_factory=dict)
    certain: bool = True
    naming: str = "kohya"
    kinds: tuple = ("LoRA",)
    says: str = ""
    refused: str = ""
    scales: bool = True


def only(start, tensors):
    return {key: value for key, value in tensors.items() if key.startswith(start)}


def rename(old, new, tensors):
    return {key.replace(old, new): value for key, value in tensors.items()}


def with_alpha(change, tensors):
    return {k: change(v) if k.endswith(".alpha") else v for k, v in tensors.items()}


def pair(stem, shape, alpha=2.0):
    down, up = factors(shape)
    return {f"{stem}.lora_down.weight": down, f"{stem}.lora_up.weight": up,
            f"{stem}.alpha": torch.tensor(alpha)}  # fmt: skip


def old_text(layer):
    stem = layer.replace("q_proj", "to_q").replace("k_proj", "to_k")
    stem = stem.replace("v_proj", "to_v").replace("out_proj", "to_out")
    return f"{stem}_lora.down.weight", f"{stem}_lora.up.weight"


def processor(layer):
    block, _, last = layer.replace(".to_out.0", ".to_out").rpartition(".")
    return tuple(f"{block}.processor.{last}_lora.{part}.weight" for part in ("down", "up"))


def lora_a_b(stem, middle=""):
    return lambda layer: tuple(f"{stem(layer)}.lora_{part}.{middle}weight" for part in "AB")


def bare(layer):
    return layer.partition(".")[2]


NORM = "lora_unet_down_blocks_0_attentions_0_norm"
SDXL_PROCESSORS = {"A1111": "no", "InvokeAI": "no", "sd-scripts": "no"}
CASES = {
    "kohya sd15": Case(lambda: make_lora("sd15"), "SD 1.x", ALL),
    "kohya sdxl": Case(lambda: make_lora("sdxl"), "SDXL", ALL, SDXL_HEADER,
                       naming="kohya (original blocks)"),
    "slider": Case(lambda: only("lora_unet", make_lora("sdxl", "kohya-diffusers")), "SDXL", ALL),
    "original blocks": Case(
        lambda: make_lora("sd15", "kohya-original"), "SD 1.x",
        ALL | {"diffusers": "no", "InvokeAI": "partly", "sd-scripts": "partly"},
        naming="kohya (original blocks)", says="blocks have their original names"),
    "sdxl lora_te": Case(
        lambda: rename("lora_te1_", "lora_te_", make_lora("sdxl")), "SDXL",
        ALL | {"A1111": "partly", "InvokeAI": "no", "sd-scripts": "partly"},
        naming="kohya (original blocks)", says="lora_te instead of lora_te1"),
    "sd15 lora_te1": Case(
        lambda: rename("lora_te_", "lora_te1_", make_lora("sd15")), "SD 1.x",
        ALL | {"InvokeAI": "partly", "sd-scripts": "partly"}, says="lora_te1 instead of lora_te"),
    "alpha missing": Case(lambda: make_lora("sd15", alpha=False), "SD 1.x", ALL, says="no alpha"),
    "alpha bf16": Case(lambda: with_alpha(torch.Tensor.bfloat16, make_lora("sd15")), "SD 1.x", ALL),
    "alpha int": Case(lambda: with_alpha(torch.Tensor.long, make_lora("sd15")), "SD 1.x", ALL),
    "alpha of one axis": Case(
        lambda: with_alpha(lambda v: v.reshape(1), make_lora("sd15")), "SD 1.x", ALL),
    "fp8": Case(lambda: make_lora("sd15", dtype=torch.float8_e4m3fn), "SD 1.x", ALL),
    "rank 1": Case(lambda: make_lora("sdxl", rank=1), "SDXL", ALL,
                   naming="kohya (original blocks)"),
    "omi": Case(lambda: make_lora("sdxl", "omi"), "SDXL", NONE, naming="OneTrainer's OMI format",
                says="none of these programs reads as a whole"),
    "omi with its header": Case(
        lambda: make_lora("sdxl", "omi"), "SDXL", NONE | {"InvokeAI": "yes"},
        {"modelspec.sai_model_spec": "1.0.0", "ot_branch": "omi_format",
         "modelspec.architecture": XL.labels["epsilon"].architecture},
        naming="OneTrainer's OMI format", says="only InvokeAI reads"),
    "omi sd15": Case(lambda: make_lora("sd15", "omi"), "SD 1.x", NONE,
                     naming="OneTrainer's OMI format"),
    "comfyui": Case(
        lambda: make_lora("sdxl", "comfyui"), "SDXL", NONE | {"ComfyUI": "yes"}, naming="ComfyUI",
        says="only ComfyUI reads"),
    "comfyui unet": Case(
        lambda: make_lora("sdxl", "comfyui", text=False), "SDXL",
        NONE | {"ComfyUI": "yes", "Forge": "yes"}, naming="ComfyUI"),
    "comfyui norms": Case(
        lambda: make_lora("sdxl", "comfyui", text=False)
        | {"diffusion_model.input_blocks.1.0.in_layers.0.diff": noise(320),
           "diffusion_model.input_blocks.1.0.in_layers.0.diff_b": noise(320)}, "SDXL",
        NONE | {"ComfyUI": "yes", "Forge": "yes"}, naming="ComfyUI",
        kinds=("LoRA", "normalisation"), says="1 of 16 layers are normalisation layers",
        refused="by normalisation layers"),
    "lycoris": Case(lambda: make_lora("sd15", "lycoris", text=False), "SD 1.x",
                    NONE | {"ComfyUI": "yes"}, naming="LyCORIS"),
    "processors": Case(
        lambda: make_peft("sd15", processor, conv=False, text=False), "SD 1.x",
        ALL | SDXL_PROCESSORS, naming="diffusers before 0.22 (attention processors)",
        says="only diffusers, Forge and ComfyUI read"),
    "processors and text": Case(
        lambda: make_peft("sd15", processor, conv=False, text=False)
        | {key: value for layer, shape in pick("sd15").items() if ".self_attn." in layer
           for key, value in zip(old_text(layer), factors(shape), strict=True)}, "SD 1.x",
        ALL | SDXL_PROCESSORS | {"Forge": "partly", "ComfyUI": "partly"},
        naming="diffusers before 0.22 (attention processors)"),
    "first processors": Case(
        lambda: rename("unet.", "", make_peft("sd15", processor, conv=False, text=False)),
        "SD 1.x", ALL | SDXL_PROCESSORS | {"diffusers": "no"},
        naming="diffusers without the model in front"),
    "diffusers": Case(
        lambda: make_peft("sdxl", lora_a_b(str)), "SDXL",
        NONE | {"diffusers": "yes", "ComfyUI": "partly"}, naming="diffusers"),
    "peft default_0": Case(
        lambda: make_peft("sdxl", lora_a_b(str, "default_0.")), "SDXL", NONE, naming="diffusers"),
    "peft default": Case(
        lambda: make_peft("sd15", lora_a_b(bare, "default."), conv=False), "SD 1.x",
        NONE | {"ComfyUI": "no"}, naming="diffusers without the model in front"),
    "peft base_model": Case(
        lambda: make_peft("sdxl", lora_a_b(lambda layer: f"base_model.model.{bare(layer)}"),
                          text=False), "SDXL", NONE, naming="PEFT's own save function"),
    "kohya names with parts of peft": Case(
        lambda: rename("lora_down", "lora_A", rename("lora_up", "lora_B", make_lora("sd15"))),
        "SD 1.x", ALL | {"diffusers": "no", "A1111": "no", "InvokeAI": "no", "sd-scripts": "no"},
        says="parts that are named as in other formats"),
    "diffusers names with parts of kohya": Case(
        lambda: make_lora("sdxl", "diffusers", alpha=False), "SDXL",
        NONE | {"ComfyUI": "partly"}, naming="diffusers"),
    "checkpoint prefix": Case(lambda: make_lora("sd15", "checkpoint", text=False), "SD 1.x", NONE,
                              naming="checkpoints in the original layout"),
    "text encoder of sd15": Case(lambda: only("lora_te", make_lora("sd15")), "SD 1.x", ALL),
    "text encoder of sd2": Case(lambda: only("lora_te", make_lora("sd2")), "SD 2.x",
                                ALL | {"A1111": "yes"}),
    "first text encoder of sdxl": Case(lambda: only("lora_te1", make_lora("sdxl")), "SDXL",
                                       ALL | {"InvokeAI": "no"}),
    "second text encoder of sdxl": Case(lambda: only("lora_te2", make_lora("sdxl")), "SDXL",
                                        ALL | {"InvokeAI": "no"}),
    "text encoder of diffusers": Case(
        lambda: only("text_encoder.", make_peft("sd15", lora_a_b(str))), "SD 1.x or SDXL",
        NONE | {"diffusers": "yes", "ComfyUI": "yes", "Forge": "yes"}, certain=False,
        naming="diffusers", refused="fits SD 1.x and SDXL. Name a base model", scales=False),
    "clip_l alone": Case(lambda: only("clip_l", make_lora("sdxl", "omi")), "SD 1.x or SDXL", NONE,
                         certain=False, naming="OneTrainer's OMI format",
                         refused="fits SD 1.x and SDXL", scales=False),
    "text encoder by header": Case(
        lambda: only("clip_l", make_lora("sdxl", "omi")), "SDXL", NONE, SDXL_HEADER, certain=False,
        naming="OneTrainer's OMI format"),
    "convolutions": Case(
        lambda: only("lora_unet_down_blocks_0_resnets", make_lora("sd15")),
        "SD 1.x, SD 2.x or SDXL", ALL | {"InvokeAI": "no"}, certain=False,
        refused="fits SD 1.x, SD 2.x and SDXL",
        scales=False),
    "one unknown layer": Case(
        lambda: make_lora("sd15") | pair("lora_unet_nowhere", (320, 320)), "SD 1.x",
        ALL | dict.fromkeys(PROGRAMS, "partly") | {"diffusers": "no"},
        says="1 of 22 layers have names of no known spelling: lora_unet_nowhere",
        refused="1 of 22 layers are unknown, first lora_unet_nowhere", scales=False),
    "one layer too many": Case(
        lambda: make_lora("sdxl") | pair("lora_unet_input_blocks_1_1_proj_in", (320, 320)), "SDXL",
        ALL | dict.fromkeys(PROGRAMS, "partly") | {"diffusers": "no"},
        naming="kohya (original blocks)", says="1 of 28 layers do not exist in SDXL",
        refused="1 of 28 layers are unknown, first lora_unet_input_blocks_1_1_proj_in, which this",
        scales=False),
    "nothing known": Case(
        lambda: pair("model.layers.0.q_proj", (64, 64)) | pair("model.layers.1.q_proj", (64, 64)),
        "an unknown family", NONE, certain=False, naming="unknown",
        says="Nothing was recognised: none of the 2 layer names follows a known spelling",
        refused="Nothing in x.safetensors was recognised", scales=False),
    "flux": Case(lambda: pair("lora_unet_double_blocks_0_img_attn_proj", (3072, 3072)), "Flux", {},
                 naming="unknown", says="made for Flux", refused="made for Flux", scales=False),
    "text projection": Case(
        lambda: make_lora("sdxl") | pair("lora_te2_text_projection", (1280, 1280)), "SDXL",
        ALL | {"A1111": "partly", "sd-scripts": "partly"}, naming="kohya (original blocks)"),
    "conv_in": Case(
        lambda: make_lora("sdxl") | pair("lora_unet_input_blocks_0_0", (320, 4, 3, 3)), "SDXL",
        ALL | {"sd-scripts": "partly"}, naming="kohya (original blocks)"),
    "norms": Case(
        lambda: make_lora("sd15") | {f"{NORM}.w_norm": noise(320), f"{NORM}.b_norm": noise(320)},
        "SD 1.x", NO_DIFFUSERS, kinds=("LoRA", "normalisation"),
        says="1 of 22 layers are normalisation layers", refused="by normalisation layers"),
    "bias alone": Case(
        lambda: make_lora("sd15")
        | {"lora_unet_down_blocks_0_attentions_1_proj_out.diff_b": noise(320)}, "SD 1.x",
        NO_DIFFUSERS | {"A1111": "no", "InvokeAI": "no"}, kinds=("LoRA", "bias difference"),
        says="differences of biases alone", refused="by bias differences"),
    "ia3": Case(
        lambda: {k: v for k, v in make_parts("sd15", lambda _, s: {
            "weight": noise(s[0], 1), "on_input": torch.tensor(False)}).items()
            if "to_k" in k or "to_v" in k}, "SD 1.x or SD 2.x",
        NONE | {"A1111": "yes"}, certain=False, kinds=("(IA)³",),
        says="read by A1111, InvokeAI",
        refused=r"fits SD 1\.x and SD 2\.x\. Name a base model that it fits", scales=False),
    "glora": Case(
        lambda: make_parts("sdxl", lambda _, s: {
            "a1.weight": noise(4, s[1]), "a2.weight": noise(s[1], 4), "b1.weight": noise(4, s[1]),
            "b2.weight": noise(s[0], 4), "alpha": torch.tensor(4.0)}), "SDXL",
        NO_DIFFUSERS | {"InvokeAI": "no"}, naming="kohya (original blocks)", kinds=("GLoRA",),
        refused="as GLoRA, whose delta depends on the base model's weights. Name the base model"),
    "oft": Case(
        lambda: make_parts("sdxl", lambda _, s: {
            "oft_blocks": noise(4, s[0] // 4, s[0] // 4), "alpha": torch.tensor(1e-3)}), "SDXL",
        ALL | {"diffusers": "no", "Forge": "no", "InvokeAI": "no"},
        naming="kohya (original blocks)", kinds=("OFT",),
        refused="as OFT, whose delta (depends on the base model's|is not proportional)",
        scales=False),
    "lokr": Case(
        lambda: make_parts("sd15", lambda _, s: {
            "lokr_w1": noise(4, 4), "lokr_w2": noise(s[0] // 4, s[1] // 4),
            "alpha": torch.tensor(1e10)}), "SD 1.x", NO_DIFFUSERS, kinds=("LoKr",)),
    "bundled sdxl": Case(
        lambda: make_lora("sdxl") | {"bundle_emb.my cat.clip_l": noise(1, 768),
                                     "bundle_emb.my cat.clip_g": noise(1, 1280)}, "SDXL",
        {"diffusers": "no", "A1111": "yes", "Forge": "partly", "ComfyUI": "partly",
         "InvokeAI": "partly", "sd-scripts": "partly"}, naming="kohya (original blocks)",
        says="as OneTrainer does: my cat"),
    "bundled sd15": Case(
        lambda: make_lora("sd15") | {"bundle_emb.cat.v2.string_to_param.*": noise(2, 768)},
        "SD 1.x", {"diffusers": "no", "A1111": "yes", "Forge": "partly", "ComfyUI": "partly",
                   "InvokeAI": "partly", "sd-scripts": "partly"},
        says="as OneTrainer does: cat.v2"),
    "broken header": Case(
        lambda: make_lora("sd15"), "SD 1.x", ALL | {"diffusers": "no"},
        {"ss_tag_frequency": "{bad", "ss_network_args": "None", "lora_adapter_metadata": "{bad"}),
    "header of nothing": Case(
        lambda: make_lora("sd15"), "SD 1.x", ALL,
        {"ss_base_model_version": "None", "ss_network_dim": "None", "ss_tag_frequency": "null"}),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_what_a_file_is_and_what_can_be_done_with_it(case, tmp_path):
    row = CASES[case]
    path = write(tmp_path / "x.safetensors", row.make(), row.header)
    found = inspect_file(path)
    assert (found.family, found.certain, found.naming) == (row.family, row.certain, row.naming)
    assert tuple(found.kinds) == row.kinds
    assert {each.program: each.loads for each in found.programs} == row.loads
    by_header = case == "text encoder by header"
    assert (found.by_header, "by its header" in found.to_text()) == (by_header, by_header)
    assert not row.says or row.says in " ".join(found.findings)
    # What no program reads as a whole fails `verify`, too.
    unread = [finding for finding in found.findings if "none of these programs" in finding]
    assert all(finding.startswith("error: ") for finding in unread)
    assert "no known spelling" in row.says or not any("no known" in f for f in found.findings)

    def write_each():
        to = tmp_path / "to.safetensors"
        options = MergeOptions(method="concatenate")
        yield lambda: merge_files(MergeRequest([(path, 1.0), (path, 0.5)], to, options, force=True))
        yield lambda: resize_file(path, to, RankChoice(rank=1), force=True)
        if row.scales == (not row.refused) or not row.scales:
            yield lambda: scale_file(path, to, [("*", 0.5)], force=True)

    for run in write_each():
        if row.refused:
            with pytest.raises((CombineError, ExportError), match=row.refused):
                run()
            assert not (tmp_path / "to.safetensors").exists()
        else:
            run()
            errors = [f for f in verify_file(tmp_path / "to.safetensors") if f.severity == "error"]
            assert errors == []


def test_norms_and_biases_are_scaled_and_converted(tmp_path):
    tensors = make_lora("sd15", dtype=torch.float32) | {
        f"{NORM}.w_norm": noise(320), f"{NORM}.b_norm": noise(320),
        "lora_unet_down_blocks_0_attentions_1_proj_out.diff_b": noise(320),
    }  # fmt: skip
    path = write(tmp_path / "x.safetensors", tensors)
    scale_file(path, tmp_path / "half.safetensors", [("*", 0.5)], "fp32", force=True)
    half = load_file(tmp_path / "half.safetensors")
    for key in tensors:
        if "norm" in key or "diff_b" in key:
            assert torch.equal(half[key], tensors[key] / 2), key
    convert_file(path, "comfyui", tmp_path / "comfy.safetensors")
    comfy = load_file(tmp_path / "comfy.safetensors")
    assert torch.equal(comfy["diffusion_model.input_blocks.1.1.norm.diff"],
                       tensors[f"{NORM}.w_norm"])  # fmt: skip
    convert_file(tmp_path / "comfy.safetensors", "kohya", tmp_path / "back.safetensors")
    back = load_file(tmp_path / "back.safetensors")
    assert torch.equal(back[f"{NORM}.b_norm"], tensors[f"{NORM}.b_norm"])
    with pytest.raises(CombineError, match=r"by normalisation layers.*holds plain LoRA only"):
        convert_file(path, "diffusers", tmp_path / "no.safetensors")


@pytest.mark.parametrize(
    ("kind", "make"),
    [
        ("LoKr", lambda s: {"lokr_w1": noise(4, 4), "lokr_w2": noise(s[0] // 4, s[1] // 4)}),
        ("LoHa", lambda s: {f"hada_w{n}_{part}": noise(*size) for n in (1, 2)
                            for part, size in (("a", (s[0], 4)), ("b", (4, s[1])))}),
        ("full differences", lambda s: {"diff": noise(*s)}),
    ],
)  # fmt: skip
def test_a_format_that_holds_plain_lora_only_names_the_kind_it_refuses(kind, make, tmp_path):
    path = write(tmp_path / "x.safetensors", make_parts("sd15", lambda _, shape: make(shape)))
    with pytest.raises(CombineError, match=rf"layers by {kind}.* holds plain LoRA only"):
        convert_file(path, "diffusers", tmp_path / "to.safetensors")


def test_bundled_embeddings_are_kept_or_split_off(tmp_path):
    words = {"bundle_emb.my cat.clip_l": noise(1, 768), "bundle_emb.my cat.clip_g": noise(1, 1280)}
    path = write(tmp_path / "x.safetensors", make_lora("sdxl") | words, SDXL_HEADER)
    other = write(tmp_path / "y.safetensors", make_lora("sdxl"), SDXL_HEADER)
    to = tmp_path / "to.safetensors"
    options = MergeOptions(method="concatenate")
    merge_files(MergeRequest([(path, 1.0), (other, 1.0)], to, options))
    convert_file(path, "omi", tmp_path / "omi.safetensors")
    for each in (to, tmp_path / "omi.safetensors"):
        tensors = load_file(each)
        assert all(torch.equal(tensors[key], value) for key, value in words.items())
    assert inspect_file(to).words == ["my cat"]
    converted = tmp_path / "d.safetensors"
    (embedding,) = convert_file(path, "diffusers", converted).embeddings
    assert find_embedding(converted).as_posix() == embedding
    assert not any("bundle" in key for key in load_file(converted))
    assert torch.equal(load_file(embedding)["clip_g"], words["bundle_emb.my cat.clip_g"])
    third = write(tmp_path / "z.safetensors",
                  make_lora("sdxl") | {key: value + 1 for key, value in words.items()})  # fmt: skip
    with pytest.raises(CombineError, match="holds another embedding of “my cat”"):
        merge_files(MergeRequest([(path, 1.0), (third, 1.0)], to, options, force=True))


@pytest.mark.parametrize("family", ["sd15", "sdxl"])
def test_a_file_that_fits_two_families_is_merged_with_one_that_names_its_own(family, tmp_path):
    text = only("text_encoder.", make_peft(family, lora_a_b(str)))
    path = write(tmp_path / "x.safetensors", text)
    other, to = write(tmp_path / "y.safetensors", make_lora(family)), tmp_path / "to.safetensors"
    merge_files(MergeRequest([(path, 1.0), (other, 1.0)], to, MergeOptions(method="svd")))
    assert inspect_file(to).family == FAMILIES[family].title
    third = write(tmp_path / "z.safetensors", make_lora("sd2"))
    with pytest.raises(CombineError, match=r"made for SD 1\.x or SDXL, and this base model is SD"):
        merge_files(MergeRequest([(path, 1.0), (third, 1.0)], to, MergeOptions(), force=True))


def test_two_adapters_of_peft_in_one_file_are_refused_by_name(tmp_path):
    one = make_peft("sdxl", lora_a_b(str, "default_0."), text=False)
    other = {key: value.clone() for key, value in rename("default_0", "other", one).items()}
    path = write(tmp_path / "x.safetensors", one | other)
    with pytest.raises(ExportError, match="2 adapters of PEFT, default_0 and other"):
        convert_file(path, "kohya", tmp_path / "to.safetensors")


@pytest.mark.parametrize(("r", "alpha", "stabilised", "scale"), [(4, 8, False, 2), (4, 8, True, 4)])
def test_strengths_of_pefts_own_files_are_read_from_the_file_beside(
    r, alpha, stabilised, scale, tmp_path
):
    stem = "base_model.model.mid_block.attentions.0.transformer_blocks.0.attn2.to_k"
    tensors = {f"{stem}.lora_A.weight": noise(r, 2048), f"{stem}.lora_B.weight": noise(1280, r)}
    path = write(tmp_path / "adapter_model.safetensors", tensors)
    assert any("which is not beside this one" in each for each in inspect_file(path).findings)
    settings = {"r": r, "lora_alpha": alpha, "use_rslora": stabilised, "alpha_pattern": {}}
    (tmp_path / "adapter_config.json").write_text(json.dumps(settings))
    assert not any("not beside" in each for each in inspect_file(path).findings)
    convert_file(path, "kohya", tmp_path / "k.safetensors")
    found = load_file(tmp_path / "k.safetensors")
    assert {v.item() for k, v in found.items() if k.endswith("alpha")} == {scale * r}
    (tmp_path / "adapter_config.json").write_text("{")
    with pytest.raises(ExportError, match=r"adapter_config\.json beside it is not a JSON object"):
        convert_file(path, "kohya", tmp_path / "no.safetensors")


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"<!DOCTYPE html><html><body>Login required</body></html>", "it is a web page"),
        (b"\n  <html lang='en'>", "it is a web page"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:aa\nsize 5\n", "git-lfs pointer"),
        (
            b"PK\x03\x04" + bytes(26) + b"archive/data.pkl" + bytes(99),
            "a pickle under another name",
        ),
        (b"PK\x03\x04" + bytes(26) + b"lora.safetensors" + bytes(99), "a zip archive"),
        (b"\x80\x02}q\x00(X\x05\x00\x00\x00state" + bytes(99), "a pickle under another name"),
        (b'{"error": "Unauthorized"}' + bytes(9), "as JSON instead of a file"),
        (b"GGUF\x03\x00\x00\x00" + bytes(99), "a GGUF file"),
        (b"", "cut short"),
    ],
)
def test_what_only_has_the_name_of_a_safetensors_file_is_called_what_it_is(content, says, tmp_path):
    path = tmp_path / "x.safetensors"
    path.write_bytes(content)
    with pytest.raises(ExportError, match=says):
        inspect_file(path)
    (finding,) = verify_file(path)
    assert says in finding.message
    with pytest.raises(ExportError, match=says):
        resize_file(path, tmp_path / "to.safetensors", RankChoice(rank=1))


def test_a_header_whose_length_looks_like_another_kind_is_read(tmp_path):
    """The first bytes of a file are the header's length: 0x280 begins as a pickle does."""
    for length in (0x280, int.from_bytes(b'{"', "little")):
        text = save({"a.lora_down.weight": torch.ones(2, 2)})[8:-16].strip()
        header = {**json.loads(text), "__metadata__": {"x": ""}}
        pad = length - len(json.dumps(header))
        header["__metadata__"]["x"] = "x" * pad
        path = tmp_path / f"{length}.safetensors"
        path.write_bytes(length.to_bytes(8, "little") + json.dumps(header).encode() + bytes(16))
        assert inspect_file(path).naming == "unknown"


@pytest.mark.parametrize(
    ("keys", "says"),
    [
        (["clip_l", "clip_g"], "is a text embedding"),
        (["string_to_param.*"], "is a text embedding"),
        (["conv_in.weight", "mid_block.resnets.0.conv1.weight"], "the UNet of a base model"),
        (["decoder.conv_in.weight"], "is a VAE"),
        (["text_model.embeddings.token_embedding.weight"], "the text encoder of a base model"),
        (["bundle_emb.cat.emb_params"], "embeddings that were bundled with a LoRA"),
        (["image_proj.proj.weight", "ip_adapter.1.to_k_ip.weight"], "is an IP-Adapter"),
        (["controlnet_mid_block.weight", "conv_in.weight"], "is a ControlNet"),
        (["conv.weight"], "contains no adapter"),
    ],
)
def test_what_is_no_adapter_is_told_by_whole_keys(keys, says, tmp_path):
    path = tmp_path / "x.safetensors"
    save_file({key: torch.ones(2, 2) for key in keys}, path)
    with pytest.raises(ExportError, match=says):
        inspect_file(path)
    (finding,) = verify_file(path)
    assert says in finding.message


def test_what_reads_a_kind_is_the_same_in_messages_and_findings():
    for kind, readers in READERS.items():
        named = {program for program in PROGRAMS if program in readers}
        skipped = set(_KINDS[kind][1])
        # sd-scripts knows OFT of its own only, which is not what files of LyCORIS hold.
        assert named == set(PROGRAMS) - skipped - {"sd-scripts"}, kind
    assert name("unet.conv_in", "sdxl") == "lora_unet_input_blocks_0_0"


# --- more cases of these kinds -------------------------------------------------------------------


def list_lines(path):
    return " ".join(inspect_file(path).findings)


@pytest.mark.parametrize(
    ("family", "key", "width"),
    [("sdxl", "clip_l", 1280), ("sdxl", "clip_g", 768), ("sd15", "emb_params", 1024)],
)
def test_an_embedding_of_another_width_is_named(family, key, width, tmp_path):
    tensors = make_lora(family) | {f"bundle_emb.cat.{key}": noise(1, width)}
    path = write(tmp_path / "x.safetensors", tensors)
    assert "The embedding “cat” has not the width" in list_lines(path)
    right = {"clip_l": 768, "clip_g": 1280, "emb_params": 768}[key]
    path = write(tmp_path / "y.safetensors",
                 make_lora(family) | {f"bundle_emb.cat.{key}": noise(1, right)})  # fmt: skip
    assert "has not the width" not in list_lines(path)


def test_a_header_that_names_a_model_of_no_known_family_is_reported(tmp_path):
    header = {"modelspec.architecture": "flux-1-dev/lora", "ss_base_model_version": "flux1"}
    path = write(tmp_path / "x.safetensors", make_lora("sd15"), header)
    assert "The header names another model, flux-1-dev/lora, but the layers are" in list_lines(path)
    path = write(tmp_path / "y.safetensors", make_lora("sd15"), {"ss_base_model_version": "None"})
    assert "another model" not in list_lines(path)


def test_an_alpha_of_0_does_not_switch_oft_off(tmp_path):
    make = lambda _, s: {"oft_blocks": noise(4, s[0] // 4, s[0] // 4), "alpha": torch.tensor(0.0)}  # noqa: E731
    path = write(tmp_path / "x.safetensors", make_parts("sdxl", make))
    assert "switches these layers off" not in list_lines(path)


@pytest.mark.parametrize("part", ["ia3_l", "oft_R.weight"])
def test_a_conversion_is_advised_only_where_it_reads_the_kind(part, tmp_path):
    stem = "base_model.model.unet.mid_block.attentions.0.transformer_blocks.0.attn2"
    lora = {
        f"{stem}.to_k.lora_A.weight": noise(4, 768),
        f"{stem}.to_k.lora_B.weight": noise(1280, 4),
    }
    plain = write(tmp_path / "plain.safetensors", lora)
    other = {f"{stem}.to_q.{part}": noise(*((1280, 1) if part == "ia3_l" else (320, 6)))}
    foreign = write(tmp_path / "x.safetensors", lora | other)
    for path, advised in ((foreign, False), (plain, True)):
        names = next(f.message for f in verify_file(path) if f.rule == "format")
        assert ("`lorasmith convert` gives" in names) == advised
        with contextlib.nullcontext() if advised else pytest.raises(ExportError, match="cannot be"):
            convert_file(path, "kohya", tmp_path / "to.safetensors", force=True)


def test_a_file_that_no_program_applies_fails(tmp_path):
    alphas = {k: v for k, v in make_lora("sd15").items() if k.endswith(".alpha")}
    path = write(tmp_path / "x.safetensors", alphas)
    assert [f.rule for f in verify_file(path) if f.severity == "error"] == ["kinds"]


def test_a_folder_is_called_one(tmp_path):
    (tmp_path / "x.safetensors").mkdir()
    with pytest.raises(ExportError, match=r"x\.safetensors is a folder\. Name a LoRA file in it"):
        inspect_file(tmp_path / "x.safetensors")


@pytest.mark.parametrize("axes", [2, 4])
@pytest.mark.parametrize("target", ["kohya", "diffusers"])
def test_a_conversion_gives_each_layer_as_many_axes_as_it_has(axes, target, tmp_path):
    def change(value):
        if value.ndim == 4 and axes == 2 and value.shape[2:] == (1, 1):
            return value.flatten(1)
        return value[:, :, None, None] if value.ndim == 2 and axes == 4 else value

    before = make_lora("sd15", dtype=torch.float32)
    path = write(tmp_path / "x.safetensors", {k: change(v) for k, v in before.items()})
    assert any(each.rule == "shapes" for each in verify_file(path))
    to = tmp_path / "to.safetensors"
    convert_file(path, target, to)
    assert not any(each.severity == "error" for each in verify_file(to))
    if target == "kohya":
        after = load_file(to)
        assert all(after[key].shape == value.shape for key, value in before.items())
