"""Each spelling is read, inspected, verified, merged and converted, and always does the same."""

import re

import pytest
import torch
from safetensors.torch import load_file, save_file

from tests.trainer.foreign_files import make_lora, write
from tests.trainer.random_adapters import write_adapter
from tests.trainer.test_interop import adapted_models, open_pipeline
from trainer.combine import (
    TARGETS,
    CombineError,
    MergeRequest,
    convert_file,
    merge_files,
    resize_file,
    scale_file,
)
from trainer.combine.sources import open_sources
from trainer.combine.target_model import read_target_model
from trainer.config import MergeOptions, RankChoice
from trainer.export import inspect_file, verify_file
from trainer.formats.families import FAMILIES, SD15
from trainer.models.layers import list_adaptable_layers

# Of a file whose names the person chose; every other error would be one of the conversion.
CHOSEN = {"format", "blocks", "text_prefix"}


def read_deltas(path, family=""):
    model = read_target_model([path])
    assert not family or model.family == family
    with open_sources([path], model) as (source,):
        return {layer: source.read(layer).multiply_out() for layer in source.file.groups}


def assert_equal(one, other, tolerance=1e-6):
    assert one.keys() == other.keys()
    for layer, delta in other.items():
        assert (one[layer] - delta).norm() <= tolerance * delta.norm(), layer


def has_no_name(family, target):
    """One of two text encoders cannot be named without the model in front."""
    return target in {"lycoris", "peft", "bare"} and FAMILIES[family].has_two_encoders


# SDXL has the most names, so that the spellings that differ most are tried on it.
FAST = {"kohya-original": "sdxl", "omi": "sdxl"}


def pair_up():
    """Returns (family, target) for all, those that hold nothing of their own for the slow tests."""
    for family in ("sd15", "sd2", "sdxl"):
        for target in TARGETS:
            chosen = "sd15" if has_no_name("sdxl", target) else FAST.get(target, "sd15")
            marks = [] if family == chosen else [pytest.mark.slow]
            yield pytest.param(family, target, marks=marks)


@pytest.mark.parametrize(("family", "target"), pair_up())
def test_every_spelling_does_the_same_in_every_command(family, target, tmp_path):
    text = target != "checkpoint" and not has_no_name(family, target)
    labels = FAMILIES[family].labels["epsilon"]
    first = write(
        tmp_path / "first.safetensors",
        make_lora(family, dtype=torch.float32, text=text),
        {"ss_base_model_version": labels.version, "ss_v2": str(family == "sd2")},
    )
    deltas = read_deltas(first, family)
    other = tmp_path / "other.safetensors"
    assert convert_file(first, target, other).layers == len(deltas)
    assert_equal(read_deltas(other, family), deltas)

    found = inspect_file(other)
    assert (found.family, found.certain) == (FAMILIES[family].title, True)
    assert sum(part.modules for part in found.components) == len(deltas)
    assert [part.name for part in found.components if "unknown" in part.name] == []
    errors = {each.rule for each in verify_file(other) if each.severity == "error"}
    assert errors <= CHOSEN | {each.rule for each in verify_file(first)}

    merged = tmp_path / "merged.safetensors"
    files = [(first, 1.0), (other, 0.5)]
    merge_files(MergeRequest(files, merged, MergeOptions(precision="fp32", method="concatenate")))
    assert_equal(read_deltas(merged), {k: 1.5 * v for k, v in deltas.items()}, 1e-5)
    resized, scaled = tmp_path / "resized.safetensors", tmp_path / "scaled.safetensors"
    resize_file(other, resized, RankChoice(rank=4), "fp32")
    assert_equal(read_deltas(resized), deltas, 1e-4)
    scale_file(other, scaled, [("*", 2.0)], "fp32")
    assert_equal(read_deltas(scaled), {k: 2 * v for k, v in deltas.items()}, 1e-5)

    for again in TARGETS:
        if (text and has_no_name(family, again)) or (text and again == "checkpoint"):
            with pytest.raises(CombineError, match=r"has no name for text_encoder"):
                convert_file(other, again, tmp_path / f"{again}.safetensors")
        elif again in {"kohya", "diffusers", target}:
            convert_file(other, again, tmp_path / f"{again}.safetensors")
            assert_equal(read_deltas(tmp_path / f"{again}.safetensors", family), deltas)


