"""Rectified flow: its noise, its time steps, its sampler, and what files state about it."""

import json
import math
import re
import shutil

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from tests.trainer.conftest import load_plain
from tests.trainer.test_detection import checkpoint
from trainer.commands import train
from trainer.config import BaseModelConfig, ObjectiveConfig, RunConfig, layer_config
from trainer.diffusion import (
    WEIGHTINGS,
    FlowNoise,
    sample_randomness,
    shift_sigma,
    training_loss,
)
from trainer.diffusion.step import BatchNoise
from trainer.export import ExportFacts, make_metadata
from trainer.export.families import recognise_family
from trainer.files.inspect import inspect_file
from trainer.files.verify import verify_file
from trainer.formats.predictions import PREDICTIONS, read_prediction_type, suggest_prediction
from trainer.models import ModelError, check_base_model, check_config
from trainer.models.family import GenerationRequest
from trainer.models.samplers import list_sigmas, make_scheduler
from trainer.runs import read_events, read_status
from trainer.training.advice import list_warnings
from trainer.training.loop import read_batches, take_step
from trainer.training.session import open_session

CPU = torch.device("cpu")


def column(*values):
    return torch.tensor(values).view(-1, 1, 1, 1)


# --- noise and time steps ------------------------------------------------------------------------


def test_latents_and_noise_are_mixed_on_a_straight_line():
    process = FlowNoise(1.0)
    latents, noise, timesteps = column(8.0, 2.0), column(4.0, -6.0), torch.tensor([250.0, 1000.0])
    # 3/4 * 8 + 1/4 * 4, and at pure noise the noise
    assert process.add_noise(latents, noise, timesteps).flatten().tolist() == [7.0, -6.0]
    assert process.target(latents, noise, timesteps).flatten().tolist() == [-4.0, -8.0]


def test_the_signal_to_noise_ratio_and_the_error_of_the_image():
    process = FlowNoise(1.0)
    snr = process.snr(torch.tensor([250.0, 500.0, 800.0, 1000.0]))
    # (3/4 / 1/4)^2, (1/2 / 1/2)^2, (1/5 / 4/5)^2, 0
    assert snr.tolist() == pytest.approx([9.0, 1.0, 1 / 16, 0.0], rel=1e-5)
    # The image is x - sigma * v: an error of v is 1 / sigma times as large, squared.
    assert process.error_scale(snr).tolist() == pytest.approx([16.0, 4.0, 25 / 16, 1.0], rel=1e-5)


@pytest.mark.parametrize(
    ("weighting", "expected"),
    [
        ("none", [1, 1, 1]),
        ("min_snr", [5 / 16, 1 / 4, 0]),  # min(9, 5) / 16, 1 / 4
        ("soft_min_snr", [45 / 14 / 16, 5 / 6 / 4, 0]),  # 9 * 5 / 14, 1 * 5 / 6
        ("debiased", [3 / 16, 1 / 4, 0]),  # sqrt(9) / 16
    ],
)
def test_weightings_are_those_of_the_images_error(weighting, expected):
    process = FlowNoise(1.0)
    snr = process.snr(torch.tensor([250.0, 500.0, 1000.0]))
    found = WEIGHTINGS[weighting](snr, process.error_scale(snr), 5.0)
    assert found.tolist() == pytest.approx(expected, rel=1e-5)


def test_the_loss_compares_with_the_direction_of_the_line():
    latents, noise = column(8.0, 2.0), column(4.0, -6.0)
    shown = []

    def predict(noisy, timesteps):
        shown.append((noisy.flatten().tolist(), timesteps.tolist()))
        return column(-3.0, -8.0)

    losses = training_loss(
        predict,
        latents,
        BatchNoise(torch.tensor([250.0, 500.0]), noise, noise, noise),
        FlowNoise(1.0),
        ObjectiveConfig(weighting="none"),
    )
    assert shown == [([7.0, -2.0], [250.0, 500.0])]
    assert losses.tolist() == [1.0, 0.0]  # (-3 - -4)^2 and (-8 - -8)^2


def test_the_shift_moves_time_steps_towards_noise():
    sigmas = torch.tensor([0.0, 0.25, 0.5, 1.0])
    # 3 * 1/4 / (1 + 2 * 1/4) = 1/2, 3 * 1/2 / (1 + 1) = 3/4
    assert shift_sigma(sigmas, 3.0).tolist() == pytest.approx([0, 0.5, 0.75, 1])
    assert shift_sigma(sigmas, 1.0).tolist() == sigmas.tolist()


