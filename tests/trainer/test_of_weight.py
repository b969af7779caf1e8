"""(IA)³, GLoRA, OFT and BOFT: their deltas by hand, and what each command does with them.

The expected numbers are worked out from the papers. The same functions agreed with those of
LyCORIS 4.1.3 to seven digits on linear layers and convolutions (docs/lab-log.md).
"""

import pytest
import torch
from safetensors.torch import load_file, save_file

from tests.trainer.conftest import load_plain
from trainer.adapters import restore_adapter
from trainer.combine import (
    CombineError,
    MergeRequest,
    bake_files,
    convert_file,
    measure_singular_values,
    merge_files,
    resize_file,
    scale_file,
    subtract_files,
)
from trainer.combine.base_weights import BaseWeights
from trainer.config import AdapterConfig, MergeOptions, RankChoice
from trainer.export import ExportError
from trainer.files.inspect import inspect_file
from trainer.training.attach import attach_file, attach_for_training

CPU = torch.device("cpu")
BLOCK = "down_blocks.0.attentions.0.transformer_blocks.0"
LAYERS = {
    "ia3": f"unet.{BLOCK}.attn2.to_k",
    "glora": f"unet.{BLOCK}.attn1.to_q",
    "oft": f"unet.{BLOCK}.attn1.to_v",
    "boft": "unet.mid_block.resnets.0.conv1",
}
NAMES = {kind: f"lora_{layer.replace('.', '_')}" for kind, layer in LAYERS.items()}


def linear(weight):
    layer = torch.nn.Linear(len(weight[0]), len(weight), bias=False)
    layer.weight = torch.nn.Parameter(torch.tensor(weight), requires_grad=False)
    return layer


def delta(weight, alpha=1.0, **parts):
    tensors = {name: torch.as_tensor(value) for name, value in parts.items()}
    return restore_adapter(linear(weight), tensors, alpha).delta().tolist()


SQUARE = [[1.0, 2.0], [3.0, 4.0]]


def test_ia3_adds_a_share_of_each_channel():
    assert delta(SQUARE, ia3_scale=[0.5, 2.0], on_input=False) == [[0.5, 1.0], [6.0, 8.0]]
    assert delta(SQUARE, ia3_scale=[[0.5, 2.0]], on_input=True) == [[0.5, 4.0], [1.5, 8.0]]


def test_glora_adds_a_product_with_the_weight_and_one_without():
    parts = {"glora_a1": [[1.0], [0.0]], "glora_a2": [[0.0, 2.0]], "glora_b1": [[1.0], [3.0]],
             "glora_b2": [[1.0, -1.0]]}  # fmt: skip
    # W A = W [[0, 2], [0, 0]] = [[0, 2], [0, 6]], B = [[1, -1], [3, -3]], alpha / rank = 1/2.
    expected = [[0.5, 0.5], [1.5, 1.5]]
    assert delta(SQUARE, 0.5, **parts) == expected
    turned = {"a1": "a2", "a2": "a1", "b1": "b2", "b2": "b1"}
    older = {f"glora_{one}": parts[f"glora_{other}"] for one, other in turned.items()}
    assert delta(SQUARE, 0.5, **older) == expected


def test_oft_turns_the_outputs_of_each_block():
    # Q = [[0, 1], [-1, 0]]: (I + Q)(I - Q)^-1 = [[0, 1], [-1, 0]], a quarter turn, and R^T W is
    # [[-3, -4], [1, 2]].
    quarter = [[[0.0, 1.0], [0.0, 0.0]]]
    found = torch.tensor(delta(SQUARE, 0.0, oft_blocks=quarter))
    torch.testing.assert_close(found, torch.tensor([[-4.0, -6.0], [-2.0, -2.0]]))
    rescaled = torch.tensor(delta(SQUARE, 0.0, oft_blocks=quarter, rescale=[[2.0], [1.0]]))
    torch.testing.assert_close(rescaled, torch.tensor([[-7.0, -10.0], [-2.0, -2.0]]))


def test_the_alpha_of_oft_limits_the_norm_of_what_turns():
    # |Q| = sqrt(2) is cut to 0.25 * 2 outputs, so each entry is q = 1 / (2 sqrt(2)); the turn is by
    # 2 atan(q): sin = 2 q / (1 + q^2), cos = (1 - q^2) / (1 + q^2).
    q = 1 / (2 * 2**0.5)
    sin, cos = 2 * q / (1 + q * q), (1 - q * q) / (1 + q * q)
    turned = torch.tensor([[cos, -sin], [sin, cos]]) @ torch.tensor(SQUARE)
    found = torch.tensor(delta(SQUARE, 0.25, oft_blocks=[[[0.0, 1.0], [0.0, 0.0]]]))
    torch.testing.assert_close(found, turned - torch.tensor(SQUARE))


