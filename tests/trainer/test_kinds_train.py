"""Every kind of adapter, trained: runs, checkpoints, files, and rules beside the gradient."""

import json
import math

import pytest
import torch
from safetensors.torch import load_file

from tests.trainer.conftest import asking, load_plain
from trainer.adapters import ADAPTERS, AdaLoRA, RankAllocator
from trainer.commands import train
from trainer.config import AdapterConfig, OptimizerConfig
from trainer.optim import group_parameters, make_optimizer
from trainer.runs import RunError, read_events
from trainer.training.attach import attach_checkpoint, attach_file, attach_new
from trainer.training.loop import read_batches, take_step
from trainer.training.session import open_session

CPU = torch.device("cpu")
# What a kind needs to learn enough in six steps for its file to hold something.
RATES = {"vera": 0.5, "adalora": 0.05}


def settings_for(kind, *more):
    rate = RATES.get(kind, 0.02)
    rates = [f"optimizer.{part}_learning_rate={rate}" for part in ("unet", "conv", "text")]
    # Decisions in steps 2 to 4 of 6, so that stopping at 3 falls between them.
    budget = ["adapter.adalora.every_steps=1", "adapter.adalora.kept_share=0.6"]
    return [f"adapter.kind={kind}", "train.steps=6", *rates, *budget, *more]


def events_of(run, kind):
    return [event for event in read_events(run.events_path) if event["event"] == kind]


def weights_of(run):
    return load_file(run.list_checkpoints()[-1].path / "adapter.safetensors")


def same(first, second):
    return first.keys() == second.keys() and all(torch.equal(first[k], second[k]) for k in first)


def assert_file_equals_checkpoint(run, base):
    """The exported file, on a fresh base model, makes the change that the checkpoint does."""
    file = attach_file(load_plain(base), run.path / "pico.safetensors", CPU)
    checkpoint = attach_checkpoint(load_plain(base), run.list_checkpoints()[-1].path, CPU)
    read, trained = file.deltas(), checkpoint.deltas()
    assert read.keys() == trained.keys()
    moved = 0
    for layer, change in trained.items():
        # DoRA's change is a difference of whole weights, of which fp32 rounds the last digits.
        torch.testing.assert_close(read[layer], change, rtol=1e-4, atol=1e-6)
        moved += bool(change.abs().max() > 1e-5)
    assert moved > len(trained) / 2


def in_short(kinds, *kept):
    """Returns the kinds as parameters, all but the hardest ones left to the slow tests."""
    return [kind if kind in kept else pytest.param(kind, marks=pytest.mark.slow) for kind in kinds]


@pytest.mark.parametrize("kind", in_short(ADAPTERS, "dora", "lokr"))
def test_every_kind_trains_and_its_file_holds_what_was_trained(kind, make_run, cache, pico):
    run = make_run(*settings_for(kind))
    assert train(run, cache) == "finished"
    assert events_of(run, "exported")[-1]["max_relative_error"] < 1e-5
    assert_file_equals_checkpoint(run, pico)


@pytest.mark.parametrize("kind", in_short(ADAPTERS, "adalora"))
def test_every_kind_trains_on_sdxl(kind, make_run, cache, pico_xl):
    more = [f'base_model.path="{pico_xl}"', "train.steps=3", "output.checkpoint_every_steps=0"]
    run = make_run(*settings_for(kind, *more))
    assert train(run, cache) == "finished"
    assert_file_equals_checkpoint(run, pico_xl)


@pytest.mark.parametrize("kind", in_short(ADAPTERS, "adalora"))
def test_every_kind_goes_on_exactly_after_a_stop(kind, make_run, cache):
    drops = ["adapter.rank_dropout=0.3", "adapter.module_dropout=0.2", "optimizer.ema_decay=0.5"]
    changes = settings_for(kind, *drops)
    whole, parts = make_run(*changes), make_run(*changes, folder="other")
    train(whole, cache)
    with asking(parts, {3: ["stop"]}):
        assert train(parts, cache) == "stopped"
    assert train(parts, cache) == "finished"
    assert same(weights_of(whole), weights_of(parts))
    training = [
        load_file(r.list_checkpoints()[-1].path / "training.safetensors") for r in (whole, parts)
    ]
    assert same(*training)
    first, second = (load_file(run.path / "pico.safetensors") for run in (whole, parts))
    assert same(first, second)