def draw(process, count, **settings):
    objective = ObjectiveConfig(**settings)
    return sample_randomness(range(count), (1, 1, 1), process, objective, CPU).timesteps.numpy()


@pytest.mark.parametrize(
    ("shift", "below"),
    # Uniform sigmas below 1/2 after the shift: before it they are below 1 / (1 + shift).
    [(1.0, 0.5), (3.0, 0.25), (0.5, 2 / 3)],
)
def test_uniform_time_steps_are_shifted(shift, below):
    drawn = draw(FlowNoise(shift), 4000)
    assert 0 < drawn.min() < 5
    assert 995 < drawn.max() <= 1000
    assert (drawn <= 500).mean() == pytest.approx(below, abs=0.025)


def test_time_steps_stay_in_the_bounds_of_the_objective():
    drawn = draw(FlowNoise(3.0), 2000, min_timestep=200, max_timestep=599)
    assert drawn.min() > 200
    assert drawn.max() <= 600
    # The same share as above, of the bounds.
    assert (drawn <= 400).mean() == pytest.approx(0.25, abs=0.03)


def test_a_shift_of_logit_normal_time_steps_adds_its_logarithm():
    one = draw(FlowNoise(math.e), 50, timesteps="logit_normal")
    other = draw(FlowNoise(1.0), 50, timesteps="logit_normal", timestep_shift=1.0)
    np.testing.assert_allclose(one, other, rtol=1e-5)
    normal = torch.randn((), generator=torch.Generator().manual_seed(7)).item()
    assert other[7] == pytest.approx(1000 / (1 + math.exp(-normal - 1)), rel=1e-5)


# --- the base model ------------------------------------------------------------------------------


def make_flow(model, folder, **scheduler):
    """Copies a model and gives it the scheduler of rectified flow."""
    shutil.copytree(model, folder)
    config = {"_class_name": "FlowMatchEulerDiscreteScheduler", "shift": 2.0, **scheduler}
    (folder / "scheduler" / "scheduler_config.json").write_text(json.dumps(config))
    return folder


@pytest.fixture
def flow(pico, tmp_path):
    return make_flow(pico, tmp_path / "flow")


@pytest.mark.parametrize(
    ("scheduler", "shift"),
    [
        ({"_class_name": "FlowMatchEulerDiscreteScheduler", "shift": 2.0}, 2.0),
        ({"_class_name": "UniPCMultistepScheduler", "use_flow_sigmas": True}, 1.0),
        ({"_class_name": "EulerDiscreteScheduler", "prediction_type": "flow_prediction"}, 1.0),
    ],
)
def test_a_folder_of_rectified_flow_is_known_by_its_scheduler(pico, tmp_path, scheduler, shift):
    model = shutil.copytree(pico, tmp_path / "model")
    (model / "scheduler" / "scheduler_config.json").write_text(json.dumps(scheduler))
    info = check_base_model(model)
    assert (info.prediction, info.recorded, info.certain) == ("flow", "flow", True)
    assert (info.flow_shift, info.zero_snr) == (shift, False)
    config = BaseModelConfig(path=str(model), flow_shift=2.5)
    assert check_config(config).flow_shift == 2.5


@pytest.mark.parametrize("stated", ["rectified_flow", "flow", "RF", "flow_matching"])
def test_a_header_that_states_rectified_flow_is_believed(tmp_path, stated):
    path = tmp_path / "m.safetensors"
    save_file(checkpoint("sdxl"), path, {"modelspec.prediction_type": stated})
    info = check_base_model(path)
    assert (info.prediction, info.certain, info.question) == ("flow", True, "")
    assert info.flow_shift == 3.0


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("ChenkinNoob-XL-V0.2-RF", "flow"),
        ("bigaspV25_v25", "flow"),
        ("bigASP_2.5", "flow"),
        ("sdxl-rectified-flow", "flow"),
        ("noob_v-pred_1", "v_prediction"),
        ("fluffVPred", "v_prediction"),
        ("perfect", ""),
        ("surfer", ""),
        ("bigasp_v20", ""),
        ("sdxl", ""),
    ],
)
def test_names_are_hints(tmp_path, name, expected):
    assert suggest_prediction(name) == expected
    path = tmp_path / f"{name}.safetensors"
    save_file(checkpoint("sdxl"), path)
    info = check_base_model(path)
    assert (info.prediction, info.recorded) == (expected or "epsilon", "")
    assert not info.certain
    assert bool(info.question) is bool(expected)


