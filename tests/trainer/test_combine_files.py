"""Merging, resizing and scaling files of every kind, and what is said when that cannot be."""

import json

import pytest
import torch
from safetensors.torch import load_file, save_file

from tests.trainer.conftest import build_pico
from tests.trainer.random_adapters import distance, open_family, read_changes, write_adapter
from tests.trainer.test_interop import adapted_models, no_complaint, open_pipeline
from trainer.combine import (
    MERGES,
    CombineError,
    MergeRequest,
    measure_singular_values,
    merge_files,
    resize_file,
    scale_file,
)
from trainer.config import MergeOptions, RankChoice
from trainer.export import ExportError
from trainer.files.verify import verify_file
from trainer.files.verify.facts import BaseLayers
from trainer.formats.families import SD15
from trainer.formats.header import read_header
from trainer.models.layers import list_adaptable_layers


@pytest.fixture(scope="module")
def bases(pico, pico_xl, tmp_path_factory):
    folder = tmp_path_factory.mktemp("pico-2") / "model"
    return {
        "sd15": pico,
        "sd2": build_pico(folder, width=64, linear_projection=True),
        "sdxl": pico_xl,
    }


@pytest.fixture
def write(tmp_path, pico):
    """Returns a function that writes a random adapter file and returns its path and changes."""

    def make(name, base=pico, **options):
        path = tmp_path / f"{name}.safetensors"
        return path, write_adapter(path, base, **options)

    return make


def merge(to, files, method="concatenate", **settings):
    names = ("rank", "density", "precision", "signs")
    given = {"precision": "fp32"} | {k: settings.pop(k) for k in names if k in settings}
    return merge_files(MergeRequest(files, to, MergeOptions(method=method, **given), **settings))


def add_up(*weighted):
    layers = {layer for changes, _ in weighted for layer in changes}
    return {
        layer: sum(changes[layer] * weight for changes, weight in weighted if layer in changes)
        for layer in layers
    }


@pytest.mark.parametrize("family", ["sd15", "sd2", "sdxl"])
def test_diffusers_applies_the_sum_of_what_was_merged(family, bases, write, tmp_path):
    one, other = (write(n, bases[family], seed=s, rank=2 + s) for n, s in (("a", 1), ("b", 2)))
    merge(tmp_path / "ab.safetensors", [(one[0], 0.8), (other[0], -0.5)])
    wanted = add_up((one[1], 0.8), (other[1], -0.5))
    pipeline = open_pipeline(bases[family], family)

    def weights():
        targets = list_adaptable_layers(adapted_models(pipeline), SD15.adaptable_blocks)
        return {target.name: target.layer.weight.detach().clone() for target in targets}

    before = weights()
    with no_complaint():
        pipeline.load_lora_weights(tmp_path, weight_name="ab.safetensors")
    pipeline.fuse_lora()
    pipeline.unload_lora_weights()
    after = weights()
    assert distance({layer: after[layer] - before[layer] for layer in wanted}, wanted) < 1e-4


@pytest.mark.parametrize("method", MERGES)
def test_every_method_writes_a_file_that_passes_the_check(method, pico, write, tmp_path):
    one, other = write("a", seed=1), write("b", seed=2)
    to = tmp_path / "ab.safetensors"
    report = merge(to, [(one[0], 1.0), (other[0], 1.0)], method, signs=True)
    changes = read_changes(to, pico)
    base = BaseLayers({k: tuple(v.shape) for k, v in changes.items()}, _names(pico))
    assert [f for f in verify_file(to, base) if f.severity == "error"] == []
    assert len(report.layers) == len(one[1])
    assert 0.3 < report.sign_conflicts < 0.7
    exact = add_up((one[1], 1), (other[1], 1))
    lost = sum(((changes[k] - exact[k]) ** 2).sum() for k in exact)
    assert report.lost == pytest.approx(
        (lost / sum((v**2).sum() for v in exact.values())).item(), rel=1e-3, abs=1e-6
    )