# The hardest kind goes on after a stop above; LoRA after a kill in `test_training.py`.
@pytest.mark.slow
@pytest.mark.parametrize("kind", ["dora", "vera", "adalora"])
def test_a_run_that_dies_between_checkpoints_ends_with_the_same_file(kind, make_run, cache):
    from trainer.training import loop

    whole, broken = make_run(*settings_for(kind)), make_run(*settings_for(kind), folder="other")
    train(whole, cache)
    real = loop.take_step

    def die_at_three(session, batches):
        if session.state.step == 3:  # the last checkpoint is of step 2
            raise KeyboardInterrupt
        return real(session, batches)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loop, "take_step", die_at_three)
        with pytest.raises(KeyboardInterrupt):
            train(broken, cache)
    assert [checkpoint.step for checkpoint in broken.list_checkpoints()] == [2]
    assert train(broken, cache) == "finished"
    first, second = (load_file(run.path / "pico.safetensors") for run in (whole, broken))
    assert same(first, second)


@pytest.mark.parametrize("kind", in_short(ADAPTERS, "dora"))
def test_every_kind_trains_on_a_base_model_in_4_bits(kind, make_run, cache):
    pytest.importorskip("bitsandbytes")
    changes = ["base_model.quantize=nf4", "train.steps=3", "output.checkpoint_every_steps=0"]
    run = make_run(*settings_for(kind, *changes))
    session = open_session(run, cache)
    packed = [
        name
        for name, target in session.adapters.targets.items()
        if getattr(target.layer.weight, "quant_state", None) is not None
    ]
    assert packed
    assert all(session.adapters.deltas()[name].abs().max() < 1e-6 for name in packed)
    start = session.adapters.state()
    assert train(run, cache) == "finished"
    trained = weights_of(run)
    assert all(
        any(not torch.equal(start[key], trained[key]) for key in start if key.startswith(name))
        for name in packed
    )


@pytest.mark.parametrize("kind", in_short(["vera", "adalora"], "adalora"))
def test_diffusers_loads_the_files_of_folded_kinds_with_every_key(kind, make_run, cache, pico):
    from diffusers import StableDiffusionPipeline

    run = make_run(*settings_for(kind))
    train(run, cache)
    file = run.path / "pico.safetensors"
    pipeline = StableDiffusionPipeline.from_pretrained(pico, safety_checker=None)
    _, alphas = pipeline.lora_state_dict(str(file))
    pipeline.load_lora_weights(str(file))
    pipeline.fuse_lora()
    ours = attach_file(load_plain(pico), file, CPU).deltas()
    plain = load_plain(pico)
    checked = 0
    for layer, change in ours.items():
        model, _, path = layer.partition(".")
        theirs = getattr(pipeline, model)
        frozen = plain.adaptable_models()[model]
        path = path if hasattr(theirs, "text_model") else path.removeprefix("text_model.")
        fused = theirs.get_submodule(path).base_layer.weight.detach()
        moved = fused - frozen.get_submodule(path).weight.detach()
        torch.testing.assert_close(moved, change, rtol=1e-3, atol=1e-5)
        checked += 1
    assert checked == len(alphas) == events_of(run, "exported")[-1]["modules"]


def test_dora_on_the_papers_axis_is_what_diffusers_loads(make_run, cache, pico):
    from diffusers import StableDiffusionPipeline

    changes = ["adapter.dora_axis=output", "output.formats=peft"]
    run = make_run(*settings_for("dora", *changes))
    train(run, cache)
    assert not events_of(run, "warning")
    file = run.path / "pico.safetensors"
    pipeline = StableDiffusionPipeline.from_pretrained(pico, safety_checker=None)
    pipeline.load_lora_weights(str(file))
    pipeline.fuse_lora()
    plain = load_plain(pico)
    trained = attach_checkpoint(plain, run.list_checkpoints()[-1].path, CPU)
    for layer, change in trained.deltas().items():
        model, _, path = layer.partition(".")
        theirs = getattr(pipeline, model)
        path = path if hasattr(theirs, "text_model") else path.removeprefix("text_model.")
        fused = theirs.get_submodule(path).base_layer.weight.detach()
        moved = fused - trained.targets[layer].layer.weight.detach()
        torch.testing.assert_close(moved, change, rtol=1e-3, atol=1e-5)


