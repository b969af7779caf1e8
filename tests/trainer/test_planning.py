"""The plan of a run's memory: the fastest that fits, never against what a person has set."""

import json

import pytest
import torch

from app.cli import main
from trainer.commands import estimate_run, train
from trainer.commands.training import _plan_memory
from trainer.config import change_settings, layer_config
from trainer.memory import (
    estimate,
    estimate_memory,
    explain_plan,
    fitting,
    plan_memory,
    warn_of_shortage,
)
from trainer.memory.planning import ROWS, list_rows
from trainer.runs import read_events, save_config
from trainer.training.sources import scan_datasets

LARGE = (
    "train.batch_size=4",
    "dataset.resolution=256",
    "dataset.max_upscale=8",
    "base_model.precision=bf16",
)


@pytest.fixture(scope="module", autouse=True)
def simulated_once():
    """The tests share what was simulated: every one looks at the same runs, in other folders."""
    known, real = {}, estimate.simulate

    def look_up(info, config, examples, device):
        content = config.model_dump()
        del content["dataset"]["path"], content["name"], content["base_model"]["path"]
        key = (str(content), str(info.path), len(examples), device)
        if key not in known:
            known[key] = real(info, config, examples, device)
        return known[key]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(estimate, "simulate", look_up)
        yield


@pytest.fixture
def simulate(settings):
    """Returns a function from assignments to the estimate on a GPU."""

    def run(*assignments, device="cuda"):
        config = layer_config(settings=settings, assignments=[*LARGE, *assignments])
        return estimate_memory(config, device=device)

    return run


@pytest.fixture
def gpu(monkeypatch):
    """Has the device kind cuda be there, with some free memory; nothing is computed on it."""

    def set_free(size):
        monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
        monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda: True)
        monkeypatch.setattr(fitting, "read_free_bytes", lambda *_: size)

    return set_free


def find_rows(plain):
    return [next(iter(row.settings)).partition(".")[2] for row in list_rows(plain)]


def test_the_plan_is_the_first_row_that_fits(simulate):
    plain = simulate()
    config, configs, totals = plain.config, [], []
    for row in list_rows(plain):
        config = change_settings(config, row.settings)
        configs.append(config)
        totals.append(estimate_memory(config, plain.models, "cuda", plain.examples).total_bytes)
    assert len(totals) == 8
    # Each row takes less than those before it.
    assert [plain.total_bytes, *totals] == sorted([plain.total_bytes, *totals], reverse=True)
    for free in {plain.total_bytes - 1, *totals}:
        plan = plan_memory(plain, free)
        first = next(each for each, total in zip(configs, totals, strict=True) if total <= free)
        assert plan.fits
        assert plan.estimate.config == first
        assert change_settings(plain.config, plan.settings) == first
        assert plan.costs


def test_where_it_fits_nothing_is_set(simulate):
    plain = simulate()
    plan = plan_memory(plain, plain.total_bytes)
    assert (plan.fits, dict(plan.settings), plan.estimate) == (True, {}, plain)
    assert explain_plan(plan) == warn_of_shortage(plan) == ""


@pytest.mark.slow
def test_where_nothing_fits_the_leanest_is_taken_and_warned_of(simulate):
    plan = plan_memory(simulate(), 1)
    assert not plan.fits
    assert plan.settings["base_model.offload_fraction"] == 1.0
    assert "0 MB are free" in warn_of_shortage(plan)