def _names(base):
    from trainer.formats.unet_names import UNetNames

    return UNetNames.from_config(json.loads((base / "unet" / "config.json").read_text()))


def test_concatenation_is_exact_and_ranks_add_up(pico, write, tmp_path):
    one, other = write("a", seed=1, rank=3), write("b", seed=2, rank=4)
    to = tmp_path / "ab.safetensors"
    report = merge(to, [(one[0], 1.0), (other[0], 0.5)])
    assert distance(read_changes(to, pico), add_up((one[1], 1), (other[1], 0.5))) < 1e-6
    assert {layer.rank for layer in report.layers} == {7}
    assert report.lost < 1e-10


def test_ranks_never_exceed_the_layer(pico, write, tmp_path):
    files = [write(name, seed=seed, rank=12) for seed, name in enumerate("ab")]
    to = tmp_path / "ab.safetensors"
    report = merge(to, [(path, 1.0) for path, _ in files])
    for layer in report.layers:
        assert layer.rank == min(24, *files[0][1][layer.layer].flatten(1).shape)
    assert min(layer.rank for layer in report.layers) == 16
    assert distance(read_changes(to, pico), add_up(*((c, 1.0) for _, c in files))) < 1e-5


@pytest.mark.parametrize("kind", ["loha", "lokr", "dora"])
def test_other_kinds_are_merged_exactly_with_lora(kind, pico, write, tmp_path):
    one, other = write("a", seed=1, rank=2), write("b", seed=2, rank=2, kind=kind)
    to = tmp_path / "ab.safetensors"
    merge(to, [(one[0], 1.0), (other[0], 0.5)], base_model=pico)
    assert distance(read_changes(to, pico), add_up((one[1], 1), (other[1], 0.5))) < 1e-5


def test_dora_without_base_model_is_refused(write, tmp_path):
    one, other = write("a"), write("b", kind="dora")
    to = tmp_path / "ab.safetensors"
    with pytest.raises(CombineError, match=r"b.safetensors holds .* as DoRA.*--base-model"):
        merge(to, [(one[0], 1.0), (other[0], 1.0)])
    assert list(tmp_path.glob("*ab*")) == []
    assert list(tmp_path.glob(".*")) == []


def test_layers_of_one_file_only_are_kept(pico, write, tmp_path):
    one, other = write("a", only="attn1"), write("b", seed=2, only="attn")
    to = tmp_path / "ab.safetensors"
    merge(to, [(one[0], 2.0), (other[0], 1.0)])
    assert distance(read_changes(to, pico), add_up((one[1], 2), (other[1], 1))) < 1e-6


def test_a_merge_by_seed_is_the_same_twice(write, tmp_path):
    one, other = write("a"), write("b", seed=2)
    for name in ("x", "y"):
        merge(tmp_path / f"{name}.safetensors", [(one[0], 1.0), (other[0], 1.0)], "dare_ties")
    x, y = (load_file(tmp_path / f"{name}.safetensors") for name in ("x", "y"))
    assert all(torch.equal(x[key], y[key]) for key in x | y)


def test_the_header_tells_the_merge_and_nothing_stale(write, tmp_path):
    from hashlib import sha256

    tags = json.dumps({"10_cat": {"cat": 3}})
    facts = {"ss_steps": "500", "sshs_legacy_hash": "abcd", "lorasmith.config": "{}"}
    one = write("a", **facts, **{"modelspec.trigger_phrase": "zorp", "ss_tag_frequency": tags})
    other = write("b", seed=2, **{"modelspec.trigger_phrase": "blub", "ss_tag_frequency": tags})
    to = tmp_path / "ab.safetensors"
    merge(to, [(one[0], 1.0), (other[0], 0.5)])
    header = read_header(to)
    text = header.metadata
    assert text["modelspec.merged_from"] == "a, b"
    assert text["modelspec.trigger_phrase"] == "zorp, blub"
    assert json.loads(text["ss_tag_frequency"]) == {"10_cat": {"cat": 6}}
    assert (text["ss_network_dim"], text["ss_network_alpha"]) == ("8", "8.0")
    assert (text["ss_base_model_version"], text["ss_output_name"]) == ("sd_v1", "ab")
    assert not {"ss_steps", "sshs_legacy_hash", "lorasmith.config"} & set(text)
    assert json.loads(text["lorasmith.made_by"])["weights"] == [1.0, 0.5]
    digest = sha256(to.read_bytes()[header.body_start :]).hexdigest()
    assert text["sshs_model_hash"] == digest
    assert text["modelspec.hash_sha256"] == f"0x{digest}"