def open_learning(make_run, cache, *changes, steps=6):
    """Returns a session after some steps."""
    session = open_session(make_run(*changes), cache)
    session.state.start_learning()
    batches = read_batches(session)
    for _ in range(steps):
        take_step(session, batches)
    return session


def test_adalora_moves_ranks_from_layers_that_need_them_least(make_run, cache):
    session = open_learning(make_run, cache, *settings_for("adalora", "adapter.conv_rank=4"))
    (allocator,) = session.adapters.rules
    assert isinstance(allocator, RankAllocator)
    ranks = allocator.ranks()
    budget = sum(adapter.rank for adapter in session.adapters.adapters.values())
    assert sum(ranks.values()) == round(0.6 * budget)
    assert len({ranks[name] for name in ranks if name.startswith("unet.")}) > 2
    for name, (down, up, _) in session.adapters.factors().items():
        assert down.shape[0] == up.shape[1] == max(ranks[name], 1)


def test_adalora_takes_ranks_first_where_nothing_is_learned(make_run, cache, pico_xl):
    """SDXL reads its text encoders before their last layer, which gets no gradient."""
    changes = settings_for("adalora", f'base_model.path="{pico_xl}"', "adapter.text_rank=4")
    ranks = open_learning(make_run, cache, *changes).adapters.rules[0].ranks()
    unread = {name: n for name, n in ranks.items() if "text_model.encoder.layers.1.mlp" in name}
    assert unread.pop("text_encoder_2.text_model.encoder.layers.1.mlp.fc1") > 0  # it has three
    unread.pop("text_encoder_2.text_model.encoder.layers.1.mlp.fc2")
    assert set(unread.values()) == {0}
    assert sum(ranks.values()) > 100


@pytest.mark.slow
def test_adalora_that_is_made_longer_takes_up_its_budget_again(make_run, cache):
    run = make_run(*settings_for("adalora"))
    train(run, cache)
    text = run.config_path.read_text(encoding="utf-8").replace("steps = 6", "steps = 14", 1)
    run.config_path.write_text(text, encoding="utf-8")
    assert train(run, cache) == "finished"
    session = open_session(run, cache)
    total = sum(adapter.rank for adapter in session.adapters.adapters.values())
    assert sum(session.adapters.rules[0].ranks().values()) == round(0.6 * total)


@pytest.mark.slow
def test_the_penalty_of_adalora_moves_its_vectors_towards_right_angles(make_run, cache):
    changes = settings_for("adalora", "adapter.adalora.orthogonality=10.0", "train.steps=40")
    session = open_session(make_run(*changes), cache)
    before = session.adapters.penalty().item()
    events = open_learning(make_run, cache, *changes, steps=0)
    batches = read_batches(events)
    losses = [take_step(events, batches).item() for _ in range(20)]
    assert events.adapters.penalty().item() < 0.8 * before
    assert max(losses) < before / 2  # the loss that is reported is the picture's alone


