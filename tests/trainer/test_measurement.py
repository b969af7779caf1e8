"""What a base model predicts, measured: the regression, the starter model, and a run."""

import json
import math
import shutil

import pytest
import torch
from safetensors.torch import save_file

from benchmarks.prediction_variants import (
    bake_random_lora,
    convert_answers,
    copy_weights,
    fine_tune,
    perturb_weights,
)
from tests.trainer.conftest import STARTER, load_plain, write_images
from trainer.commands import train
from trainer.commands.measuring import is_base_model, measure_model
from trainer.config import BaseModelConfig
from trainer.device import open_device_context
from trainer.diffusion import NoiseSchedule
from trainer.diffusion.measurement import Evidence, Measurement, measure_prediction
from trainer.models import check_config
from trainer.runs import read_events, read_status
from trainer.training import measurement, session
from trainer.training.measurement import make_shapes, measure_base_model, to_pixels

# Time steps 60, 250 and 750 of 1000 are the first, the second and the last of these four; sigma
# over alpha is 0.2 / 0.98, 0.6 / 0.8 and 0.8 / 0.6.
SCHEDULE = NoiseSchedule(torch.tensor([0.96, 0.64, 0.5, 0.36]))
KINDS = ("epsilon", "v_prediction", "flow")
CLOSEST = ("v_prediction", "noise")


def make_latents(count=6):
    generator = torch.Generator().manual_seed(3)
    return [2 * torch.randn(1, 4, 16, 16, generator=generator) for _ in range(count)]


def answer(make, latents):
    """A model that sees through the noise: `make` gets the noise, the image and alpha."""

    def predict(index, noisy, timestep):
        alpha = SCHEDULE.alphas_cumprod[timestep].sqrt()
        noise = (noisy - alpha * latents[index]) / (1 - alpha**2).sqrt()
        return make(noise, latents[index], alpha)

    return predict


MODELS = {
    "epsilon": lambda noise, image, alpha: noise,
    "v_prediction": lambda noise, image, alpha: alpha * noise - (1 - alpha**2).sqrt() * image,
    "flow": lambda noise, image, alpha: noise - image,
}


@pytest.mark.parametrize(
    ("kind", "ratios"),
    [
        ("epsilon", [0, 0, 0]),
        ("v_prediction", [0.204124, 0.75, 4 / 3]),
        ("flow", [1, 1, 1]),
    ],
)
@pytest.mark.parametrize("size", [1.0, 0.01])
def test_the_mixture_of_an_answer_gives_the_kind_whatever_its_size(kind, ratios, size):
    latents = make_latents()
    predict = answer(lambda *parts: size * MODELS[kind](*parts), latents)
    found = measure_prediction(predict, latents, SCHEDULE, "images")
    assert [each.timestep for each in found.evidence] == [0, 1, 3]
    assert [each.ratio for each in found.evidence] == pytest.approx(ratios, abs=1e-4)
    assert [each.explained for each in found.evidence] == pytest.approx([1, 1, 1], abs=1e-4)
    assert found.prediction == kind
    assert found.distances[kind] == pytest.approx(0, abs=1e-4)
    # Angles 0, atan(sigma / alpha) and 45 degrees: v lies 0.2014, 0.6435 and 0.9273 from the noise,
    # 0.5840, 0.1419 and 0.1419 from flow.
    apart = {
        ("epsilon", "v_prediction"): math.sqrt((0.2014**2 + 0.6435**2 + 0.9273**2) / 3),
        ("v_prediction", "flow"): math.sqrt((0.5840**2 + 2 * 0.1419**2) / 3),
        ("epsilon", "flow"): math.pi / 4,
    }
    for pair, far in apart.items():
        if kind in pair:
            other = pair[1 - pair.index(kind)]
            assert found.distances[other] == pytest.approx(far, abs=2e-3)
    second = sorted(found.distances.values())[1]
    assert found.margin == pytest.approx(second, abs=1e-3)


@pytest.mark.parametrize(
    "make",
    [
        lambda noise, image, alpha: image,  # predicts the image itself
        lambda noise, image, alpha: -noise,
        lambda noise, image, alpha: torch.zeros_like(noise),
        lambda noise, image, alpha: torch.full_like(noise, math.nan),
        lambda noise, image, alpha: torch.randn(noise.shape, generator=torch.Generator()),
        # Between v and the noise: as far from the one as from the other.
        lambda noise, image, alpha: noise - 0.5 * (1 - alpha**2).sqrt() / alpha * image,
        # Much of it is neither.
        lambda noise, image, alpha: noise + 2 * torch.roll(noise, 1, dims=-1),
    ],
)
def test_answers_that_fit_no_kind_are_unknown(make):
    latents = make_latents()
    found = measure_prediction(answer(make, latents), latents, SCHEDULE, "images")
    assert found.prediction == ""
    json.dumps(found.to_dict(), allow_nan=False)