def test_halves_of_odd_size_are_read_by_the_library(write, tmp_path):
    one, other = write("a", rank=1), write("b", seed=2, rank=2)
    to = tmp_path / "ab.safetensors"
    merge(to, [(one[0], 1.0), (other[0], 1.0)], precision="fp16")
    assert {str(value.dtype) for value in load_file(to).values()} == {
        "torch.float16",
        "torch.float32",
    }


def test_files_of_different_families_are_refused_by_name(bases, write, tmp_path):
    one, other = write("a"), write("b", bases["sdxl"])
    with pytest.raises(CombineError, match=r"a.safetensors for SD 1.x and b.safetensors for SDXL"):
        merge(tmp_path / "ab.safetensors", [(one[0], 1.0), (other[0], 1.0)])


def test_weights_that_are_no_numbers_are_named(write, tmp_path):
    one, other = write("a"), write("b", seed=2)
    tensors = load_file(other[0])
    key = next(key for key in tensors if key.endswith("lora_up.weight") and "to_k" in key)
    tensors[key][0, 0] = float("nan")
    save_file(tensors, other[0], read_header(other[0]).metadata)
    with pytest.raises(
        ExportError, match=r"b.safetensors contains weights that are not finite, in .*"
    ):
        merge(tmp_path / "ab.safetensors", [(one[0], 1.0), (other[0], 1.0)])
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.safetensors", "b.safetensors"]


def test_a_rank_above_the_layer_is_refused_with_the_largest(write, tmp_path):
    one, other = write("a"), write("b", seed=2)
    with pytest.raises(CombineError, match=r"rank 17 is too large for .* Choose 16 or less"):
        merge(tmp_path / "ab.safetensors", [(one[0], 1.0), (other[0], 1.0)], "svd", rank=17)


def test_an_existing_file_is_kept_unless_forced(write, tmp_path):
    one, other = write("a"), write("b", seed=2)
    to = tmp_path / "ab.safetensors"
    to.write_bytes(b"mine")
    with pytest.raises(CombineError, match="exists"):
        merge(to, [(one[0], 1.0), (other[0], 1.0)])
    assert to.read_bytes() == b"mine"
    merge(to, [(one[0], 1.0), (other[0], 1.0)], force=True)
    assert len(load_file(to)) > 0


@pytest.mark.parametrize(
    ("to", "weight", "settings", "says"),
    [
        ("ab.ckpt", 1.0, {}, "must end in .safetensors"),
        ("no/ab.safetensors", 1.0, {}, "does not exist. Create it first"),
        ("ab.safetensors", float("nan"), {}, "not a finite number"),
        ("ab.safetensors", 0.0, {"method": "concatenate"}, "changes nothing"),
    ],
)
def test_what_cannot_be_merged_is_said(to, weight, settings, says, write, tmp_path):
    one, other = write("a"), write("b", seed=2)
    with pytest.raises(CombineError, match=says):
        merge(tmp_path / to, [(one[0], weight), (other[0], weight)], **settings)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.safetensors", "b.safetensors"]


