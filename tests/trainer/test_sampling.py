"""Drawing with adapters leaves them as they were."""

import pytest
from torch import nn

from trainer.adapters import AdapterSet, LoRA
from trainer.adapters.targets import Target
from trainer.inference.sampling import weighted


class Word:
    """A learned word that only knows whether it is heard."""

    def __init__(self, *, enabled):
        self.enabled = enabled


def make_set(*states, enabled=None):
    """Returns a set with an adapter per (multiplier, training), and a word if it says so."""
    layers = {str(index): nn.Linear(4, 4) for index in range(len(states))}
    adapters = AdapterSet(
        {name: Target(name, layer, "unet") for name, layer in layers.items()},
        {name: LoRA(layer, 2, 1.0) for name, layer in layers.items()},
    )
    for adapter, (multiplier, training) in zip(adapters.adapters.values(), states, strict=True):
        adapter.multiplier = multiplier
        adapter.train(training)
    if enabled is not None:
        adapters.word = Word(enabled=enabled)
    return adapters


def state_of(adapters):
    return [(each.multiplier, each.training) for each in adapters.adapters.values()]


STATES = [((0.3, False), (0.0, True)), ((1.0, True), (2.0, False))]


@pytest.mark.parametrize("enabled", [True, False])
def test_drawing_leaves_weights_modes_and_words_as_they_were(enabled):
    sets = [make_set(*states, enabled=enabled) for states in STATES]
    with weighted(sets, [0.7, 0.0]):
        assert [state_of(each) for each in sets] == [[(0.7, False)] * 2, [(0.0, False)] * 2]
        assert [each.word.enabled for each in sets] == [True, False]
    assert [state_of(each) for each in sets] == [list(states) for states in STATES]
    assert [each.word.enabled for each in sets] == [enabled] * 2


def test_an_error_while_drawing_leaves_them_as_they_were_too():
    adapters = make_set(*STATES[0], enabled=False)

    def fail_while_drawing():
        with weighted([adapters], [0.7]):
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail_while_drawing()
    assert state_of(adapters) == list(STATES[0])
    assert not adapters.word.enabled


def test_a_weight_that_is_changed_while_drawing_does_not_stay():
    adapters = make_set(*STATES[1])
    with weighted([adapters], [0.0]):
        adapters.set_multiplier(1.5)
    assert state_of(adapters) == list(STATES[1])


def test_a_set_that_is_named_twice_is_restored_to_what_it_was_at_first():
    adapters = make_set(*STATES[0])
    with weighted([adapters, adapters], [0.7, 0.2]):
        assert state_of(adapters) == [(0.2, False)] * 2
    assert state_of(adapters) == list(STATES[0])
