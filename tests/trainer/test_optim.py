"""Schedules, groups and averages."""

import json

import pytest
import torch
from torch import nn

from trainer.config import SCHEDULES, ConfigError, OptimizerConfig, layer_config, schedule_factor
from trainer.optim import (
    OPTIMIZERS,
    Average,
    Group,
    OptimizerError,
    group_parameters,
    make_optimizer,
    pack_optimizer,
    restore_optimizer,
)

ONE_RATE = {f"{part}_learning_rate": 0.5 for part in ("unet", "conv", "text")}
RATES = {"prodigy": 1.0, "lion": 4e-3, "adafactor": 1e-2}


def config_of(kind, **settings):
    rate = RATES.get(kind, 0.02)
    rates = dict.fromkeys(("unet_learning_rate", "conv_learning_rate", "text_learning_rate"), rate)
    schedule = "constant" if kind == "schedule_free" else "cosine"
    return OptimizerConfig(kind=kind, schedule=schedule, weight_decay=0.0, **rates, **settings)


@pytest.mark.parametrize("kind", list(SCHEDULES))
def test_factors_stay_between_zero_and_one_and_start_at_full(kind):
    config = OptimizerConfig(schedule=kind)
    factors = [schedule_factor(config, step, 100) for step in range(100)]
    assert factors[0] == 1.0
    assert all(0.0 < factor <= 1.0 for factor in factors)
    if kind != "cosine_restarts":
        assert factors == sorted(factors, reverse=True)


def test_warm_up_rises_and_then_the_schedule_begins():
    config = OptimizerConfig(schedule="linear", warmup_steps=4)
    factors = [schedule_factor(config, step, 14) for step in range(14)]
    assert factors[:5] == pytest.approx([0.2, 0.4, 0.6, 0.8, 1.0])
    assert factors[5] == pytest.approx(0.9)
    assert factors[-1] == pytest.approx(0.1)