def write_full_size(path, layers, seed):
    """Writes a LoRA of rank 1 on layers of SD 1.5."""
    from trainer.export import name_layers, write_kohya
    from trainer.formats.architectures import list_layers
    from trainer.formats.unet_names import SD_NAMES

    torch.manual_seed(seed)
    modules = {}
    for layer in layers:
        outputs, *inputs = list_layers("sd15")[layer]
        point = (1,) * (len(inputs) - 1)
        modules[layer] = (torch.randn(1, *inputs), torch.randn(outputs, 1, *point), 1.0)
    header = {"ss_base_model_version": "sd_v1", "ss_v2": "False"}
    write_kohya(path, modules, name_layers(layers, "sd15", SD_NAMES), header, "fp16")
    return path


RESNET = "unet.down_blocks.0.resnets.0"


def test_what_would_not_load_somewhere_is_said_before_anything_is_computed(tmp_path, monkeypatch):
    layers = [f"{RESNET}.conv1", f"{RESNET}.time_emb_proj"]
    files = [write_full_size(tmp_path / f"{n}.safetensors", layers, n) for n in range(2)]
    monkeypatch.setitem(MERGES, "svd", lambda *_: pytest.fail("it was computed first"))
    request = MergeRequest([(path, 1.0) for path in files], tmp_path / "ab.safetensors")
    told = []

    def stop(findings):
        told.extend(findings)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        merge_files(request, stop)
    assert [f.rule for f in told if "InvokeAI" in f.effects] == ["detection"]
    assert len(list(tmp_path.iterdir())) == 2


def test_a_merged_file_has_its_layers_in_the_order_of_their_names(tmp_path):
    # InvokeAI would take the file for one of SDXL, if the time embedding came first.
    attention = "unet.down_blocks.0.attentions.0.transformer_blocks.0.attn2.to_k"
    layers = {"a": [f"{RESNET}.conv1", f"{RESNET}.time_emb_proj"], "b": [attention]}
    files = [write_full_size(tmp_path / f"{n}.safetensors", layers[n], 1) for n in layers]
    to = tmp_path / "ab.safetensors"
    merge_files(MergeRequest([(path, 1.0) for path in files], to, MergeOptions(method="svd")))
    assert not [finding for finding in verify_file(to) if finding.rule == "detection"]


def test_what_programs_would_stumble_over_is_written_only_by_force(tmp_path):
    # With only some of the four attention layers of a text encoder diffusers drops the others.
    attention = "text_encoder.text_model.encoder.layers.0.self_attn"
    layers = [f"{attention}.q_proj", f"{attention}.v_proj"]
    files = [write_full_size(tmp_path / f"{n}.safetensors", layers, n) for n in range(2)]
    to = tmp_path / "ab.safetensors"
    exact = MergeOptions(method="concatenate")
    request = MergeRequest([(path, 1.0) for path in files], to, exact)
    with pytest.raises(
        CombineError, match=r"would not be read correctly by every program.*--force"
    ):
        merge_files(request)
    assert not to.exists()
    merge_files(MergeRequest([(path, 1.0) for path in files], to, exact, force=True))
    assert len(load_file(to)) == 6


ATTENTION = "text_encoder.text_model.encoder.layers.0.self_attn"


def write_text_attention(tmp_path, parts):
    """Writes a LoRA on some of the four attention layers of a text encoder's first block."""
    return write_full_size(tmp_path / "a.safetensors", [f"{ATTENTION}.{p}" for p in parts], 0)


def test_scaling_says_what_would_be_left_out_by_programs_and_writes_it_by_force(tmp_path):
    path = write_text_attention(tmp_path, ["q_proj", "k_proj", "v_proj", "out_proj"])
    to = tmp_path / "b.safetensors"
    without, told = [("*.k_proj", 0.0)], []
    with pytest.raises(
        CombineError, match=r"b.safetensors would not be read correctly by every program"
    ):
        scale_file(path, to, [("*.out_proj", 0.0)], on_findings=told.extend)
    assert {finding.rule for finding in told if finding.severity == "error"} == {"text_sets"}
    assert [each.name for each in tmp_path.iterdir()] == ["a.safetensors"]
    told.clear()
    scale_file(path, to, without, force=True, on_findings=told.extend)
    assert [finding.rule for finding in told] == ["text_sets"]
    told.clear()
    scale_file(path, tmp_path / "c.safetensors", [("*.k_proj", 0.5)], on_findings=told.extend)
    assert told == []


