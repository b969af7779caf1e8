"""The learning rates over the run, drawn before it starts."""

import json
import re
from xml.etree import ElementTree

import pytest

from app.train import rates
from app.train.rates import RATE_SETTINGS, VIEWS, make_rates, plot_rates
from app.train.settings import FORM
from app.ui.plots import WIDTH
from trainer.config import (
    SCHEDULES,
    AdapterConfig,
    layer_config,
    list_parts,
    plan_rates,
    schedule_factor,
)


def configure(steps=200, adapter=None, **optimizer):
    settings = {"train": {"steps": steps}, "optimizer": optimizer, "adapter": adapter or {}}
    return layer_config(settings=settings)


def values_of(config):
    values = FORM.to_values(config)
    return {path: values[path] for path in RATE_SETTINGS}


def show(workspace, values):
    """What the fragment shows for the values that the page shares with it."""
    return VIEWS["rates"].render(workspace, {"rates": json.dumps(values)})


def read_lines(svg):
    """The points of each line, first line first, as steps' shares of the run and heights."""
    found = []
    for line in reversed(list(ElementTree.fromstring(svg).iter("polyline"))):
        pairs = [pair.split(",") for pair in line.get("points").split()]
        found.append([(float(x) / WIDTH, 1 - float(y) / rates._HEIGHT) for x, y in pairs])
    return found


@pytest.mark.parametrize("warmup", [0, 1, 37])
@pytest.mark.parametrize("schedule", list(SCHEDULES))
def test_every_point_is_what_the_schedule_says(schedule, warmup):
    config = configure(schedule=schedule, warmup_steps=warmup, unet_learning_rate=3e-4)
    shown = plan_rates(config)
    assert shown.at == tuple(range(1, 201))  # a short run is drawn step for step
    assert shown.lines[0].parts == ("unet",)
    wanted = [3e-4 * schedule_factor(config.optimizer, step - 1, 200) for step in shown.at]
    assert shown.lines[0].rates == pytest.approx(wanted)


@pytest.mark.parametrize("schedule", list(SCHEDULES))
def test_picture_has_the_points_of_the_schedule(schedule):
    config = configure(schedule=schedule, warmup_steps=20, text_learning_rate=1e-4)
    joined, text = read_lines(plot_rates(plan_rates(config)))
    for step in (1, 20, 21, 100, 161, 199, 200):
        factor = schedule_factor(config.optimizer, step - 1, 200)
        x, y = joined[step - 1]
        assert (x, y) == pytest.approx(((step - 1) / 199, factor), abs=2e-3)
        assert text[step - 1][1] == pytest.approx(factor / 2, abs=2e-3)


@pytest.mark.parametrize("restarts", [2, 7, 100])
def test_long_run_shows_each_restart_at_its_step_in_few_points(restarts):
    config = configure(
        steps=300_000, schedule="cosine_restarts", restarts=restarts, warmup_steps=1000
    )
    shown = plan_rates(config)
    rates = dict(zip(shown.at, shown.lines[0].rates, strict=True))
    factors = {s: schedule_factor(config.optimizer, s - 1, 300_000) for s in range(1, 300_001)}
    jumps = [s for s in range(1002, 300_001) if factors[s] > factors[s - 1] + 0.5]
    assert len(jumps) == restarts - 1
    for jump in jumps:
        assert rates[jump] == pytest.approx(2e-4 * factors[jump])
        assert rates[jump - 1] == pytest.approx(2e-4 * factors[jump - 1])
    assert len(shown.at) < 1500
    assert (shown.at[0], shown.at[-1]) == (1, 300_000)


def test_equal_rates_share_a_line_and_lora_plus_adds_dashed_ones():
    config = configure(lora_plus_ratio=4.0, text_learning_rate=5e-5)
    shown = plan_rates(config)
    assert [(line.parts, line.ratio) for line in shown.lines] == [
        (("unet", "conv"), 1), (("unet", "conv"), 4), (("text",), 1), (("text",), 4),
    ]  # fmt: skip
    assert shown.lines[1].rates == pytest.approx([4 * rate for rate in shown.lines[0].rates])
    picture = ElementTree.fromstring(plot_rates(shown))
    dashed = [bool(line.get("stroke-dasharray")) for line in picture.iter("polyline")]
    assert dashed == [True, False, True, False]
    markup = make_rates(config)
    assert "UNet and convolutions: 2e-4" in markup
    assert "weights that start at zero (LoRA+ × 4): 8e-4" in markup