def test_boft_turns_neighbours_first_and_then_what_is_farther_apart():
    column = [[1.0], [2.0], [3.0], [4.0]]
    quarter, nothing = [[0.0, 1.0], [0.0, 0.0]], [[0.0, 0.0], [0.0, 0.0]]
    # A quarter turn of a pair (x, y) is (y, -x). First level: rows (0, 1); second: rows (0, 2).
    first = torch.tensor(delta(column, 0.0, oft_blocks=[[quarter, nothing]]))
    torch.testing.assert_close(first.flatten(), torch.tensor([1.0, -3.0, 0.0, 0.0]))
    second = torch.tensor(delta(column, 0.0, oft_blocks=[[nothing, nothing], [quarter, nothing]]))
    torch.testing.assert_close(second.flatten(), torch.tensor([2.0, 0.0, -4.0, 0.0]))


# --- commands ------------------------------------------------------------------------------------


def draw(*shape, seed=0):
    return 0.3 * torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@pytest.fixture(scope="module")
def base(pico):
    return BaseWeights(pico)


@pytest.fixture(scope="module")
def parts(base):
    """Random tensors of each kind, by the ends of their keys."""
    rows = {kind: base.shapes[layer] for kind, layer in LAYERS.items()}
    inputs, outputs = rows["glora"][1], rows["glora"][0]
    return {
        "ia3": {"weight": draw(rows["ia3"][0]), "on_input": torch.tensor(0)},
        "glora": {"a1.weight": draw(inputs, 2), "a2.weight": draw(2, inputs, seed=1),
                  "b1.weight": draw(outputs, 2, seed=2), "b2.weight": draw(2, inputs, seed=3),
                  "alpha": torch.tensor(1.0)},
        "oft": {"oft_blocks": draw(rows["oft"][0] // 4, 4, 4), "alpha": torch.tensor(0.0)},
        "boft": {"oft_blocks": draw(2, rows["boft"][0] // 4, 4, 4), "alpha": torch.tensor(0.0)},
    }  # fmt: skip


def write(path, parts, *kinds):
    tensors = {f"{NAMES[k]}.{part}": v for k in kinds for part, v in parts[k].items()}
    save_file(tensors, path)
    return path


def rotate(blocks):
    skew = blocks - blocks.transpose(-1, -2)
    one = torch.eye(blocks.shape[-1])
    return (one + skew) @ (one - skew).inverse()


def expect(base, parts):
    """Returns the delta of each layer, written out as matrices."""
    weight = {kind: base.read(layer) for kind, layer in LAYERS.items()}
    ia3, glora = parts["ia3"], parts["glora"]
    turned = torch.block_diag(*rotate(parts["oft"]["oft_blocks"])).T @ weight["oft"]
    mixed = weight["boft"].flatten(1)
    for level, blocks in enumerate(rotate(parts["boft"]["oft_blocks"])):
        # Which row is where: halves that are 2^level * 2 rows apart become neighbours.
        order = torch.arange(len(mixed)).view(-1, 2, 2**level * 2).transpose(1, 2).flatten()
        swap = torch.eye(len(mixed))[order]
        mixed = swap.T @ torch.block_diag(*blocks) @ swap @ mixed
    return {
        LAYERS["ia3"]: torch.diag(ia3["weight"]) @ weight["ia3"],
        LAYERS["glora"]: 0.5 * (
            weight["glora"] @ glora["a1.weight"] @ glora["a2.weight"]
            + glora["b1.weight"] @ glora["b2.weight"]
        ),
        LAYERS["oft"]: turned - weight["oft"],
        LAYERS["boft"]: mixed.view(weight["boft"].shape) - weight["boft"],
    }  # fmt: skip


def test_a_base_model_holds_them_after_baking(pico, base, parts, tmp_path):
    path = write(tmp_path / "x.safetensors", parts, *LAYERS)
    bake_files(pico, [(path, 0.5)], tmp_path / "baked")
    baked, expected = BaseWeights(tmp_path / "baked"), expect(base, parts)
    for layer in base.shapes:
        change = baked.read(layer) - base.read(layer)
        wanted = 0.5 * expected[layer] if layer in expected else torch.zeros_like(change)
        torch.testing.assert_close(change, wanted, atol=1e-6, rtol=1e-4)
    with pytest.raises(CombineError, match=r"holds .*Its delta depends .* cannot be subtracted"):
        subtract_files(tmp_path / "baked", [(path, 0.5)], tmp_path / "back")


def test_a_merge_with_the_base_model_holds_their_sum(pico, base, parts, tmp_path):
    paths = [write(tmp_path / f"{kind}.safetensors", parts, kind) for kind in LAYERS]
    to = tmp_path / "merged.safetensors"
    files = [(path, 0.5) for path in paths]
    options = MergeOptions(method="svd", precision="fp32")
    with pytest.raises(CombineError, match="with --base-model"):
        merge_files(MergeRequest([(paths[1], 1.0)] * 2, to, options, force=True))
    merge_files(MergeRequest(files, to, options, base_model=pico))
    merged, expected = load_file(to), expect(base, parts)
    for kind, layer in LAYERS.items():
        name = NAMES[kind]
        down = merged[f"{name}.lora_down.weight"]
        scale = merged[f"{name}.alpha"] / down.shape[0]
        found = scale * merged[f"{name}.lora_up.weight"].flatten(1) @ down.flatten(1)
        torch.testing.assert_close(found, 0.5 * expected[layer].flatten(1), atol=1e-5, rtol=1e-3)


def test_previews_show_them_and_training_refuses_them(pico, base, parts, tmp_path):
    path = write(tmp_path / "x.safetensors", parts, *LAYERS)
    adapters = attach_file(load_plain(pico), path, CPU)
    for layer, wanted in expect(base, parts).items():
        torch.testing.assert_close(adapters.adapters[layer].delta(), wanted, atol=1e-6, rtol=1e-4)
    adapters.remove()
    with pytest.raises(ExportError, match="cannot be trained on"):
        attach_for_training(load_plain(pico), path, AdapterConfig(), CPU)


@pytest.mark.parametrize("target", ["lycoris", "comfyui", "omi", "kohya-original"])
def test_other_names_keep_them(target, pico, parts, tmp_path):
    path = write(tmp_path / "x.safetensors", parts, *LAYERS)
    there, back = tmp_path / "there.safetensors", tmp_path / "back.safetensors"
    convert_file(path, target, there, precision="fp32", base_model=pico)
    convert_file(there, "kohya", back, precision="fp32", base_model=pico)
    before, after = load_file(path), load_file(back)
    # An alpha of 0 is no limit, as none is.
    assert before.keys() - after.keys() == {f"{NAMES[k]}.alpha" for k in ("oft", "boft")}
    for key, value in after.items():
        assert torch.equal(value.float(), before[key].float()), key
    with pytest.raises(CombineError, match="holds plain LoRA only"):
        convert_file(path, "diffusers", tmp_path / "no.safetensors", base_model=pico)


def test_scaling_multiplies_the_deltas_of_those_that_are_proportional(pico, base, parts, tmp_path):
    path = write(tmp_path / "x.safetensors", parts, "ia3", "glora")
    half = tmp_path / "half.safetensors"
    scale_file(path, half, [("*", 0.5)], "fp32", base_model=pico)
    expected = expect(base, parts)
    adapters = attach_file(load_plain(pico), half, CPU)
    for kind in ("ia3", "glora"):
        torch.testing.assert_close(
            adapters.adapters[LAYERS[kind]].delta(), 0.5 * expected[LAYERS[kind]],
            atol=1e-6, rtol=1e-4,
        )  # fmt: skip
    turns = write(tmp_path / "turns.safetensors", parts, "oft")
    with pytest.raises(CombineError, match="as OFT, whose delta is not proportional"):
        scale_file(turns, half, [("*", 0.5)], "fp32", base_model=pico, force=True)


def test_resize_makes_plain_lora_of_them_and_reports_need_the_base_model(pico, parts, tmp_path):
    path = write(tmp_path / "x.safetensors", parts, *LAYERS)
    to = tmp_path / "small.safetensors"
    resize_file(path, to, RankChoice(rank=2), base_model=pico)
    assert inspect_file(to).kinds == ["LoRA"]
    with pytest.raises(CombineError, match="with --base-model"):
        measure_singular_values(path)
    measured = measure_singular_values(path, pico)
    assert {each.layer for each in measured.layers} == set(LAYERS.values())


def test_a_bias_that_the_base_model_does_not_have_is_refused(pico, tmp_path):
    """The queries of attention have none; it would be left out without a word."""
    path = tmp_path / "x.safetensors"
    save_file({f"{NAMES['glora']}.diff_b": torch.ones(32)}, path)
    with pytest.raises(CombineError, match=r"changes the bias of .*attn1.to_q, which the base"):
        bake_files(pico, [(path, 1.0)], tmp_path / "baked")
    assert not (tmp_path / "baked").exists()
