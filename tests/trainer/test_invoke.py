"""What InvokeAI takes a file for: our verdict over all subsets of a file's parts, and beforehand.

The expected values are the rules of InvokeAI at commit 8e71a8a5 in other words than those of
`trainer.formats.invoke`: which kinds of layers are there, in the order in which a file holds them.
"""

import itertools
import re
from functools import cache

import pytest
import torch
from safetensors.torch import save_file

from tests.trainer.test_architectures import build_models
from tests.trainer.test_detection import checkpoint
from tests.trainer.test_verify import make_header
from trainer.adapters import ADAPTERS
from trainer.adapters.base import shape_of
from trainer.commands.start_file import check_start_file
from trainer.config import check_settings, layer_config
from trainer.config.recognition import _list_layers, _list_parts
from trainer.export import ExportError, name_layers, write_kohya
from trainer.files.inspect import inspect_file
from trainer.files.verify import verify_file
from trainer.formats.architectures import list_layers
from trainer.formats.families import FAMILIES
from trainer.formats.invoke import recognise_as_invoke
from trainer.models import check_base_model
from trainer.models.layers import list_adaptable_layers

BLOCKS = ("down", "mid", "up")
# One layer stands for those beside it; of SDXL's deep places the first and the third block.
USED = re.compile(
    r"attn1\.to_q|attn2\.to_k|ff\.net\.2|resnets\.0\.(?:conv1|time_emb_proj)"
    r"|layers\.0\.(?:self_attn\..|mlp\.fc1)"
)
DEEP = re.compile(r"transformer_blocks\.(?:1|[3-9])\.")
OUTCOMES = {
    "": "family not recognised",
    "flux": "taken for flux",
    **{name: f"taken for {spec.title}".lower() for name, spec in FAMILIES.items()},
}


def categorise(layer):
    """Returns the part that a layer belongs to: "down cross", "mid conv", "text 1" …"""
    if layer.startswith("text"):
        return "text 2" if layer.startswith("text_encoder_2") else "text 1"
    block = layer.partition(".")[2].partition("_")[0]
    where = {"attn1": "self", "attn2": "cross", "ff": "self"}
    return f"{block} {next((n for mark, n in where.items() if f'.{mark}.' in layer), 'conv')}"


def pick_layers(family):
    """Returns the layers that stand for all others, by part."""
    parts = {}
    for layer, shape in list_layers(family).items():
        if USED.search(layer) and not DEEP.search(layer):
            parts.setdefault(categorise(layer), {})[layer] = shape
    return parts


def list_subsets(family):
    parts = pick_layers(family)
    for size in range(1, len(parts) + 1):
        yield from itertools.combinations(parts, size)


def expect(family, used, kind="lora"):
    """Returns what InvokeAI takes a file with these parts for."""
    used, xl = set(used), family == "sdxl"
    if xl:
        # LoRA's last key of the first text encoder shows no width, so that both together don't.
        both = {"text 1", "text 2"} <= used and kind != "lora"
        if used == {"text 1"}:
            return "flux"
        attention = {f"{block} {what}" for block in BLOCKS for what in ("self", "cross")}
        return family if both or used & attention else ""
    # In the order of names: the convolutions of the first block up come before its attention.
    order = ["text 1", "down cross", "down conv", "mid cross", "mid conv", "up conv", "up cross"]
    for part in order:
        if part in used and not (part.endswith("conv") and kind != "lora"):
            return "sdxl" if part.endswith("conv") else family
    return ""


def list_tensors(family, used, kind="lora", rank=1):
    """Returns the shapes of a file's tensors, in the order of their bytes."""
    rows = (row for part in used for row in list_rows(family, kind, rank)[part])
    return {key: shape for _, _, key, shape in sorted(rows)}


@cache
def list_rows(family, kind, rank):
    """Returns the tensors of each part of a file, so that they can be sorted."""
    config = layer_config(assignments=(f"adapter.kind={kind}",)).adapter
    parts = pick_layers(family)
    names = name_layers(
        [layer for layers in parts.values() for layer in layers],
        family,
        FAMILIES[family].unet.names,
    )
    return {
        part: [
            (names[layer], number, f"{names[layer]}.{tensor}", size)
            for layer, shape in layers.items()
            for number, (tensor, size) in enumerate(_list_parts(shape, rank, config).items())
        ]
        for part, layers in parts.items()
    }