def test_embedding_has_a_line_but_no_faster_weights(workspace):
    adapter = {"word_vectors": 2, "conv_rank": 0}
    equal = {f"{part}_learning_rate": 1e-4 for part in ("unet", "text", "word")}
    config = layer_config(
        settings={
            "dataset": {"trigger": "zorp"},
            "adapter": adapter,
            "optimizer": {"lora_plus_ratio": 4.0, **equal},
        }
    )
    assert [(line.parts, line.ratio) for line in plan_rates(config).lines] == [
        (("unet", "text", "word"), 1),
        (("unet", "text"), 4),
    ]
    drawn = show(workspace, values_of(config))
    assert "UNet, text encoders and textual-inversion embedding: 1e-4" in drawn


@pytest.mark.parametrize(
    ("adapter", "parts"),
    [
        ({}, ["unet", "conv", "text"]),
        ({"conv_rank": 0, "text_rank": 0}, ["unet"]),
        ({"layers": "attention"}, ["unet", "text"]),
        ({"layers": "style"}, ["unet"]),
        ({"word_vectors": 2}, ["unet", "conv", "text", "word"]),
        ({"text_rank": 0, "blocks": [{"pattern": "text*", "rank": 4}]}, ["unet", "conv", "text"]),
        ({"text_rank": 0, "blocks": [{"pattern": "unet.*", "rank": 4}]}, ["unet", "conv"]),
        ({"conv_rank": 0, "text_rank": 0, "start_from": "a.safetensors"}, ["unet", "conv", "text"]),
    ],
)  # fmt: skip
def test_only_what_is_trained_has_a_line(adapter, parts):
    assert list_parts(AdapterConfig(**adapter)) == parts


def test_picture_has_axes_a_title_and_words_for_a_screen_reader():
    picture = ElementTree.fromstring(plot_rates(plan_rates(configure(warmup_steps=9))))
    title = picture.find("title").text
    assert title.startswith("Learning rate over the run of 200 steps. UNet and convolutions: 2e-4")
    assert "it starts at 2e-5, is at most 2e-4" in title
    told = [text.text for text in picture.iter("text")]
    assert {"learning rate", "step", "0", "1e-4", "2e-4", "1", "100", "200"} <= set(told)


def test_optimisers_that_find_or_hold_the_rate_say_so():
    ones = {f"{part}_learning_rate": 1.0 for part in ("unet", "conv", "text")}
    found = make_rates(configure(kind="prodigy", **ones))
    assert rates.FINDS_RATE in found
    assert ">factor<" in found
    held = make_rates(configure(kind="schedule_free", schedule="constant"))
    assert rates.HOLDS_RATE in held
    assert rates.FINDS_RATE not in held


def test_other_rates_of_some_layers_are_told():
    rows = {"blocks": [{"pattern": "unet.mid_block.*", "rate": 0.5}]}
    assert "multiplied by 0.5." in make_rates(configure(adapter=rows))


@pytest.mark.parametrize("steps", [1, 2, 3])
def test_shortest_runs_and_rates_of_zero_are_drawn(steps):
    zero = {f"{part}_learning_rate": 0.0 for part in ("unet", "conv", "text")}
    for config in (configure(steps=steps), configure(steps=steps, **zero)):
        for line in read_lines(plot_rates(plan_rates(config))):
            assert len(line) == max(steps, 2)
            assert all(0 <= share <= 1 for point in line for share in point)


def test_curve_follows_the_form_and_names_what_keeps_it_from_being_drawn(workspace):
    drawn = show(workspace, values_of(configure(schedule="rex", lora_plus_ratio=2.0)))
    assert 'data-state="drawn"' in drawn
    assert "LoRA+ × 2" in drawn
    values = values_of(configure()) | {"optimizer.kind": "prodigy"}
    assert "give all parts the same one" in show(workspace, values)
    for half in (None, "", -1, "1e"):
        refused = show(workspace, values_of(configure()) | {"optimizer.warmup_steps": half})
        assert re.search(r"No curve.*optimizer\.warmup_steps", refused), half
        assert "<svg" not in refused


@pytest.mark.parametrize("sent", [None, "", "{", "[]", "7", "{}", '{"secret": 1}', "[" * 9999])
def test_what_is_no_table_of_settings_draws_nothing(workspace, sent):
    assert VIEWS["rates"].render(workspace, {} if sent is None else {"rates": sent}) == ""