def test_changes_stay_within_the_largest_norm(make_run, cache):
    free = open_learning(make_run, cache, *settings_for("lora"))
    norms = {name: change.norm().item() for name, change in free.adapters.deltas().items()}
    limit = sorted(norms.values())[len(norms) // 2]
    held = open_learning(make_run, cache, *settings_for("lora", f"adapter.max_norm={limit}"))
    found = [change.norm().item() for change in held.adapters.deltas().values()]
    assert max(found) <= limit * (1 + 1e-5)
    assert sum(norm > 0.99 * limit for norm in found) > 3


@pytest.mark.parametrize("kind", [kind for kind in ADAPTERS if kind != "dora"])
def test_shrinking_scales_the_change_and_nothing_else(kind, pico):
    adapters = attach_new(load_plain(pico), AdapterConfig(kind=kind, rank=4), 1, CPU)
    with torch.no_grad():
        for parameter in adapters.named_parameters().values():
            parameter.add_(0.2 * torch.randn(parameter.shape))
        before = dict(adapters.deltas())
        for name, adapter in adapters.adapters.items():
            torch.testing.assert_close(adapter.norm(), before[name].norm(), rtol=1e-4, atol=1e-6)
            adapter.shrink(torch.tensor(0.25))
    for name, change in adapters.deltas().items():
        torch.testing.assert_close(change, 0.25 * before[name], rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("kind", ADAPTERS)
def test_weight_decay_alone_leaves_a_fresh_adapter_without_a_change(kind, pico):
    adapters = attach_new(load_plain(pico), AdapterConfig(kind=kind, rank=4), 1, CPU)
    before = {name: value.clone() for name, value in adapters.state().items()}
    config = OptimizerConfig(weight_decay=5.0)
    optimizer = make_optimizer(group_parameters(config, adapters.sort_parameters()), config)
    for parameter in adapters.named_parameters().values():
        parameter.grad = torch.zeros_like(parameter)
    for _ in range(3):
        optimizer.step()
    assert all(change.abs().max() == 0 for change in adapters.deltas().values())
    after = adapters.state()
    assert any(not torch.equal(before[name], after[name]) for name in before)
    lengths = [name for name in before if name.endswith(".magnitude")]
    assert bool(lengths) == (kind == "dora")
    assert all(torch.equal(before[name], after[name]) for name in lengths)


def test_a_dora_that_was_saved_when_its_lengths_decayed_is_not_continued(make_run, cache):
    """It could not go on exactly: until then the lengths shared a group with the other weights."""
    run = make_run(*settings_for("dora"))
    with asking(run, {3: ["stop"]}):
        assert train(run, cache) == "stopped"
    meta = run.list_checkpoints()[-1].path / "meta.json"
    (meta.parent / "manifest.json").unlink()  # there was none then
    saved = json.loads(meta.read_text(encoding="utf-8"))
    groups = saved["optimizer"]["groups"]
    saved["optimizer"]["groups"] = groups[: len(groups) // 2]
    del saved["version"]
    meta.write_text(json.dumps(saved), encoding="utf-8")
    with pytest.raises(RunError, match=r"3 groups of weights were saved, not 6.*start a new run"):
        train(run, cache)


def test_vera_shares_one_pair_of_matrices_and_keeps_it_out_of_checkpoints(pico):
    config = AdapterConfig(kind="vera", rank=32, text_rank=16)
    adapters = attach_new(load_plain(pico), config, 1, CPU)
    assert len({id(adapter.projections) for adapter in adapters.adapters.values()}) == 1
    first, _ = next(iter(adapters.adapters.values()))._cut()
    assert first.numel() > sum(
        p.numel() for p in next(iter(adapters.adapters.values())).parameters()
    )
    assert all(value.ndim == 1 for value in adapters.state().values())
    other = attach_new(load_plain(pico), config, 2, CPU)
    layer = next(iter(adapters.adapters))
    again = attach_new(load_plain(pico), config, 1, CPU).adapters[layer]._cut()[0]
    assert torch.equal(again, adapters.adapters[layer]._cut()[0])
    assert not torch.equal(other.adapters[layer]._cut()[0], again)


def test_rslora_strengths_are_folded_into_alpha(pico):
    sizes = {"rank": 9, "alpha": 3.0, "conv_rank": 4, "conv_alpha": 5.0, "text_rank": 0}
    config = AdapterConfig(scaling="alpha/sqrt(rank)", **sizes)
    for adapter in attach_new(load_plain(pico), config, 1, CPU).adapters.values():
        alpha = {9: 3.0, 4: 5.0}[adapter.rank]
        assert adapter.scale == pytest.approx(alpha / math.sqrt(adapter.rank))
        assert adapter.tensors()["alpha"].item() == pytest.approx(alpha * math.sqrt(adapter.rank))


def describe(adapters, part=""):
    return {
        name: (adapter.rank, adapter.alpha, adapters.targets[name].rate)
        for name, adapter in adapters.adapters.items()
        if part in name
    }


def test_the_first_pattern_that_fits_sets_rank_strength_and_rate(pico):
    blocks = [
        {"pattern": "unet.mid_block.*.attn1.*", "rank": 0},
        {"pattern": "unet.mid_block.*", "rank": 2, "rate": 0.5},
        {"pattern": "*.attn2.*", "alpha": 1.0},
        {"pattern": "text_encoder.*fc1", "rank": 3, "alpha": 6.0},
    ]
    sizes = {"rank": 4, "alpha": 8.0, "conv_rank": 0, "text_rank": 0}
    config = AdapterConfig.model_validate({**sizes, "blocks": blocks})
    adapters = attach_new(load_plain(pico), config, 1, CPU)
    assert not describe(adapters, "mid_block.attentions.0.transformer_blocks.0.attn1")
    middle = describe(adapters, "unet.mid_block")
    assert set(middle.values()) == {(2, 4.0, 0.5)}
    assert any("resnets" in name for name in middle)  # although there is no conv_rank
    assert set(
        describe(adapters, "down_blocks.0.attentions.0.transformer_blocks.0.attn2").values()
    ) == {(4, 1.0, 1.0)}
    assert set(describe(adapters, "text_encoder").values()) == {(3, 6.0, 1.0)}
    assert not describe(adapters, "down_blocks.0.resnets")


def test_rates_reach_the_optimiser(make_run, cache):
    run = make_run('adapter.blocks=[{pattern = "unet.mid_block.*", rate = 0.25}]')
    session = open_session(run, cache)
    rates = {group["part"]: group["full_lr"] for group in session.state.optimizer.param_groups}
    usual = run.config.optimizer
    assert rates["unet x0.25"] == pytest.approx(usual.unet_learning_rate / 4)
    assert rates["conv x0.25"] == pytest.approx(usual.conv_learning_rate / 4)
    assert rates["unet"] == usual.unet_learning_rate
    count = sum(len(group["params"]) for group in session.state.optimizer.param_groups)
    assert count == len(session.adapters.named_parameters())


@pytest.mark.parametrize(("layers", "block"), [("style", 1), ("content", 0)])
def test_sdxl_trains_its_style_or_its_content_block_alone(layers, block, pico_xl):
    adapters = attach_new(load_plain(pico_xl), AdapterConfig(rank=4, layers=layers), 1, CPU)
    assert adapters.adapters
    prefix = f"unet.up_blocks.0.attentions.{block}."
    assert all(name.startswith(prefix) for name in adapters.adapters)


def test_attention_alone_leaves_out_the_rest(pico):
    adapters = attach_new(load_plain(pico), AdapterConfig(layers="attention"), 1, CPU)
    parts = {name.rpartition(".")[2] for name in adapters.adapters}
    assert parts == {"to_q", "to_k", "to_v", "0", "q_proj", "k_proj", "v_proj", "out_proj"}


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"layers": "style"}, r"adapter\.layers is style.*sd15.*only SDXL"),
        ({"rank": 40}, r"The rank 40 is larger than unet\..*16.*at most 16"),
        ({"kind": "dora", "text_rank": 40}, r"The rank 40 is larger than text_encoder\."),
        ({"blocks": [{"pattern": "mid_block", "rank": 2}]}, r"mid_block fits no layer.*unet\."),
        ({"layers": "attention", "blocks": [{"pattern": "*resnets*"}]}, r"fits no layer"),
    ],
)
def test_what_the_base_model_cannot_take_is_told_before_the_start(settings, says, pico):
    config = AdapterConfig.model_validate(settings)
    family = load_plain(pico)
    with pytest.raises(RunError, match=says):
        attach_new(family, config, 1, CPU)
    assert not any(layer._forward_hooks for layer in family.unet.modules())