@pytest.mark.parametrize("kind", ["lora", "loha"])
@pytest.mark.parametrize("family", FAMILIES)
def test_the_rules_over_all_subsets_of_parts(family, kind):
    found = {
        used: recognise_as_invoke(list_tensors(family, used, kind)).base
        for used in list_subsets(family)
    }
    assert found == {used: expect(family, used, kind) for used in found}
    assert len(found) == 2 ** (11 if family == "sdxl" else 10) - 1


@pytest.mark.parametrize("rank", [4, 16])
def test_low_rank_lokr_hides_the_family_only_where_no_layer_is_whole(rank):
    # At rank 16 the smaller layers keep their second matrix whole, which shows the width.
    for part in ("down cross", "text 1"):
        found = recognise_as_invoke(list_tensors("sd15", (part,), "lokr", rank))
        assert (found.base, found.hidden) == (("sd15", False) if rank == 16 else ("", True))
    assert recognise_as_invoke(list_tensors("sdxl", ("down self",), "lokr", 4)).base == "sdxl"


def judge_file(path, family, tensors, header=None):
    save_file(tensors, path, make_header(family) if header is None else header)
    found = next(each for each in inspect_file(path).programs if each.program == "InvokeAI")
    told = [each for each in verify_file(path) if each.rule == "detection"]
    assert bool(told) == (found.loads != "yes")
    assert all(told[0].effects["InvokeAI"].text[1:] in reason for reason in found.reasons)
    return found.loads, " ".join(found.reasons)


@pytest.mark.parametrize(
    "family",
    [each if each == "sd15" else pytest.param(each, marks=pytest.mark.slow) for each in FAMILIES],
)
def test_the_verdict_of_inspect_and_verify_is_that_of_the_rules(family, tmp_path):
    # Self attention is left out here: it is like the feed-forward layers, and for SDXL like cross.
    for used in list_subsets(family):
        if any(part.endswith("self") for part in used):
            continue
        shapes = list_tensors(family, used)
        tensors = {key: torch.ones(shape, dtype=torch.float16) for key, shape in shapes.items()} | {
            f"{key.partition('.')[0]}.alpha": torch.tensor(1.0) for key in shapes
        }
        loads, reasons = judge_file(tmp_path / "x.safetensors", family, tensors)
        expected = expect(family, used)
        assert loads == ("yes" if expected == family else "no"), used
        assert loads == "yes" or OUTCOMES[expected] in reasons.lower(), used


def test_a_file_that_may_be_for_several_families_is_taken_for_one(tmp_path):
    shapes = list_tensors("sd15", ("down conv",))
    tensors = {
        key: torch.ones(shape, dtype=torch.float16)
        for key, shape in shapes.items()
        if "down_blocks_0_" in key  # the same in every family
    }
    loads, reasons = judge_file(tmp_path / "x.safetensors", "sd15", tensors, {})
    assert (loads, "Taken for SDXL" in reasons) == ("partly", True)


def test_an_export_is_judged_by_the_order_in_which_it_is_written(tmp_path):
    # Written in the order of the model, the resnets would come before the attention.
    layers = {
        layer: shape
        for part in ("down conv", "down cross")
        for layer, shape in pick_layers("sd15")[part].items()
    }
    modules = {
        layer: (torch.ones(1, *shape[1:]), torch.ones(shape[0], 1, *(1,) * (len(shape) - 2)), 1.0)
        for layer, shape in layers.items()
    }
    path = tmp_path / "x.safetensors"
    names = name_layers(modules, "sd15", FAMILIES["sd15"].unet.names)
    write_kohya(path, modules, names, make_header("sd15"), "fp16")
    assert not [each for each in verify_file(path) if "InvokeAI" in each.effects]


# --- before the start ----------------------------------------------------------------------------


