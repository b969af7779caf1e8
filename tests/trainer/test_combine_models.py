"""Baking into base models, taking out again, and extracting: in folders and in single files."""

import gc
import json
import subprocess
import sys
from hashlib import sha256

import pytest
import torch
from safetensors.torch import load_file, save_file

from tests.trainer.conftest import ROOT, build_pico, load_plain
from tests.trainer.full_size import write_random_checkpoint, write_small_configs
from tests.trainer.random_adapters import distance, open_family, read_changes, write_adapter
from trainer.combine import (
    CombineError,
    MergeRequest,
    bake_files,
    extract_file,
    merge_files,
    subtract_files,
)
from trainer.config import MergeOptions, RankChoice
from trainer.formats.header import read_header
from trainer.models import ModelError, shipped

FAMILIES = ("sd15", "sd2", "sdxl")
# SDXL has both layouts of a text encoder: SD 1's, and that of SD 2, which joins three matrices.
MOST_FAMILIES = [
    pytest.param("sd15", marks=pytest.mark.slow),
    pytest.param("sd2", marks=pytest.mark.slow),
    "sdxl",
]


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """Checkpoints of miniatures in the original layout, in fp16."""
    folder = tmp_path_factory.mktemp("files")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(shipped, "CONFIG_FOLDER", write_small_configs(folder / "configs"))
        for family in FAMILIES:
            write_random_checkpoint(folder / f"{family}.safetensors", family, torch.float16)
        yield {family: folder / f"{family}.safetensors" for family in FAMILIES}


def weights_of(base):
    targets = load_plain(base).adaptable_layers()
    return {target.name: target.layer.weight.detach() for target in targets}


def assert_baked(before, after, changes, weight, tolerance):
    for layer, old in before.items():
        wanted = old + weight * changes[layer] if layer in changes else old
        assert (after[layer] - wanted).norm() <= tolerance * wanted.norm(), layer


@pytest.mark.parametrize("kind", ["lora", "loha", "lokr", "dora"])
def test_a_folder_holds_every_kind_after_baking(kind, pico, tmp_path):
    path = tmp_path / "a.safetensors"
    changes = write_adapter(path, pico, kind=kind)
    done = bake_files(pico, [(path, 0.7)], tmp_path / "baked")
    assert_baked(weights_of(pico), weights_of(tmp_path / "baked"), changes, 0.7, 1e-6)
    assert done.layers == len(changes)
    assert done.rounded == []


@pytest.mark.parametrize("family", MOST_FAMILIES)
def test_a_single_file_keeps_layout_formats_and_all_other_bytes(family, files, tmp_path):
    path, to = tmp_path / "a.safetensors", tmp_path / "baked.safetensors"
    changes = write_adapter(path, files[family], alpha=8.0)
    bake_files(files[family], [(path, 1.0)], to)
    assert_baked(weights_of(files[family]), weights_of(to), changes, 1.0, 2e-3)
    before, after = read_header(files[family]), read_header(to)
    assert list(after.tensors) == list(before.tensors)
    assert after.tensors == before.tensors
    old, new = load_file(files[family]), load_file(to)
    same = [key for key in old if torch.equal(old[key], new[key])]
    assert any(key.startswith("first_stage_model.") for key in same)
    changed = [key for key in old if key not in same]
    assert all("norm" not in key and key.endswith("weight") for key in changed)
    assert any("attn.in_proj_weight" in key for key in changed) == (family != "sd15")


@pytest.mark.parametrize("family", MOST_FAMILIES)
def test_what_was_baked_in_can_be_taken_out_again(family, files, tmp_path):
    path = tmp_path / "a.safetensors"
    write_adapter(path, files[family], alpha=8.0)
    baked, back = tmp_path / "baked.safetensors", tmp_path / "back.safetensors"
    bake_files(files[family], [(path, 1.0)], baked)
    subtract_files(baked, [(path, 1.0)], back)
    before, middle, after = (load_file(each) for each in (files[family], baked, back))
    for key, value in before.items():
        size = torch.maximum(value.abs(), middle[key].abs()).float().max()
        # Twice rounded, to 11 bits of the largest number that was there in between.
        assert (after[key].float() - value.float()).abs().max() <= size * 2**-10, key


def test_several_files_add_up_and_a_negative_weight_takes_out(pico, tmp_path):
    one, other = tmp_path / "a.safetensors", tmp_path / "b.safetensors"
    first, second = write_adapter(one, pico), write_adapter(other, pico, seed=2, kind="loha")
    bake_files(pico, [(one, 1.0), (other, -0.5)], tmp_path / "baked")
    both = {layer: first[layer] - 0.5 * second[layer] for layer in first}
    assert_baked(weights_of(pico), weights_of(tmp_path / "baked"), both, 1.0, 1e-6)