@pytest.mark.parametrize("kind", ADAPTERS)
def test_a_layer_that_cannot_take_a_kind_is_named_and_can_be_left_out(kind, pico):
    family = load_plain(pico)
    grouped = torch.nn.Conv2d(32, 32, 3, padding=1, groups=2)
    family.unet.mid_block.resnets[0].conv1 = grouped
    name = "unet.mid_block.resnets.0.conv1"
    says = rf"{name} cannot carry adapter.kind = {kind}: .* grouped .*rank 0 in adapter.blocks"
    with pytest.raises(RunError, match=says):
        attach_new(family, AdapterConfig(kind=kind, rank=4), 1, CPU)
    assert not any(layer._forward_hooks for layer in family.unet.modules())
    blocks = [{"pattern": name, "rank": 0}]
    config = AdapterConfig.model_validate({"kind": kind, "rank": 4, "blocks": blocks})
    adapters = attach_new(family, config, 1, CPU).adapters
    assert name not in adapters
    assert "unet.mid_block.resnets.0.conv2" in adapters


@pytest.mark.parametrize("kind", ["lokr", "vera"])
def test_kinds_without_a_largest_rank_take_any(kind, pico):
    sizes = {"rank": 100, "conv_rank": 100, "text_rank": 100}
    adapters = attach_new(load_plain(pico), AdapterConfig(kind=kind, **sizes), 1, CPU)
    assert all(adapter.delta().abs().max() == 0 for adapter in adapters.adapters.values())