def test_a_name_that_speaks_against_the_header_leaves_the_question_open(tmp_path):
    path = tmp_path / "noob-vpred.safetensors"
    save_file(checkpoint("sdxl"), path, {"modelspec.prediction_type": "epsilon"})
    info = check_base_model(path)
    assert (info.prediction, info.recorded, info.certain) == ("epsilon", "epsilon", False)
    assert "records that it predicts the noise, and its name suggests otherwise" in info.question


def test_a_title_is_a_hint_too(tmp_path):
    path = tmp_path / "m.safetensors"
    save_file(checkpoint("sdxl"), path, {"modelspec.title": "Some model v-pred"})
    info = check_base_model(path)
    assert (info.prediction, info.certain) == ("v_prediction", False)


def test_every_kind_is_read_back_from_how_it_is_stated():
    for name, spec in PREDICTIONS.items():
        assert read_prediction_type(spec.stated) == read_prediction_type(name) == name
    assert read_prediction_type("sample") == read_prediction_type("") == ""


@pytest.mark.parametrize(
    ("family", "metadata", "on"),
    [
        ("sdxl", {}, True),
        ("sd15", {}, True),
        ("sd2", {}, False),  # SD 2.1 was not trained so
        ("sdxl", {"modelspec.prediction_type": "v"}, False),  # the file speaks for itself
    ],
)
def test_v_as_an_answer_brings_zero_snr_with_the_reason(tmp_path, family, metadata, on):
    path = tmp_path / "m.safetensors"
    save_file(checkpoint(family), path, metadata)
    info = check_config(BaseModelConfig(path=str(path), prediction="v_prediction"))
    assert info.zero_snr is on
    assert [("zero terminal SNR" in note) for note in info.notes] == ([True] if on else [])
    assert list_warnings(RunConfig(), info) == list(info.notes)
    off = BaseModelConfig(path=str(path), prediction="v_prediction", zero_snr="off")
    assert (check_config(off).zero_snr, check_config(off).notes) == (False, ())


def test_zero_snr_is_refused_where_it_means_nothing(flow, pico):
    with pytest.raises(ModelError, match="ends in pure noise without it"):
        check_config(BaseModelConfig(path=str(flow), zero_snr="on"))
    with pytest.raises(ModelError, match="predicts the noise, which is undefined"):
        check_config(BaseModelConfig(path=str(pico), zero_snr="on"))


@pytest.mark.parametrize(
    ("prediction", "changes", "expected"),
    [
        ("flow", (), ["objective.weighting = min_snr"]),
        ("flow", ("objective.weighting=none",), []),
        (
            "flow",
            ("objective.weighting=none", "objective.noise_offset=0.05"),
            ["objective.noise_offset = 0.05 is a remedy .* rectified flow"],
        ),
        (
            "v_prediction",
            (
                "objective.noise_offset=0.05",
                "objective.pyramid_noise=0.3",
                "base_model.zero_snr=on",
            ),
            ["noise_offset = 0.05 and objective.pyramid_noise = 0.3 is .* zero terminal SNR"],
        ),
        ("v_prediction", ("objective.noise_offset=0.05", "base_model.zero_snr=off"), []),
        ("epsilon", ("objective.noise_offset=0.05",), []),
    ],
)
def test_settings_that_do_not_suit_are_reported(pico, prediction, changes, expected):
    base = (f'base_model.path="{pico}"', f"base_model.prediction={prediction}")
    config = layer_config(assignments=(*base, *changes))
    found = list_warnings(config, check_config(config.base_model))
    assert len(found) == len(expected)
    for message, pattern in zip(found, expected, strict=True):
        assert re.search(pattern, message)


# --- the sampler ---------------------------------------------------------------------------------