def test_the_header_of_a_file_says_what_is_in_it(files, tmp_path):
    source = tmp_path / "base.safetensors"
    stale = {"modelspec.title": "Base", "modelspec.hash_sha256": "0x12", "note": "é"}
    save_file(load_file(files["sd15"]), source, {**stale, "sshs_model_hash": "34"})
    path, to = tmp_path / "a.safetensors", tmp_path / "baked.safetensors"
    write_adapter(path, source)
    bake_files(source, [(path, 1.0)], to)
    header = read_header(to)
    digest = sha256(to.read_bytes()[header.body_start :]).hexdigest()
    assert header.metadata == {
        "modelspec.title": "Base",
        "note": "é",
        "modelspec.merged_from": "Base, a",
        "modelspec.hash_sha256": f"0x{digest}",
    }


def test_a_bias_that_a_file_changes_is_baked(pico, tmp_path):
    layer = "lora_unet_mid_block_resnets_0_conv1"
    path = tmp_path / "a.safetensors"
    save_file({f"{layer}.diff": torch.zeros(32, 32, 3, 3), f"{layer}.diff_b": torch.ones(32)}, path)
    bake_files(pico, [(path, 2.0)], tmp_path / "baked")
    old, new = (
        load_file(folder / "unet" / "diffusion_pytorch_model.safetensors")
        for folder in (pico, tmp_path / "baked")
    )
    assert torch.allclose(
        new["mid_block.resnets.0.conv1.bias"], old["mid_block.resnets.0.conv1.bias"] + 2
    )
    assert [key for key in old if not torch.equal(old[key], new[key])] == [
        "mid_block.resnets.0.conv1.bias"
    ]


@pytest.mark.parametrize("parts", [("w_norm", "b_norm"), ("diff", "diff_b")])
def test_a_norm_that_a_file_changes_is_baked_and_its_embedding_is_named(parts, pico, tmp_path):
    path = tmp_path / "a.safetensors"
    stem, norm = "lora_unet_mid_block_resnets_0_norm1", "mid_block.resnets.0.norm1"
    tensors = {f"{stem}.{part}": torch.full((32,), n + 1.0) for n, part in enumerate(parts)}
    save_file(tensors | {"bundle_emb.my cat.emb_params": torch.ones(2, 32)}, path)
    result = bake_files(pico, [(path, 2.0)], tmp_path / "baked")
    assert (result.layers, result.words) == (2, ["my cat"])
    old, new = (
        load_file(folder / "unet" / "diffusion_pytorch_model.safetensors")
        for folder in (pico, tmp_path / "baked")
    )
    changed = {key: new[key] - old[key] for key in old if not torch.equal(old[key], new[key])}
    assert changed.keys() == {f"{norm}.weight", f"{norm}.bias"}
    assert torch.allclose(changed[f"{norm}.weight"], torch.tensor(2.0))
    assert torch.allclose(changed[f"{norm}.bias"], torch.tensor(4.0))


def test_weights_in_other_formats_do_not_go_over(pico, tmp_path):
    import shutil

    base = tmp_path / "base"
    shutil.copytree(pico, base)
    for stale in ("unet/diffusion_pytorch_model.bin", "whole.safetensors", "checker/model.bin"):
        (base / stale).parent.mkdir(exist_ok=True)
        (base / stale).write_bytes(b"x")
    path = tmp_path / "a.safetensors"
    write_adapter(path, base)
    bake_files(base, [(path, 1.0)], tmp_path / "baked")
    assert not (tmp_path / "baked" / "unet" / "diffusion_pytorch_model.bin").exists()
    assert not (tmp_path / "baked" / "whole.safetensors").exists()
    assert (tmp_path / "baked" / "checker" / "model.bin").read_bytes() == b"x"
    assert load_plain(tmp_path / "baked").name == "sd15"


def test_a_change_below_the_number_format_is_told(files, tmp_path):
    path = tmp_path / "a.safetensors"
    write_adapter(path, files["sd15"], only="attn1")
    done = bake_files(files["sd15"], [(path, 1e-6)], tmp_path / "baked.safetensors")
    assert len(done.rounded) == done.layers > 0