@pytest.mark.parametrize(
    ("assignments", "left_out"),
    [
        (["train.gradient_checkpointing=true"], {"gradient_checkpointing"}),
        (["train.memory=exact"], {"quantize"}),
        *(
            pytest.param(*each, marks=pytest.mark.slow)
            for each in (
                (["train.recompute=activations"], {"recompute"}),
                (["train.micro_batch=2"], {"micro_batch"}),
                (["base_model.quantize=int8"], {"quantize"}),
                (["base_model.quantize=nf4"], {"quantize", "offload_fraction"}),
                (["base_model.offload_fraction=0.2"], {"offload_fraction"}),
            )
        ),
    ],
)
def test_what_a_person_has_set_stays(assignments, left_out, simulate):
    if "base_model.quantize=nf4" in assignments:
        pytest.importorskip("bitsandbytes", reason="this setting needs bitsandbytes")
    every = {next(iter(row.settings)).partition(".")[2] for row in ROWS}
    given = simulate(*assignments)
    assert every - set(find_rows(given)) == left_out
    plan = plan_memory(given, 1)
    assert not {path.partition(".")[2] for path in plan.settings} & (left_out - {"memory"})


def test_off_and_devices_that_share_their_memory(simulate):
    assert find_rows(simulate("train.memory=off")) == []
    assert find_rows(simulate(device="cpu")) == []
    on_a_mac = list_rows(simulate("base_model.precision=fp32", device="mps"))
    values = [value for row in on_a_mac for value in row.settings.values()]
    assert "int8" in values
    assert not {"fp8", "base_model.offload_fraction"} & {*values, *on_a_mac[-1].settings}


def test_a_start_keeps_its_plan_and_says_why(make_run, gpu, simulate):
    run = make_run(*LARGE, "train.device=cuda")
    middle = plan_memory(simulate(), 1).estimate.total_bytes
    gpu((simulate().total_bytes + middle) // 2)
    _plan_memory(run, scan_datasets(run.config))
    (event,) = [e for e in read_events(run.events_path) if e["event"] == "memory"]
    assert event["settings"]
    assert event["planned_bytes"] <= event["free_bytes"] < event["needed_bytes"]
    for path, value in event["settings"].items():
        section, name = path.split(".")
        assert getattr(getattr(run.config, section), name) == value
        assert f"{path} = {str(value).lower()}" in event["message"]
    assert run.config.train.memory == "off"
    # Another start before the first checkpoint finds its plan and makes no other.
    before = run.config
    gpu(1)
    _plan_memory(run, scan_datasets(run.config))
    assert run.config == before
    events = [each["event"] for each in read_events(run.events_path)]
    assert events.count("memory") == 1
    assert events[-1] == "warning"


def test_a_resumed_run_goes_on_as_it_was(make_run, cache, gpu):
    run = make_run("train.steps=2")
    assert train(run, cache) == "finished"
    save_config(run, change_settings(run.config, {"train.device": "cuda"}))
    before = run.config
    gpu(1)
    _plan_memory(run, scan_datasets(before))
    assert run.config == before
    assert not [e for e in read_events(run.events_path) if e["event"] == "memory"]


def test_an_estimate_shows_the_plan(settings, simulate, tmp_path, capsys):
    config = layer_config(settings=settings, assignments=LARGE)
    free = plan_memory(simulate(), 1).estimate.total_bytes
    report = estimate_run(config, tmp_path, "cuda", free)
    assert report.fits
    assert report.changes == []
    assert "base_model.offload_fraction = 1.0" in report.to_text()
    assert report.to_dict()["plan"]["settings"]["base_model.quantize"] == "fp8"
    report = estimate_run(config, tmp_path, "cuda", free - 1)
    assert not report.fits
    assert report.to_dict()["plan"] is None
    # The plan's settings come first; what else there is builds on them.
    first = report.to_dict()["suggestions"][0]
    assert first["settings"]["base_model.offload_fraction"] == 1.0


def test_the_command_takes_gigabytes(settings, tmp_path, capsys):
    words = ["--base-model", settings["base_model"]["path"], "--device", "cuda"]
    words += ["--set", "dataset.resolution=64", "--json", "--workspace", str(tmp_path)]
    codes = [main(["estimate", *words, "--memory", size]) for size in ("8GB", "8", "0.00001 GB")]
    assert codes == [0, 0, 1]
    answers = capsys.readouterr().out
    assert json.loads(answers[: answers.index("\n}") + 2])["free_bytes"] == 8_000_000_000