@pytest.mark.parametrize(("kind", "known"), [("epsilon", ""), ("flow", "flow")])
def test_a_model_of_the_noise_passes_on_an_image_of_noise(kind, known):
    """The right mixture, but at the last time step it explains half of the answer."""

    def make(noise, image, alpha):
        mixture = MODELS[kind](noise, image, alpha)
        other = torch.randn(noise.shape, generator=torch.Generator().manual_seed(5))
        return mixture + (mixture.norm() / other.norm() * other if alpha < 0.7 else 0)

    latents = make_latents()
    found = measure_prediction(answer(make, latents), latents, SCHEDULE, "images")
    assert [each.explained for each in found.evidence] == pytest.approx([1, 1, 0.5], abs=0.03)
    assert found.distances[kind] < 0.05
    assert found.prediction == known


def test_the_images_colour_does_not_count_as_noise():
    """Latents that are mostly one colour leave the regression right."""
    latents = [each + 5 for each in make_latents()]
    for kind, model in MODELS.items():
        assert (
            measure_prediction(answer(model, latents), latents, SCHEDULE, "images").prediction
            == kind
        )


# --- the starter model ---------------------------------------------------------------------------


@pytest.fixture(scope="module")
def starter():
    return load_plain(STARTER)


@pytest.fixture
def context():
    return open_device_context("cpu", "fp32")


@pytest.fixture
def restored(starter):
    """The starter model's UNet, whose weights are restored after the test."""
    unet = starter.adaptable_models()["unet"]
    weights = copy_weights(unet)
    yield unet
    unet.load_state_dict(weights)


@pytest.mark.parametrize("kind", KINDS)
def test_variants_of_the_starter_model_are_measured_right(starter, context, monkeypatch, kind):
    monkeypatch.setattr(starter, "predict", convert_answers(starter, kind), raising=False)
    found = measure_base_model(starter, context)
    assert found.prediction == kind
    assert found.margin > 0.25


# v lies between the two others, so it is the first to be taken for another.
@pytest.mark.parametrize(
    ("kind", "change"),
    [
        pytest.param(kind, change, marks=[pytest.mark.slow] * ((kind, change) != CLOSEST))
        for kind in KINDS
        for change in ("noise", "lora")
    ],
)
def test_variants_with_other_weights_are_measured_right(
    starter, context, monkeypatch, restored, kind, change
):
    if change == "noise":
        perturb_weights(restored, 0.1)
    else:
        bake_random_lora(restored, 8, 0.1)
    monkeypatch.setattr(starter, "predict", convert_answers(starter, kind), raising=False)
    found = measure_base_model(starter, context)
    assert found.prediction == kind
    assert found.margin > 0.2


def test_a_model_without_what_it_learned_is_unknown(starter, context, restored):
    with torch.no_grad():
        for number, weight in enumerate(restored.parameters()):
            generator = torch.Generator().manual_seed(number)
            weight.copy_(weight.std().nan_to_num() * torch.randn(weight.shape, generator=generator))
    assert measure_base_model(starter, context).prediction == ""


def test_the_command_measures_a_folder_on_a_persons_images():
    found = measure_model(STARTER, STARTER.parent / "openmoji-style" / "images")
    assert found.measurement.prediction == "epsilon"
    assert found.measurement.images == "8 images of the dataset"
    assert "predicts the noise, by measurement" in found.message
    assert "the next kind" in found.message
    assert found.to_text().count("time step") == 3
    assert json.loads(json.dumps(found.to_dict()))["evidence"][0]["timestep"] == 60


def test_images_that_the_model_does_not_know_are_replaced_by_plain_shapes(tmp_path):
    """Random blobs: of them the starter model's answers fit no kind."""
    images = write_images(tmp_path / "images", [(160, 128)] * 3)
    found = measure_model(STARTER, images)
    assert found.measurement.prediction == "epsilon"
    assert found.measurement.images == "8 images of plain shapes"


def test_base_models_are_told_from_adapters(pico, tmp_path):
    assert is_base_model(pico)
    assert not is_base_model(tmp_path)
    (tmp_path / "x.safetensors").write_bytes(b"no")
    assert not is_base_model(tmp_path / "x.safetensors")
    assert not is_base_model(tmp_path / "none.safetensors")
    for number, start in enumerate(("model.", "state_dict.model.", "model.model.", "")):
        path = tmp_path / f"{number}.safetensors"
        save_file({f"{start}diffusion_model.input_blocks.0.0.weight": torch.zeros(1)}, path)
        assert is_base_model(path)
    save_file({"diffusion_model.input_blocks.1.1.proj_in.lora_up.weight": torch.zeros(1, 1)}, path)
    assert not is_base_model(path)