@pytest.mark.parametrize("cycles", [1, 2, 4])
def test_cosine_equals_torch_and_restarts_where_asked(cycles):
    """The reference is torch's own cosine with warm restarts, whose period is a cycle."""
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=1.0)
    reference = torch.optim.lr_scheduler.CosineAnnealingWarmRestarts(optimizer, T_0=40 // cycles)
    config = OptimizerConfig(
        schedule="cosine_restarts" if cycles > 1 else "cosine", restarts=cycles
    )
    for step in range(40):
        rate = optimizer.param_groups[0]["lr"]
        assert schedule_factor(config, step, 40) == pytest.approx(rate)
        optimizer.step()
        reference.step()


def test_rex_and_stable_decay_equal_their_formulas():
    rex = OptimizerConfig(schedule="rex")
    assert schedule_factor(rex, 50, 100) == pytest.approx(0.5 / 0.75)
    stable = OptimizerConfig(schedule="stable_decay", decay_share=0.2)
    assert schedule_factor(stable, 79, 100) == 1.0
    assert schedule_factor(stable, 85, 100) == pytest.approx(0.5)


def test_each_part_has_its_learning_rate_and_empty_parts_are_left_out():
    weights = {
        ("text", 1.0, "zero"): [nn.Parameter(torch.zeros(2))],
        ("unet", 1.0, "random"): [nn.Parameter(torch.zeros(2))],
    }
    config = OptimizerConfig(unet_learning_rate=0.1, text_learning_rate=0.3)
    groups = group_parameters(config, weights)
    assert [(group.part, group.learning_rate) for group in groups] == [("unet", 0.1), ("text", 0.3)]
    optimizer = make_optimizer(groups, config)
    assert [row["full_lr"] for row in optimizer.param_groups] == [0.1, 0.3]


def test_our_adamw_is_torchs():
    torch.manual_seed(0)
    ours, theirs = (nn.Parameter(torch.ones(5)) for _ in range(2))
    optimizer = make_optimizer([Group("unet", 0.01, [ours])], OptimizerConfig(weight_decay=0.1))
    reference = torch.optim.AdamW([theirs], lr=0.01, weight_decay=0.1)
    for _ in range(5):
        gradient = torch.randn(5)
        ours.grad, theirs.grad = gradient.clone(), gradient.clone()
        optimizer.step()
        reference.step()
    torch.testing.assert_close(ours, theirs)


def test_average_follows_and_swaps_in_and_out():
    weight = nn.Parameter(torch.zeros(3))
    average = Average({"w": weight}, decay=0.5)
    for step in range(1, 60):
        weight.data.fill_(1.0)
        average.update(step)
    assert 0.99 < average.values["w"][0].item() <= 1.0
    weight.data.fill_(7.0)
    with average.swapped_in():
        assert weight[0].item() < 1.001
    assert weight[0].item() == 7.0


def test_lora_plus_gives_the_weights_that_start_at_zero_their_own_rate():
    down, up = nn.Parameter(torch.zeros(2)), nn.Parameter(torch.zeros(3))
    config = OptimizerConfig(unet_learning_rate=0.01, lora_plus_ratio=16)
    weights = {("unet", 1.0, "random"): [down], ("unet", 1.0, "zero"): [up]}
    groups = group_parameters(config, weights)
    assert [(each.part, each.learning_rate) for each in groups] == [
        ("unet", 0.01),
        ("unet B", 0.16),
    ]
    assert groups[1].parameters == [up]


def test_layers_with_a_factor_are_groups_of_their_own():
    rows = [
        (("unet", 0.5, "random"), "unet x0.5", 0.05),
        (("unet", 0.5, "zero"), "unet x0.5 B", 0.2),
        (("unet", 1.0, "random"), "unet", 0.1),
        (("unet", 2.0, "random"), "unet x2", 0.2),
        (("text", 2.0, "zero"), "text x2 B", 0.08),
    ]
    weights = {key: [nn.Parameter(torch.zeros(2))] for key, _, _ in rows}
    config = OptimizerConfig(unet_learning_rate=0.1, text_learning_rate=0.01, lora_plus_ratio=4)
    groups = {group.part: group for group in group_parameters(config, weights)}
    assert list(groups) == ["unet x2", "unet", "unet x0.5", "unet x0.5 B", "text x2 B"]
    for key, name, rate in rows:
        assert groups[name].learning_rate == pytest.approx(rate)
        assert groups[name].parameters is weights[key] or groups[name].parameters == weights[key]


@pytest.mark.parametrize("ratio", [1, 4])
def test_weights_that_must_not_decay_are_apart_with_the_name_and_rate_of_their_part(ratio):
    drawn, zero, steady = (nn.Parameter(torch.zeros(2)) for _ in range(3))
    weights = {
        ("unet", 1.0, "random"): [drawn],
        ("unet", 1.0, "zero"): [zero],
        ("unet", 1.0, "steady"): [steady],
    }
    config = OptimizerConfig(unet_learning_rate=0.01, lora_plus_ratio=ratio, weight_decay=0.3)
    groups = group_parameters(config, weights)
    assert [group.decays for group in groups] == [True] * (len(groups) - 1) + [False]
    assert (groups[-1].part, groups[-1].learning_rate) == ("unet", 0.01)
    assert groups[-1].parameters == [steady]
    decays = [row["weight_decay"] for row in make_optimizer(groups, config).param_groups]
    assert decays == [0.3] * (len(groups) - 1) + [0.0]


@pytest.mark.parametrize("kind", list(OPTIMIZERS))
def test_every_optimiser_decays_what_decays_and_nothing_else(kind):
    """Without a gradient the pull towards zero is all that is left."""
    if kind == "adamw8bit":
        pytest.importorskip("bitsandbytes", reason="this optimiser needs bitsandbytes")
    pulled, steady, busy = (nn.Parameter(torch.ones(64, 128)) for _ in range(3))
    groups = [Group("unet", 0.5, [pulled]), Group("unet", 0.5, [steady], decays=False)]
    groups.append(Group("conv", 0.5, [busy]))  # prodigy rests until it sees a gradient
    config = OptimizerConfig(kind=kind, schedule="constant", weight_decay=0.3, **ONE_RATE)
    optimizer = make_optimizer(groups, config)
    if hasattr(optimizer, "train"):
        optimizer.train()
    for _ in range(40):
        for group in optimizer.param_groups:
            group["lr"] = group["full_lr"]
        for weight in (pulled, steady):
            weight.grad = torch.zeros_like(weight)
        busy.grad = torch.ones_like(busy)
        optimizer.step()
    assert torch.equal(steady, torch.ones(64, 128))
    assert (pulled < 1).all()


def take_steps(weight, optimizer, config, steps, total, target):
    """Minimises the distance to a target, with the schedule of the loop."""
    for step in steps:
        if hasattr(optimizer, "train"):
            optimizer.train()
        for group in optimizer.param_groups:
            group["lr"] = group["full_lr"] * schedule_factor(config, step, total)
        optimizer.zero_grad()
        ((weight - target) ** 2).mean().backward()
        optimizer.step()


def start(kind, shape=(64, 128)):
    weight = nn.Parameter(torch.zeros(shape))
    config = config_of(kind)
    return weight, make_optimizer([Group("unet", RATES.get(kind, 0.02), [weight])], config), config


@pytest.mark.parametrize("kind", list(OPTIMIZERS))
def test_every_optimiser_finds_a_minimum(kind):
    target = torch.full((64, 128), 0.3)
    weight, optimizer, config = start(kind)
    take_steps(weight, optimizer, config, range(400), 400, target)
    if hasattr(optimizer, "eval"):
        optimizer.eval()
    assert (weight - target).abs().max().item() < 0.05


@pytest.mark.parametrize("kind", list(OPTIMIZERS))
def test_a_restored_optimiser_goes_on_exactly(kind):
    target = torch.linspace(-1, 1, 64 * 128).view(64, 128)
    whole, optimizer, config = start(kind)
    take_steps(whole, optimizer, config, range(12), 40, target)
    first, optimizer, config = start(kind)
    take_steps(first, optimizer, config, range(6), 40, target)
    tensors, numbers = pack_optimizer(kind, optimizer, {"w": first})
    saved = {name: value.clone() for name, value in tensors.items()}
    numbers = json.loads(json.dumps(numbers))
    second, optimizer, config = start(kind)
    second.data.copy_(first.data)
    restore_optimizer(optimizer, {"w": second}, saved, numbers)
    take_steps(second, optimizer, config, range(6, 12), 40, target)
    assert torch.equal(whole, second)


def test_memory_of_other_weights_is_refused():
    weight, optimizer, config = start("adamw")
    take_steps(weight, optimizer, config, range(1), 4, torch.ones(64, 128))
    tensors, numbers = pack_optimizer("adamw", optimizer, {"w": weight})
    with pytest.raises(ValueError, match="not trained"):
        restore_optimizer(optimizer, {"other": weight}, tensors, {**numbers, "weights": {}})
    with pytest.raises(ValueError, match="groups"):
        restore_optimizer(optimizer, {"w": weight}, tensors, {"weights": {}, "groups": []})


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        (["optimizer.kind=prodigy"], "give all parts the same one"),
        (
            ["optimizer.kind=prodigy", "optimizer.unet_learning_rate=1e-4",
             "optimizer.conv_learning_rate=1e-4", "optimizer.text_learning_rate=0.0"],
            "set them to 1",
        ),
        (["optimizer.unet_learning_rate=2.0"], "at most 1"),
        (["optimizer.kind=schedule_free"], "set schedule to constant"),
        (
            ["optimizer.kind=schedule_free", "optimizer.schedule=constant",
             "optimizer.ema_decay=0.9"],
            "set ema_decay to 0",
        ),
    ],
)  # fmt: skip
def test_settings_that_contradict_an_optimiser_are_refused(settings, says):
    with pytest.raises(ConfigError, match=says):
        layer_config(assignments=settings)


def test_8_bit_without_its_library_says_what_to_install(monkeypatch):
    monkeypatch.setattr("trainer.optim.optimizers.find_spec", lambda _: None)
    with pytest.raises(OptimizerError, match=r"lorasmith\[quantize\]"):
        start("adamw8bit")
