"""What the app draws before the start is what the optimiser is given."""

import pytest

from trainer.commands import train
from trainer.config import SCHEDULES, plan_rates
from trainer.runs import read_events

STEPS = 7


@pytest.mark.parametrize("schedule", list(SCHEDULES))
def test_curve_is_what_the_optimiser_is_given_at_each_step(schedule, make_run, cache):
    run = make_run(
        f"train.steps={STEPS}",
        "train.log_every_steps=1",
        f"optimizer.schedule={schedule}",
        "optimizer.warmup_steps=2",
        "optimizer.decay_share=0.5",
        "optimizer.unet_learning_rate=3e-4",
        "optimizer.conv_learning_rate=2e-4",
        "optimizer.text_learning_rate=1e-4",
        "optimizer.lora_plus_ratio=4",
        "samples.every_steps=0",
    )
    train(run, cache)
    given = {e["step"]: e["learning_rates"] for e in read_events(run.events_path)
             if e["event"] == "step"}  # fmt: skip
    shown = plan_rates(run.config)
    assert shown.at == tuple(given) == tuple(range(1, STEPS + 1))
    drawn = {
        f"{part} B" if line.ratio != 1 else part: line.rates
        for line in shown.lines
        for part in line.parts
    }
    for index, step in enumerate(shown.at):
        rates = {name: rates[index] for name, rates in drawn.items()}
        assert rates == pytest.approx(given[step])