def drop(adapters, layer, x, times=400):
    """Returns outputs of one layer's adapter in training, one row each."""
    adapters.train(mode=True)
    torch.manual_seed(0)
    with torch.no_grad():
        frozen = adapters.targets[layer].layer
        return torch.stack([frozen(x) for _ in range(times)])


@pytest.mark.parametrize("kind", ADAPTERS)
def test_dropped_ranks_are_made_up_for_on_average(kind, pico):
    sizes = {"rank": 3, "alpha": 3.0, "text_rank": 0, "conv_rank": 0}
    config = AdapterConfig(kind=kind, rank_dropout=0.5, **sizes)
    adapters = attach_new(load_plain(pico), config, 1, CPU)
    with torch.no_grad():
        for parameter in adapters.named_parameters().values():
            parameter.add_(0.3 * torch.randn(parameter.shape))
    layer = next(name for name in adapters.adapters if "ff.net.2" in name)
    x = torch.randn(3, 64)
    outputs = drop(adapters, layer, x)
    adapters.train(mode=False)
    whole = adapters.targets[layer].layer(x).detach()
    assert outputs.std(dim=0).max() > 0.01
    error = (outputs.mean(dim=0) - whole).norm() / (outputs - whole).norm(
        dim=(1, 2)
    ).mean().clamp_min(1e-6)
    assert error < 0.3


def test_a_module_is_left_out_per_image_as_often_as_asked(pico):
    config = AdapterConfig(rank=4, text_rank=0, conv_rank=0, module_dropout=0.3)
    adapters = attach_new(load_plain(pico), config, 1, CPU)
    with torch.no_grad():
        for parameter in adapters.named_parameters().values():
            parameter.add_(torch.randn(parameter.shape))
    layer = next(name for name in adapters.adapters if "ff.net.2" in name)
    x = torch.randn(1, 64).expand(50, 64)
    outputs = drop(adapters, layer, x, times=40)
    adapters.set_multiplier(0)
    plain = adapters.targets[layer].layer(x[:1]).detach()
    gone = (outputs - plain).abs().amax(dim=-1) < 1e-6
    assert 0 < gone[0].sum() < 50  # per image, not per batch
    assert gone.float().mean().item() == pytest.approx(0.3, abs=0.05)


@pytest.mark.slow
def test_the_estimate_knows_every_kind(settings, pico):
    from trainer.config import layer_config
    from trainer.memory import estimate_memory

    sizes = {}
    for kind in ADAPTERS:
        config = layer_config(settings=settings, assignments=[f"adapter.kind={kind}"])
        sizes[kind] = estimate_memory(config).adapter_bytes
        adapters = attach_new(load_plain(pico), config.adapter, config.train.seed, CPU)
        trained = sum(p.numel() * 4 for p in adapters.named_parameters().values())
        assert sizes[kind] == trained
    assert sizes["vera"] < sizes["lora"] < sizes["loha"]


def test_a_fresh_adalora_is_reset_whatever_it_was():
    adapter = AdaLoRA(torch.nn.Linear(6, 5), 3, 3.0)
    with torch.no_grad():
        adapter.kept.zero_()
        adapter.values.add_(1)
    adapter.reset(torch.Generator().manual_seed(0))
    assert adapter.delta().abs().max() == 0
    assert adapter.kept.sum() == 3