@pytest.mark.parametrize("family", FAMILIES)
def test_the_layers_of_a_planned_file_are_those_of_the_model(family):
    models = build_models(family)
    real = {
        each.name: each for each in list_adaptable_layers(models, FAMILIES[family].adaptable_blocks)
    }
    for layer in _list_layers(family):
        target = real[layer.name]
        wide = target.layer.__class__.__name__ == "Conv2d" and max(target.layer.kernel_size) > 1
        assert (layer.part, layer.shape) == (target.part, shape_of(target.layer))
        assert layer.wide == wide


@pytest.mark.parametrize("kind", ["lora", "dora", "loha", "lokr"])
@pytest.mark.parametrize("rank", [2, 16])
@pytest.mark.parametrize("size", [(320, 768), (640, 640, 1, 1), (320, 320, 3, 3)])
def test_the_tensors_of_a_planned_file_are_those_of_the_adapters(kind, rank, size):
    config = layer_config(assignments=(f"adapter.kind={kind}",)).adapter
    outputs, inputs, *kernel = size
    layer = (
        torch.nn.Conv2d(inputs, outputs, kernel[0]) if kernel else torch.nn.Linear(inputs, outputs)
    )
    tensors = ADAPTERS[kind](layer, rank, 1.0).tensors()
    real = {part: tuple(value.shape) for part, value in tensors.items()}
    planned = _list_parts(size, rank, config)
    assert planned.items() <= real.items()
    assert set(real) - set(planned) <= {"alpha", "dora_scale"}


def leave_out(*patterns):
    rows = ", ".join(f'{{pattern = "{pattern}", rank = 0}}' for pattern in patterns)
    return f"adapter.blocks=[{rows}]"


NO_TEXT = "adapter.text_rank=0"
ONLY_UP = leave_out("unet.down_blocks.*", "unet.mid_block.*")
NO_ATTENTION = leave_out("unet.*.attentions.*")
ONLY_FIRST_TEXT = leave_out("unet.*", "text_encoder_2.*")
# Family, settings, the setting that is named, what InvokeAI does, and what helps.
CASES = [
    ("sd15", (ONLY_UP, NO_TEXT), "adapter.blocks", "taken for SDXL", "set adapter.conv_rank to 0"),
    ("sd2", (ONLY_UP, NO_TEXT), "adapter.blocks", "taken for SDXL", "set adapter.text_rank above"),
    ("sd15", (NO_ATTENTION, NO_TEXT), "adapter.blocks", "taken for SDXL", "text_rank above 0"),
    ("sdxl", (NO_ATTENTION, NO_TEXT), "adapter.blocks", "not recognised", "entries of rank 0"),
    ("sdxl", (NO_ATTENTION,), "adapter.blocks", "not recognised", "take out the entries"),
    ("sdxl", (ONLY_FIRST_TEXT,), "adapter.blocks", "taken for FLUX", "take out the entries"),
    ("sdxl", (leave_out("unet.*"),), "adapter.blocks", "not recognised", "take out the entries"),
    ("sd15", (leave_out("*.attn2.*", "*resnets*"), NO_TEXT), "adapter.blocks", "not recognised",
     "text_rank above 0"),
    ("sd15", ("adapter.kind=lokr", "adapter.rank=4", "adapter.text_rank=4"), "adapter.kind",
     "not recognised", "set adapter.rank to 16 or set adapter.kind to lora"),
]  # fmt: skip


@pytest.mark.parametrize(("family", "settings", "path", "outcome", "remedy"), CASES)
def test_settings_whose_file_invokeai_does_not_take_are_told(
    family, settings, path, outcome, remedy
):
    config = layer_config(assignments=settings)
    told = [each for each in check_settings(config, family=family) if "InvokeAI" in each.message]
    assert [each.path for each in told] == [path]
    assert outcome in told[0].message
    assert remedy in told[0].message
    # Nothing is told where the family is unknown, or where no file is written that it reads.
    assert check_settings(config) == check_settings(
        config.model_copy(update={"output": config.output.model_copy(update={"formats": "peft"})}),
        family=family,
    )