@pytest.mark.parametrize(
    ("to", "kind", "out", "says"),
    [
        ("baked.safetensors", "lora", False, "the result is a folder too"),
        ("model", "lora", False, "is the base model itself"),
        ("there", "lora", False, "exists"),
        ("no/baked", "lora", False, "does not exist. Create it first"),
        ("baked", "dora", True, "cannot be subtracted"),
    ],
)
def test_what_cannot_be_baked_is_said(to, kind, out, says, pico, tmp_path):
    path = tmp_path / "a.safetensors"
    write_adapter(path, pico, kind=kind)
    (tmp_path / "there").mkdir()
    base = pico if to != "model" else build_pico(tmp_path / "model")
    before = sorted(path.name for path in tmp_path.iterdir())
    with pytest.raises(CombineError, match=says):
        (subtract_files if out else bake_files)(base, [(path, 1.0)], tmp_path / to)
    assert sorted(path.name for path in tmp_path.iterdir()) == before


def test_force_replaces_a_base_model_and_nothing_else(pico, tmp_path):
    path = tmp_path / "a.safetensors"
    changes = write_adapter(path, pico)
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "cat.jpg").write_bytes(b"x")
    with pytest.raises(CombineError, match="is not a base model, so it is not replaced"):
        bake_files(pico, [(path, 1.0)], tmp_path / "photos", force=True)
    assert (tmp_path / "photos" / "cat.jpg").read_bytes() == b"x"
    for weight in (1.0, 0.5):
        bake_files(pico, [(path, weight)], tmp_path / "baked", force=True)
    assert_baked(weights_of(pico), weights_of(tmp_path / "baked"), changes, 0.5, 1e-6)
    assert sorted(each.name for each in tmp_path.iterdir()) == ["a.safetensors", "baked", "photos"]


def test_weights_that_overflow_are_refused_and_nothing_is_left(files, tmp_path):
    path = tmp_path / "a.safetensors"
    write_adapter(path, files["sd15"])
    with pytest.raises(CombineError, match="not finite with the adapters added"):
        bake_files(files["sd15"], [(path, 1e9)], tmp_path / "baked.safetensors")
    assert [each.name for each in tmp_path.iterdir()] == ["a.safetensors"]


@pytest.mark.parametrize("family", MOST_FAMILIES)
def test_what_was_baked_in_is_extracted_again(family, files, tmp_path):
    path, baked = tmp_path / "a.safetensors", tmp_path / "baked.safetensors"
    exact = tmp_path / "exact.safetensors"
    save_file({k: v.float() for k, v in load_file(files[family]).items()}, exact)
    changes = write_adapter(path, exact, rank=3, alpha=3.0)
    bake_files(exact, [(path, 1.0)], baked)
    to = tmp_path / "found.safetensors"
    done = extract_file(exact, baked, to, RankChoice(rank=3), "fp32")
    found = read_changes(to, exact)
    assert distance(found, changes) < 1e-3
    assert all(layer.energy > 0.9999 for layer in done.layers)
    assert done.left_out == []
    assert read_header(to).metadata["ss_network_dim"] == "3"


def test_extracting_leaves_out_what_is_equal_and_tells_what_no_lora_holds(pico, tmp_path):
    import shutil

    tuned = tmp_path / "tuned"
    shutil.copytree(pico, tuned)
    path = tuned / "unet" / "diffusion_pytorch_model.safetensors"
    tensors = load_file(path)
    tensors["mid_block.resnets.0.conv1.weight"] += 0.1
    tensors["mid_block.resnets.0.norm1.bias"] += 0.1
    tensors["conv_in.weight"] += 0.1
    save_file(tensors, path, {"format": "pt"})
    done = extract_file(pico, tuned, tmp_path / "x.safetensors", RankChoice(energy=0.99))
    assert [layer.layer for layer in done.layers] == ["unet.mid_block.resnets.0.conv1"]
    assert sorted(done.left_out) == ["unet.conv_in.weight", "unet.mid_block.resnets.0.norm1.bias"]


def test_what_programs_would_leave_out_of_an_extracted_file_is_said_before_it_is_there(
    pico, tmp_path
):
    import shutil

    tuned, to, told = tmp_path / "tuned", tmp_path / "x.safetensors", []
    shutil.copytree(pico, tuned)
    (path,) = (tuned / "text_encoder").glob("*.safetensors")
    tensors = load_file(path)
    tensors[next(key for key in tensors if key.endswith("q_proj.weight"))] += 0.1
    save_file(tensors, path, {"format": "pt"})
    with pytest.raises(CombineError, match=r"has only q_proj\. .*Give --force"):
        extract_file(pico, tuned, to, RankChoice(rank=2), on_findings=told.extend)
    assert "text_sets" in {finding.rule for finding in told}
    assert [each.name for each in tmp_path.iterdir()] == ["tuned"]
    extract_file(pico, tuned, to, RankChoice(rank=2), force=True)
    assert len(load_file(to)) == 3


