"""Which models are on the device, and that prompts need no text encoder again and again."""

import numpy as np
import pytest
from torch import nn

from tests.trainer.conftest import load_plain
from trainer.models import EVERY_MODEL
from trainer.models.family import GenerationRequest, list_prompts
from trainer.models.placement import Placement
from trainer.training.samples import make_samples
from trainer.training.session import open_session


class Recorder(nn.Module):
    """A model that notes where it is."""

    def __init__(self):
        super().__init__()
        self.place = "device"

    def to(self, place):
        self.place = "main memory" if place == "cpu" else "device"
        return self


@pytest.fixture
def models():
    return {name: [Recorder()] for name in ("image", "text", "unet")}


def present(models):
    return {name for name, (model,) in models.items() if model.place == "device"}


def test_a_model_that_waited_comes_alone_and_goes_again(models):
    placement = Placement(models, "cuda")
    placement.keep({"unet"})
    assert present(models) == {"unet"}
    with placement.needing("text"):
        assert present(models) == {"text"}
    assert present(models) == {"unet"}
    placement.keep({"unet", "text"})
    with placement.needing("text"):
        assert present(models) == {"unet", "text"}
    with placement.alone("image"):
        assert present(models) == {"image"}
    assert present(models) == {"unet", "text"}


def test_where_nothing_waits_nothing_moves(models):
    placement = Placement(models, "cuda")
    placement.keep(EVERY_MODEL)
    with placement.alone("image"), placement.needing("text"):
        assert present(models) == set(EVERY_MODEL)


def test_a_fixed_model_stays(models):
    placement = Placement(models, "cuda", {"unet"})
    placement.keep({"image"})
    assert present(models) == {"image", "unet"}


def test_models_come_back_after_an_error(models):
    placement = Placement(models, "cuda")
    placement.keep({"unet"})
    with pytest.raises(ValueError, match="broken"), placement.needing("text"):
        raise ValueError("broken")
    assert present(models) == {"unet"}


def count_calls(family):
    calls = []
    for encoder in family.text_encoders:
        encoder.register_forward_hook(lambda *_: calls.append(1))
    return calls


@pytest.mark.parametrize(("text_rank", "expected"), [(0, 0), (2, 2)])
def test_samples_need_a_frozen_text_encoder_once(make_run, cache, text_rank, expected):
    words = [f"adapter.text_rank={text_rank}", 'samples.prompts=["a cat"]']
    session = open_session(make_run(*words, "samples.every_steps=1"), cache)
    calls = count_calls(session.family)
    make_samples(session)
    make_samples(session)
    assert len(calls) == expected


def test_a_remembered_prompt_draws_the_same_picture(pico_xl):
    family = load_plain(pico_xl)
    request = GenerationRequest("a cat", "a dog", 3, 2, 7.0, 32, 32)
    before = family.generate(request)
    family.encode_prompts(list_prompts(request), remember=True)
    calls = count_calls(family)
    assert np.array_equal(np.asarray(before), np.asarray(family.generate(request)))
    assert calls == []
    family.generate(GenerationRequest("a cow", "a dog", 3, 2, 7.0, 32, 32))
    assert calls