def test_what_is_foretold_of_a_scaled_file_is_what_a_check_finds(pico, write, tmp_path):
    path, changes = write("a", kind="loha")
    to, told = tmp_path / "b.safetensors", []
    scale_file(path, to, [("text_encoder.*", 0.5)], base_model=pico, on_findings=told.extend)
    shapes = {layer: tuple(value.shape) for layer, value in changes.items()}
    found = verify_file(to, BaseLayers(shapes, _names(pico)))
    assert [each.to_line() for each in told] == [each.to_line() for each in found]
    assert [each.rule for each in found] == ["kinds"]


def test_resizing_says_what_programs_make_of_the_file_before_it_is_computed(tmp_path):
    path = write_text_attention(tmp_path, ["q_proj", "v_proj"])
    to, told = tmp_path / "b.safetensors", []
    with pytest.raises(CombineError, match=r"in part.*has only q_proj, v_proj.*--force"):
        resize_file(path, to, RankChoice(rank=1), on_findings=told.extend)
    assert [finding.rule for finding in told] == ["text_sets"]
    assert not to.exists()
    resize_file(path, to, RankChoice(rank=1), force=True)
    assert len(load_file(to)) == 6


def test_a_file_that_changes_a_bias_is_refused_with_what_can_be_done(write, tmp_path):
    one, other = write("a"), write("b", seed=2)
    tensors = load_file(other[0])
    layer = next(key for key in tensors if "to_k" in key).partition(".")[0]
    tensors[f"{layer}.diff_b"] = torch.ones(32)
    save_file(tensors, other[0], read_header(other[0]).metadata)
    says = r"b.safetensors changes the bias of unet\..*to_k, .* It can be baked into a base model"
    with pytest.raises(CombineError, match=says):
        merge(tmp_path / "ab.safetensors", [(one[0], 1.0), (other[0], 1.0)])
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.safetensors", "b.safetensors"]
    scale_file(other[0], tmp_path / "half.safetensors", [("*", 0.5)])
    assert torch.equal(
        load_file(tmp_path / "half.safetensors")[f"{layer}.diff_b"], torch.ones(32) / 2
    )


@pytest.mark.parametrize(("method", "rank"), [("svd", 2), ("ties", 4), ("concatenate", 0)])
def test_the_report_says_what_the_rank_could_not_hold(method, rank, pico, write, tmp_path):
    one, other = write("a", seed=1), write("b", seed=2)
    report = merge(tmp_path / "ab.safetensors", [(one[0], 1.0), (other[0], 1.0)], method, rank=rank)
    if method == "concatenate":
        assert report.cut == 0
    elif method == "svd":  # what it made is the weighted sum, so that both shares are one
        assert all(each.cut == pytest.approx(each.lost, abs=1e-5) for each in report.layers)
    assert report.to_dict()["cut"] == pytest.approx(
        sum(each.cut for each in report.layers) / len(report.layers)
    )
    assert (report.cut > 0.01) == (method != "concatenate")


def test_resizing_keeps_the_energy_that_was_asked_for(pico, write, tmp_path):
    path, before = write("a", rank=8)
    to = tmp_path / "small.safetensors"
    kept = resize_file(path, to, RankChoice(energy=0.9), "fp32")
    after = read_changes(to, pico)
    for layer in kept:
        share = after[layer.layer].norm() ** 2 / before[layer.layer].norm() ** 2
        assert share.item() == pytest.approx(layer.energy, rel=1e-4)
        assert share >= 0.9 - 1e-5
        assert layer.rank < layer.before == 8