def test_models_that_do_not_differ_give_no_file(pico, tmp_path):
    with pytest.raises(CombineError, match="do not differ"):
        extract_file(pico, pico, tmp_path / "x.safetensors", RankChoice(rank=2))
    assert list(tmp_path.iterdir()) == []


def test_models_of_different_families_have_no_difference(pico, pico_xl, tmp_path):
    with pytest.raises(
        CombineError, match=r"\(SD 1.x\) and .* \(SDXL\) have different layer shapes"
    ):
        extract_file(pico, pico_xl, tmp_path / "x.safetensors", RankChoice(rank=2))


def test_a_file_that_is_no_base_model_is_named(pico, tmp_path):
    path = tmp_path / "a.safetensors"
    write_adapter(path, pico)
    with pytest.raises(ModelError, match=r"a\.safetensors is an adapter file"):
        bake_files(path, [(path, 1.0)], tmp_path / "baked.safetensors")


MERGE = """
import resource, sys
from pathlib import Path
from trainer.combine import MergeRequest, merge_files
from trainer.config import MergeOptions

def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024

files = [(Path(name), 1.0) for name in sys.argv[2:4]]
before = peak()
options = MergeOptions(method=sys.argv[1], rank=8, precision="fp32")
request = MergeRequest(files, Path(sys.argv[4]), options)
merge_files(request)
print(before, peak())
"""


def write_wide(path, layers, side, rank, seed):
    """Writes a LoRA on layers of SD 1.5 names that are all of one large size."""
    generator = torch.Generator().manual_seed(seed)
    tensors = {}
    for number in range(layers):
        name = f"lora_te_text_model_encoder_layers_{number}_mlp_fc1"
        tensors[f"{name}.lora_down.weight"] = torch.randn(rank, side, generator=generator).half()
        tensors[f"{name}.lora_up.weight"] = torch.randn(side, rank, generator=generator).half()
        tensors[f"{name}.alpha"] = torch.tensor(1.0)
    save_file(tensors, path, {"ss_base_model_version": "sd_v1"})
    return path


@pytest.mark.parametrize("method", ["concatenate", "svd", "ties"])
def test_no_tensor_outlives_its_layer(method, tmp_path):
    side, layers, rank = 64, 4, 8
    paths = [write_wide(tmp_path / f"{n}.safetensors", layers, side, rank, n) for n in (1, 2)]
    files = [(path, 1.0) for path in paths]
    request = MergeRequest(files, tmp_path / "ab.safetensors", MergeOptions(method=method))
    alive = []

    def weigh(_done, _total):
        tensors = [each for each in gc.get_objects() if type(each) is torch.Tensor]
        alive.append(sum(t.nbytes for t in tensors if t.device.type != "meta"))

    weigh(0, 0)
    merge_files(request, progress=weigh)
    # One layer's factors, the merged one's and its copy in the file's format.
    assert max(alive[1:]) - alive[0] < 8 * side * 2 * rank * 4
    assert len(alive) == layers + 1
    assert max(alive[2:]) <= alive[1]  # nothing piles up


@pytest.mark.slow
@pytest.mark.parametrize("method", ["concatenate", "svd"])
def test_a_merge_holds_one_layer_at_a_time(method, tmp_path):
    side, layers, rank = 1024, 24, 256
    paths = [
        write_wide(tmp_path / f"{seed}.safetensors", layers, side, rank, seed) for seed in (1, 2)
    ]
    done = subprocess.run(
        [sys.executable, "-c", MERGE, method, *map(str, paths), str(tmp_path / "ab.safetensors")],
        capture_output=True, text=True, check=True, cwd=ROOT,
        env={"OMP_NUM_THREADS": "1", "PATH": "/usr/bin:/bin"},
    )  # fmt: skip
    before, after = map(int, done.stdout.split())
    layer = side * side * 4
    both = sum(path.stat().st_size for path in paths)
    # The files themselves are mapped, and pages of them may count; 32 MB are for code. The factors
    # of all layers at once would be another 100 MB, their matrices 200.
    assert after - before < both + 5 * layer + 32e6
    assert json.loads(read_header(tmp_path / "ab.safetensors").metadata["lorasmith.made_by"])
    assert len(load_file(tmp_path / "ab.safetensors")) == 3 * layers


def test_one_open_family_stays_as_it_was(pico):
    # The helpers share it between tests.
    assert all(not module._forward_hooks for module in open_family(pico).unet.modules())
