"""Learning rates, decay and running averages against numbers worked out by hand."""

import pytest
import torch
from torch import nn

from trainer.config import SCHEDULES, OptimizerConfig, schedule_factor
from trainer.optim import Average, group_parameters, make_optimizer

FACTORS = [
    # schedule, its settings, update, updates of the run, factor
    ("constant", {}, 7, 10, 1.0),
    ("linear", {}, 0, 10, 1.0),
    ("linear", {}, 3, 10, 0.7),
    ("linear", {}, 9, 10, 0.1),
    ("cosine", {}, 1, 4, 0.8535534),  # (1 + cos 45°) / 2
    ("cosine", {}, 1, 3, 0.75),  # (1 + cos 60°) / 2
    ("cosine", {}, 2, 3, 0.25),  # (1 + cos 120°) / 2
    ("cosine_restarts", {"restarts": 2}, 4, 12, 0.25),  # 2/3 of the first half
    ("cosine_restarts", {"restarts": 2}, 6, 12, 1.0),
    ("cosine_restarts", {"restarts": 3}, 10, 12, 0.5),  # half of the last third
    ("rex", {}, 5, 10, 2 / 3),  # (1 - 1/2) / (1 - 1/4)
    ("rex", {}, 8, 10, 1 / 3),  # (1 - 4/5) / (1 - 2/5)
    ("stable_decay", {"decay_share": 0.4}, 59, 100, 1.0),
    ("stable_decay", {"decay_share": 0.4}, 70, 100, 0.5),  # 1 - sqrt(10 / 40)
    ("stable_decay", {"decay_share": 0.5}, 68, 100, 0.4),  # 1 - sqrt(18 / 50)
    # Four updates of warm-up: fifths of the full rate, then the schedule over the other ten.
    ("linear", {"warmup_steps": 4}, 0, 14, 0.2),
    ("linear", {"warmup_steps": 4}, 3, 14, 0.8),
    ("linear", {"warmup_steps": 4}, 4, 14, 1.0),
    ("linear", {"warmup_steps": 4}, 11, 14, 0.3),
    ("linear", {"warmup_steps": 4}, 20, 14, 0.0),  # a run that goes on beyond its end
]


@pytest.mark.parametrize(("schedule", "settings", "step", "steps", "expected"), FACTORS)
def test_the_factor_on_the_learning_rates(schedule, settings, step, steps, expected):
    config = OptimizerConfig(schedule=schedule, **settings)
    assert schedule_factor(config, step, steps) == pytest.approx(expected, rel=1e-6, abs=1e-12)


def test_every_schedule_is_in_the_table():
    assert {row[0] for row in FACTORS} == set(SCHEDULES)


def test_lora_plus_and_factors_of_layers_multiply_and_steady_weights_keep_their_rate():
    keys = [
        ("unet", 1.0, "random"), ("unet", 1.0, "zero"), ("unet", 0.5, "random"),
        ("unet", 0.5, "zero"), ("unet", 0.5, "steady"), ("conv", 1.0, "zero"),
        ("text", 2.0, "random"), ("word", 1.0, "steady"),
    ]  # fmt: skip
    weights = {key: [nn.Parameter(torch.zeros(1))] for key in keys}
    config = OptimizerConfig(
        unet_learning_rate=1e-4, conv_learning_rate=3e-4, text_learning_rate=5e-5,
        word_learning_rate=7e-4, lora_plus_ratio=16, weight_decay=0.02,
    )  # fmt: skip
    optimizer = make_optimizer(group_parameters(config, weights), config)
    found = {
        group["params"][0]: (group["full_lr"], group["weight_decay"])
        for group in optimizer.param_groups
    }
    expected = [
        (1e-4, 0.02), (16e-4, 0.02), (5e-5, 0.02),
        (8e-4, 0.02), (5e-5, 0.0), (48e-4, 0.02),
        (1e-4, 0.02), (7e-4, 0.0),
    ]  # fmt: skip
    for key, (rate, decay) in zip(keys, expected, strict=True):
        assert found[weights[key][0]] == (pytest.approx(rate), decay), key


@pytest.mark.parametrize(
    ("decay", "expected"),
    [
        # The first updates have the shares 2 / 11 and 3 / 12 of the former average.
        (0.99, [9 / 11, 9 / 11 * 3 / 12 + 9 / 12 * 3]),
        (0.2, [9 / 11, 9 / 11 * 0.2 + 0.8 * 3]),
        (0.1, [0.9, 0.9 * 0.1 + 0.9 * 3]),
    ],
)
def test_the_running_average_follows_faster_at_first(decay, expected):
    weight = nn.Parameter(torch.zeros(1))
    average = Average({"w": weight}, decay)
    for step, (value, found) in enumerate(zip([1.0, 3.0], expected, strict=True), start=1):
        weight.data.fill_(value)
        average.update(step)
        assert average.values["w"].item() == pytest.approx(found, rel=1e-6)