@pytest.mark.parametrize(
    ("family", "settings"),
    [
        ("sd15", ()),
        ("sd15", (ONLY_UP,)),  # the text encoder shows the family
        ("sd15", (ONLY_UP, NO_TEXT, "adapter.conv_rank=0")),
        ("sd15", (ONLY_UP, NO_TEXT, "adapter.kind=loha")),
        ("sd15", ("adapter.kind=lokr", "adapter.rank=16")),
        ("sd15", ("adapter.layers=attention",)),
        ("sdxl", ("adapter.kind=lokr", "adapter.rank=4")),
        ("sdxl", ("adapter.layers=style",)),
        ("sdxl", ("adapter.layers=content",)),
        ("sdxl", (ONLY_UP, NO_TEXT)),
        ("sd2", ("adapter.kind=dora",)),
        ("sd15", (NO_ATTENTION, NO_TEXT, "adapter.start_from=a.safetensors")),
    ],
)
def test_settings_whose_file_it_takes_are_not_told(family, settings):
    config = layer_config(assignments=settings)
    assert not [each for each in check_settings(config, family=family) if "Invoke" in str(each)]


# --- a run that starts from a file ---------------------------------------------------------------


def write_start(path, family, fits, spelling="kohya"):
    """Writes a LoRA file of some layers, with the names of a program."""
    spec, tensors = FAMILIES[family], {}
    for layer, shape in list_layers(family).items():
        if fits(layer):
            name = name_layers([layer], family, spec.unet.names)[layer]
            parts = ("lora_down.weight", "lora_up.weight")
            if spelling == "diffusers":
                name, parts = layer, ("lora_A.weight", "lora_B.weight")
            point = (1,) * (len(shape) - 2)
            tensors[f"{name}.{parts[0]}"] = torch.ones(1, *shape[1:])
            tensors[f"{name}.{parts[1]}"] = torch.ones(shape[0], 1, *point)
    save_file(tensors, path)
    return path


def describe_base(tmp_path, family):
    path = tmp_path / "model.safetensors"
    save_file(checkpoint(family), path)
    return check_base_model(path)


@pytest.mark.parametrize(
    ("family", "fits", "spelling", "outcome"),
    [
        ("sd15", lambda each: "up_blocks.0.resnets" in each, "kohya", "taken for SDXL"),
        ("sd15", lambda each: "up_blocks.0.resnets" in each, "diffusers", "taken for SDXL"),
        ("sdxl", lambda each: "mid_block.resnets" in each, "kohya", "not recognised"),
        ("sdxl", lambda each: "text_encoder." in each, "kohya", "taken for FLUX"),
        ("sd15", lambda each: "mid_block" in each, "kohya", ""),
        ("sdxl", lambda each: "attn2.to_k" in each, "diffusers", ""),
    ],
)
def test_the_layers_of_the_file_that_a_run_starts_from_are_told_before(
    tmp_path, family, fits, spelling, outcome
):
    start = write_start(tmp_path / "start.safetensors", family, fits, spelling)
    base = describe_base(tmp_path, family)
    config = layer_config(assignments=(f'adapter.start_from="{start}"',))
    told = check_start_file(config, base)
    assert [outcome in line for line in told] == ([True] if outcome else [])
    assert all("start anew" in line and line.startswith("Warning: ") for line in told)
    peft = layer_config(
        assignments=(f'adapter.start_from="{start}"', "output.formats=peft")
    )  # a file that InvokeAI is not given
    assert check_start_file(peft, base) == []


def test_a_file_to_start_from_that_is_gone_or_of_another_family_is_refused_before(tmp_path):
    base = describe_base(tmp_path, "sd15")
    start = write_start(tmp_path / "xl.safetensors", "sdxl", lambda each: "attn2.to_k" in each)
    for path, says in ((start, "made for SDXL"), (tmp_path / "no.safetensors", "no LoRA file")):
        config = layer_config(assignments=(f'adapter.start_from="{path}"',))
        with pytest.raises(ExportError, match=says):
            check_start_file(config, base)