def test_the_sampler_walks_down_the_shifted_line(flow):
    info = check_config(BaseModelConfig(path=str(flow), flow_shift=3.0))
    scheduler = make_scheduler(info)
    scheduler.set_timesteps(**list_sigmas(info, 4))
    # 1, 3/4, 1/2, 1/4 become 1, 9/10, 3/4, 1/2.
    assert scheduler.timesteps.tolist() == pytest.approx([1000, 900, 750, 500])
    generator = torch.Generator().manual_seed(0)
    image, latents = (torch.randn(1, 4, 8, 8, generator=generator) for _ in range(2))
    noise = latents.clone()
    for step in scheduler.timesteps:
        # A model that knows one image predicts the line to it from wherever it is.
        share = step / 1000
        direction = (latents - image) / share
        torch.testing.assert_close(latents, (1 - share) * image + share * noise)
        latents = scheduler.step(direction, step, latents, return_dict=False)[0]
    torch.testing.assert_close(latents, image)


def test_other_models_have_the_sampler_that_they_had(pico, pico_v):
    for model in (pico, pico_v):
        info = check_base_model(model)
        assert list_sigmas(info, 4) == {}
        assert type(make_scheduler(info)).__name__ == "DDIMScheduler"


@pytest.mark.parametrize("kind", ["pico", "pico_xl"])
def test_images_are_generated_with_the_pipelines_of_each_family(kind, request, tmp_path):
    family = load_plain(make_flow(request.getfixturevalue(kind), tmp_path / "flow"))
    shown = []
    family.unet.register_forward_pre_hook(lambda _module, inputs: shown.append(float(inputs[1])))
    image = family.generate(GenerationRequest("x", "", 3, 4, 7.5, 32, 32))
    assert image.size == (32, 32)
    # Shifted by 2: 2 s / (1 + s) of 1, 3/4, 1/2, 1/4.
    assert shown == pytest.approx([1000, 6000 / 7, 2000 / 3, 400])
    assert family.sampler == "Euler"


# --- a run ---------------------------------------------------------------------------------------


def test_a_run_on_rectified_flow_states_it_everywhere(make_run, cache, flow):
    run = make_run(
        f'base_model.path="{flow}"', "samples.every_steps=4", "output.precision=fp32",
        "objective.noise_offset=0.05",
    )  # fmt: skip
    train(run, cache)
    assert read_status(run.path).state == "finished"
    file = run.path / "pico.safetensors"
    found = inspect_file(file)
    assert found.prediction == "flow"
    assert not [each for each in verify_file(file) if each.severity == "error"]
    warnings = [e["message"] for e in read_events(run.events_path) if e["event"] == "warning"]
    assert [text.split(" ")[0] for text in warnings] == [
        "objective.noise_offset",
        "objective.weighting",
    ]
    sample = Image.open(next((run.samples_path / "step-000004").glob("*.png")))
    assert "Sampler: Euler" in sample.text["parameters"]


@pytest.mark.slow
def test_a_run_on_rectified_flow_learns(make_run, cache, flow):
    """The loss of the same noise falls, which it would not with another target."""
    run = make_run(
        f'base_model.path="{flow}"', "objective.weighting=none", "optimizer.schedule=constant",
        "optimizer.unet_learning_rate=0.005", "train.steps=60",
    )  # fmt: skip
    session = open_session(run, cache)
    assert session.noise == FlowNoise(2.0)
    session.state.start_learning()
    stream = read_batches(session)
    losses = [take_step(session, stream).item() for _ in range(60)]
    assert sum(losses[-20:]) < 0.95 * sum(losses[:20])


def test_the_header_of_a_file_for_rectified_flow():
    facts = {
        "family": "sdxl", "prediction": "flow", "base_model_name": "b", "captions": ["a"],
        "resolution": 1024, "buckets": {(1024, 1024): 1}, "step": 1, "started": 1.0,
    }  # fmt: skip
    found = make_metadata(RunConfig(), ExportFacts(**facts, flow_shift=3.0))
    assert found["modelspec.prediction_type"] == "rectified_flow"
    assert found["modelspec.architecture"] == "stable-diffusion-xl-v1-base/lora"
    assert found["ss_base_model_version"] == "sdxl_base_v1-0"
    assert found["ss_discrete_flow_shift"] == "3"
    assert recognise_family(found) == ("sdxl", "flow")
    plain = make_metadata(RunConfig(), ExportFacts(**facts | {"prediction": "epsilon"}))
    assert "ss_discrete_flow_shift" not in plain


def test_a_header_of_sd_1_or_2_with_rectified_flow_is_read_back():
    for version, family in (("sd_v1", "sd15"), ("sd_v2", "sd2")):
        stated = {"ss_base_model_version": version, "modelspec.prediction_type": "rectified_flow"}
        assert recognise_family(stated) == (family, "flow")