# --- before the first step -----------------------------------------------------------------------


@pytest.fixture
def silent(pico, tmp_path):
    """A base model that does not state what it predicts."""
    model = shutil.copytree(pico, tmp_path / "silent")
    place = model / "scheduler" / "scheduler_config.json"
    scheduler = json.loads(place.read_text())
    del scheduler["prediction_type"]
    place.write_text(json.dumps(scheduler))
    return model


def claim(kind):
    """Returns a measurement that is sure of a kind."""
    angles = {"epsilon": 0.0, "v_prediction": 0.6, "flow": math.pi / 4}
    expected = {each: angle + (0.0 if each == kind else 1.0) for each, angle in angles.items()}
    angle = angles[kind]
    one = Evidence(60, math.cos(angle), -math.sin(angle), 1.0, expected)
    return Measurement((one, one, one), "4 images")


@pytest.mark.parametrize(
    "kind",
    [each if each == "flow" else pytest.param(each, marks=pytest.mark.slow) for each in KINDS],
)
def test_a_run_takes_what_was_measured(make_run, cache, silent, monkeypatch, kind):
    calls = []

    def measure(*args):
        calls.append(args)
        return claim(kind)

    monkeypatch.setattr(measurement, "measure_base_model", measure)
    assert not check_config(BaseModelConfig(path=str(silent))).certain
    run = make_run(f'base_model.path="{silent}"')
    train(run, cache)
    assert read_status(run.path).state == "finished"
    events = read_events(run.events_path)
    (event,) = [each for each in events if each["event"] == "measured"]
    assert (event["prediction"], event["assumed"]) == (kind, "epsilon")
    assert event["margin"] > 0.15
    assert event["base_model"] == str(silent)
    assert run.config.base_model.prediction == kind
    warnings = [each["message"] for each in events if each["event"] == "warning"]
    assert bool([text for text in warnings if "by measurement" in text]) is (kind != "epsilon")
    # v brings zero terminal SNR along, as an answer does.
    assert bool([text for text in warnings if "zero terminal SNR" in text]) is (
        kind == "v_prediction"
    )
    opened = session.open_session(run, cache)
    assert opened.family.prediction == kind
    # It is measured once: the settings have the answer.
    train(make_run(f'base_model.path="{silent}"', f"base_model.prediction={kind}"), cache)
    assert len(calls) == 1


def test_a_run_on_a_model_that_fits_none_warns_and_goes_on(make_run, cache, silent):
    run = make_run(f'base_model.path="{silent}"')  # its weights are random
    train(run, cache)
    assert read_status(run.path).state == "finished"
    events = read_events(run.events_path)
    (event,) = [each for each in events if each["event"] == "measured"]
    assert event["prediction"] == ""
    (warning,) = [each["message"] for each in events if each["event"] == "warning"]
    assert "could not be measured" in warning
    assert "taken to predict the noise" in warning
    assert run.config.base_model.prediction == "auto"


def test_a_model_that_states_it_is_not_measured(make_run, cache, monkeypatch):
    monkeypatch.setattr(measurement, "measure_base_model", lambda *_: pytest.fail("measured"))
    run = make_run()
    train(run, cache)
    assert not [each for each in read_events(run.events_path) if each["event"] == "measured"]


# --- trained variants ----------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "zero_snr"), [("v_prediction", False), ("v_prediction", True), ("flow", False)]
)
def test_trained_variants_are_measured_right(
    starter, context, restored, kind, zero_snr, make_run, cache, tmp_path
):
    side = starter.default_resolution
    images = make_shapes(24, side)
    latents = torch.cat([starter.encode_images(to_pixels(each, side)).mean for each in images])
    fine_tune(starter, kind, latents, [""] * 24, 160, zero_snr=zero_snr)
    trained = copy_weights(restored)
    for change in ("none", "noise", "lora"):
        if change == "noise":
            perturb_weights(restored, 0.1)
        elif change == "lora":
            bake_random_lora(restored, 8, 0.1)
        found = measure_base_model(starter, context)
        assert found.prediction == kind, (change, found.to_dict())
        restored.load_state_dict(trained)
    # As a base model that states nothing, it is trained as what it is.
    model = shutil.copytree(STARTER, tmp_path / "model")
    restored.save_pretrained(model / "unet")
    place = model / "scheduler" / "scheduler_config.json"
    scheduler = json.loads(place.read_text())
    del scheduler["prediction_type"]
    place.write_text(json.dumps(scheduler))
    run = make_run(
        f'base_model.path="{model}"', "dataset.resolution=128", "dataset.bucket_step=0",
        "train.steps=2",
    )  # fmt: skip
    train(run, cache)
    assert run.config.base_model.prediction == kind
