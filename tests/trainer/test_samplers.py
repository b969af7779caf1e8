"""The table of samplers: diffusers' schedulers, for models of each kind."""

import diffusers
import numpy as np
import pytest
import torch

from tests.trainer.conftest import build_pico, load_plain
from trainer.formats.samplers import SAMPLERS
from trainer.models import ModelError
from trainer.models.check import check_base_model
from trainer.models.family import GenerationRequest
from trainer.models.pipelines import predict_image
from trainer.models.samplers import list_samplers, list_sigmas, make_scheduler

# From "Schedulers" of diffusers' documentation, which lists what A1111 calls them.
THEIRS = {
    "DDIM": ("DDIMScheduler", {"clip_sample": False}),
    "Euler": ("EulerDiscreteScheduler", {}),
    "Euler a": ("EulerAncestralDiscreteScheduler", {}),
    "Heun": ("HeunDiscreteScheduler", {}),
    "DPM2": ("KDPM2DiscreteScheduler", {}),
    "DPM2 a": ("KDPM2AncestralDiscreteScheduler", {}),
    "DPM++ 2M": ("DPMSolverMultistepScheduler", {}),
    "DPM++ 2M Karras": ("DPMSolverMultistepScheduler", {"use_karras_sigmas": True}),
    "DPM++ 2M SDE": ("DPMSolverMultistepScheduler", {"algorithm_type": "sde-dpmsolver++"}),
    "DPM++ 2M SDE Karras": (
        "DPMSolverMultistepScheduler",
        {"use_karras_sigmas": True, "algorithm_type": "sde-dpmsolver++"},
    ),
    "UniPC": ("UniPCMultistepScheduler", {}),
    "LCM": ("LCMScheduler", {"clip_sample": False}),
}
FLOW = ["Euler", "DPM++ 2M", "UniPC"]


@pytest.fixture(scope="module")
def flow_info(tmp_path_factory):
    folder = build_pico(tmp_path_factory.mktemp("flow") / "model", prediction="flow")
    return check_base_model(folder, prediction="flow")


@pytest.fixture(scope="module")
def family(pico):
    return load_plain(pico)


def pixels(image):
    return np.asarray(image).astype(int)


def test_each_sampler_of_the_list_is_there():
    assert set(SAMPLERS) == set(THEIRS)
    assert len({each.comfyui for each in SAMPLERS.values()}) == len(SAMPLERS)


@pytest.mark.parametrize("name", THEIRS)
def test_a_sampler_draws_what_diffusers_own_pipeline_draws(name, family, pico):
    pipeline = diffusers.StableDiffusionPipeline.from_pretrained(pico, safety_checker=None)
    kind, options = THEIRS[name]
    scheduler = getattr(diffusers, kind)
    pipeline.scheduler = scheduler.from_config(pipeline.scheduler.config, **options)
    pipeline.set_progress_bar_config(disable=True)
    theirs = pipeline(
        "x",
        generator=torch.Generator("cpu").manual_seed(3),
        num_inference_steps=4,
        width=32,
        height=32,
    ).images[0]
    wanted = GenerationRequest("x", "", 3, 4, 7.5, 32, 32, name)
    watched = family.generate_all([wanted], lambda *_: None)[0]
    assert np.abs(pixels(watched) - pixels(theirs)).max() <= 1
    assert np.array_equal(pixels(family.generate(wanted)), pixels(watched))


def test_lcm_takes_more_steps_than_it_was_made_for(family):
    image = family.generate(GenerationRequest("x", "", 3, 51, 1.0, 32, 32, "LCM"))
    assert image.size == (32, 32)


def predict_exactly(info, scheduler, image, timestep, sample):
    """What a model predicts that knows the one image there is, by the definitions."""
    if info.prediction == "flow":
        return (sample - image) / (timestep / 1000)
    seen = scheduler.scale_model_input(sample, timestep)
    signal = scheduler.alphas_cumprod[round(float(timestep))]
    noise = (seen - signal.sqrt() * image) / (1 - signal).sqrt()
    return (
        noise
        if info.prediction == "epsilon"
        else signal.sqrt() * noise - (1 - signal).sqrt() * image
    )


@pytest.mark.parametrize("prediction", ["epsilon", "v_prediction", "flow"])
@pytest.mark.parametrize("name", THEIRS)
def test_a_perfect_model_is_led_to_its_image(name, prediction, pico, pico_v, flow_info):
    info = {"flow": flow_info}.get(prediction) or check_base_model(
        pico if prediction == "epsilon" else pico_v
    )
    if prediction == "flow" and name not in FLOW:
        with pytest.raises(ModelError, match="Choose one of: Euler, DPM"):
            make_scheduler(info, name)
        return
    scheduler = make_scheduler(info, name)
    sigmas = list_sigmas(info, 12, name)
    scheduler.set_timesteps(**(sigmas or {"num_inference_steps": 12}))
    generator = torch.Generator().manual_seed(0)
    image = torch.randn(1, 4, 8, 8, generator=generator)
    latents = torch.randn(1, 4, 8, 8, generator=generator) * scheduler.init_noise_sigma
    for step in scheduler.timesteps:
        predicted = predict_exactly(info, scheduler, image, step, latents)
        found = predict_image(scheduler, info, predicted, step, latents)
        torch.testing.assert_close(found, image, atol=2e-3, rtol=0)
        latents = scheduler.step(predicted, step, latents, return_dict=False)[0]
    # What is left is the noise of the last time step, which a schedule may end in.
    assert (latents - image).std() < 0.05


def test_a_schedule_that_ends_in_pure_noise_begins_with_it(tmp_path):
    folder = build_pico(tmp_path / "model", prediction="v_prediction")
    path = folder / "scheduler" / "scheduler_config.json"
    text = path.read_text().replace(
        '"steps_offset"', '"rescale_betas_zero_snr": true, "steps_offset"'
    )
    path.write_text(text)
    info = check_base_model(folder)
    assert info.zero_snr
    names = list_samplers(info)
    assert set(THEIRS) - set(names) == {"Heun", "DPM2", "DPM2 a"}
    for name in names:
        scheduler = make_scheduler(info, name)
        assert scheduler.config.rescale_betas_zero_snr
        assert scheduler.config.timestep_spacing == "trailing"
        family = load_plain(folder)
        image = family.generate(GenerationRequest("x", "", 3, 3, 5.0, 32, 32, name))
        assert np.isfinite(pixels(image)).all()
        assert pixels(image).std() > 1


def test_an_unknown_sampler_is_refused_with_those_that_are_there(family):
    with pytest.raises(ModelError, match=r"Nonsense does not work .* DDIM, Euler, Euler a"):
        family.generate(GenerationRequest("x", sampler="Nonsense"))
