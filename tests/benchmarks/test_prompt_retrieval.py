"""A picture finds its prompt where it shows it, and does not where it does not."""

import numpy as np
import pytest

from benchmarks.prompt_retrieval import retrieve_prompts

SEEDS, PROMPTS, VALUES = 3, 24, 50


@pytest.fixture
def known():
    noise = np.random.default_rng(0)
    prompts = noise.normal(size=(1, PROMPTS, VALUES))
    return prompts + 0.3 * noise.normal(size=(SEEDS, PROMPTS, VALUES))


def test_pictures_that_show_their_prompt_find_it(known):
    found = retrieve_prompts(known, known)
    assert (found.top1, found.top5) == (1.0, 1.0)


def test_pictures_of_something_else_find_it_by_chance(known):
    queries = np.random.default_rng(1).normal(size=known.shape)
    found = retrieve_prompts(queries, known)
    assert found.top1 < 0.15
    assert found.top5 < 0.4


def test_swapped_prompts_are_not_found(known):
    assert retrieve_prompts(np.roll(known, 1, axis=1), known).top1 == 0


def test_a_picture_is_not_compared_with_its_own_seed():
    # Each picture equals its own counterpart, yet the other seeds show other things.
    lonely = np.random.default_rng(2).normal(size=(2, PROMPTS, VALUES))
    assert retrieve_prompts(lonely, lonely).top1 < 0.3
