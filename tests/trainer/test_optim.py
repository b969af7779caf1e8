"""Schedules, groups and averages."""

import pytest
import torch
from torch import nn

from trainer.config import OptimizerConfig
from trainer.optim import (
    SCHEDULES,
    Average,
    Group,
    group_parameters,
    make_optimizer,
    schedule_factor,
)


@pytest.mark.parametrize("kind", list(SCHEDULES))
def test_factors_stay_between_zero_and_one_and_start_at_full(kind):
    factors = [schedule_factor(kind, step, 100, 0) for step in range(100)]
    assert factors[0] == 1.0
    assert all(0.0 < factor <= 1.0 for factor in factors)
    assert factors == sorted(factors, reverse=True)


def test_warm_up_rises_and_then_the_schedule_begins():
    factors = [schedule_factor("linear", step, 14, 4) for step in range(14)]
    assert factors[:5] == pytest.approx([0.2, 0.4, 0.6, 0.8, 1.0])
    assert factors[5] == pytest.approx(0.9)
    assert factors[-1] == pytest.approx(0.1)


def test_cosine_equals_torch():
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=1.0)
    reference = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=20)
    for step in range(20):
        assert schedule_factor("cosine", step, 20, 0) == pytest.approx(
            optimizer.param_groups[0]["lr"]
        )
        optimizer.step()
        reference.step()


def test_each_part_has_its_learning_rate_and_empty_parts_are_left_out():
    weights = {
        "unet": [nn.Parameter(torch.zeros(2))],
        "conv": [],
        "text": [nn.Parameter(torch.zeros(2))],
    }
    config = OptimizerConfig(unet_learning_rate=0.1, text_learning_rate=0.3)
    groups = group_parameters(config, lambda part: weights[part])
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