def test_resizing_to_a_rank_is_the_best_of_that_rank(pico, write, tmp_path):
    path, before = write("a", rank=8)
    to = tmp_path / "small.safetensors"
    resize_file(path, to, RankChoice(rank=3, conv_rank=2), "fp32")
    for layer, change in read_changes(to, pico).items():
        u, s, v = torch.linalg.svd(before[layer].flatten(1), full_matrices=False)
        rank = 2 if change.ndim == 4 and change.shape[-1] == 3 else 3
        best = (u[:, :rank] * s[:rank]) @ v[:rank]
        assert (change.flatten(1) - best).norm() < 1e-4 * best.norm(), layer
    assert read_header(to).metadata["ss_network_dim"] == "3"


@pytest.mark.parametrize("kind", ["loha", "lokr", "dora"])
def test_other_kinds_become_lora_when_resized(kind, pico, write, tmp_path):
    path, before = write("a", kind=kind, rank=2)
    to = tmp_path / "lora.safetensors"
    resize_file(path, to, RankChoice(energy=1 - 1e-9), "fp32", base_model=pico)
    assert distance(read_changes(to, pico), before) < 1e-3


def test_resizing_needs_a_choice(write, tmp_path):
    path, _ = write("a")
    with pytest.raises(CombineError, match="Give the rank to keep"):
        resize_file(path, tmp_path / "b.safetensors", RankChoice())


@pytest.mark.parametrize("kind", ["lora", "loha", "lokr"])
def test_blocks_are_scaled_by_the_first_pattern_that_fits(kind, pico, write, tmp_path):
    from trainer.training.attach import attach_file

    path, before = write("a", kind=kind)
    to = tmp_path / "scaled.safetensors"
    patterns = [("unet.down_blocks.0.*", 0.5), ("unet.*.attn1.*", -2.0), ("text_encoder.*", 0.0)]
    factors = scale_file(path, to, patterns, "fp32", base_model=pico)
    adapters = attach_file(open_family(pico), to, torch.device("cpu"))
    after = adapters.deltas()
    assert set(after) == {layer for layer in before if layer.startswith("unet.")}
    assert {factors[layer] for layer in after} == {0.5, -2.0, 1.0}
    assert distance(after, {layer: before[layer] * factors[layer] for layer in after}) < 1e-5
    assert adapters.kinds() == {kind}
    adapters.remove()


@pytest.mark.parametrize(
    ("kind", "pattern", "says"),
    [
        ("lora", ("unet.nowhere.*", 1.0), "matches no layer"),
        ("lora", ("*", 0.0), "would be left out"),
        ("lora", ("*", float("inf")), "not a finite number"),
        ("dora", ("*", 0.5), "lorasmith resize"),
    ],
)
def test_what_cannot_be_scaled_is_said(kind, pattern, says, write, tmp_path):
    path, _ = write("a", kind=kind)
    with pytest.raises(CombineError, match=says):
        scale_file(path, tmp_path / "b.safetensors", [pattern])
    assert [each.name for each in tmp_path.iterdir()] == ["a.safetensors"]


def test_the_spectrum_of_a_file(pico, write):
    path, changes = write("a", rank=4)
    spectrum = measure_singular_values(path, pico)
    assert {layer.layer for layer in spectrum.layers} == set(changes)
    for layer in spectrum.layers:
        change = changes[layer.layer].flatten(1)
        values = torch.linalg.svdvals(change)[:4]
        assert layer.norm == pytest.approx(change.norm().item(), rel=1e-5)
        assert layer.values == pytest.approx(values.tolist(), rel=1e-4)
        share = (values[:2] ** 2).sum() / (values**2).sum()
        assert layer.energy[2] == pytest.approx(share.item(), rel=1e-4)
        assert 1 <= layer.effective_rank <= 4
        assert layer.relative_norm > 0
    json.dumps(spectrum.to_dict())
    assert "the strongest first" in spectrum.to_text()