def weights_of(pipeline):
    targets = list_adaptable_layers(adapted_models(pipeline), SD15.adaptable_blocks)
    return {target.name: target.layer.weight.detach().clone() for target in targets}


def load_in_diffusers(pipeline, path):
    """Returns which layers diffusers changes, and whether it refuses the file."""
    before = weights_of(pipeline)
    try:
        pipeline.load_lora_weights(path.parent, weight_name=path.name)
        pipeline.fuse_lora()
    except (ValueError, KeyError, IndexError, RuntimeError):
        return set(), True
    finally:
        pipeline.unload_lora_weights()
    after = weights_of(pipeline)
    return {k for k in before if not torch.equal(before[k], after[k])}, False


RENAMED = {
    "adapter name": ("diffusers", r"\.lora_([AB])\.weight$", r".lora_\1.default_0.weight"),
    "model before peft": ("diffusers", r"^(unet|text_encoder(?:_2)?)\.", r"\1.base_model.model."),
    "no alpha": ("kohya", r".*\.alpha$", ""),
    "omi without alpha": ("omi", r".*\.alpha$", ""),
    "comfyui without alpha": ("comfyui", r".*\.alpha$", ""),
    "lycoris without alpha": ("lycoris", r".*\.alpha$", ""),
}  # fmt: skip


# What was renamed is read alike in both families.
MAPPED = [
    *(pair for pair in pair_up() if pair.values[0] != "sd2"),
    *(("sd15", name) for name in RENAMED),
    *(pytest.param("sdxl", name, marks=pytest.mark.slow) for name in RENAMED),
]


@pytest.mark.parametrize(("family", "spelling"), MAPPED)
def test_what_diffusers_maps_is_what_the_verdict_says(family, spelling, pico, pico_xl, tmp_path):
    base = {"sd15": pico, "sdxl": pico_xl}[family]
    target, pattern, new = RENAMED.get(spelling, (spelling, "", ""))
    only = "unet." if target == "checkpoint" or has_no_name(family, target) else ""
    first, path = tmp_path / "first.safetensors", tmp_path / "x.safetensors"
    deltas = write_adapter(first, base, only=only)
    convert_file(first, target, path, base_model=base, force=True)
    if pattern:
        keys = {key: re.sub(pattern, new, key) for key in load_file(path)}
        renamed = {keys[k]: v for k, v in load_file(path).items() if keys[k]}
        save_file(
            renamed, path, {"ss_base_model_version": "sd_v1" if family == "sd15" else "sdxl_"}
        )
    changed, refused = load_in_diffusers(open_pipeline(base, family), path)
    mapped = "yes" if changed == set(deltas) else "partly" if changed else "no"
    (verdict,) = [v for v in inspect_file(path).programs if v.program == "diffusers"]
    assert verdict.loads == mapped, verdict.reasons
    # OMI names behind `unet.` are an error in one pipeline and without effect in the other.
    if mapped == "no" and spelling != "omi without alpha":
        effect = "File refused" if refused else "No effect"
        assert any(reason.startswith(effect) for reason in verdict.reasons)


def test_a_conversion_that_is_refused_leaves_what_was_there(tmp_path, monkeypatch):
    def refuse(*_):
        msg = "it does something else"
        raise CombineError(msg)

    path = write(tmp_path / "first.safetensors", make_lora("sd15"))
    there = tmp_path / "there.safetensors"
    there.write_bytes(b"of somebody")
    monkeypatch.setattr("trainer.combine.convert.prove_equal", refuse)
    for to, content in ((there, b"of somebody"), (path, path.read_bytes())):
        with pytest.raises(CombineError, match="something else"):
            convert_file(path, "diffusers", to, force=True)
        assert to.read_bytes() == content
    assert sorted(one.name for one in tmp_path.iterdir()) == [path.name, there.name]
