"""Activations that the backward pass computes again: the same numbers in less memory."""

import pytest
import torch
from torch import nn

from tests.trainer.conftest import load_plain
from trainer.memory.estimate import estimate_memory
from trainer.models.recompute import Recorder, enable_recomputation
from trainer.training.loop import read_batches
from trainer.training.session import open_session
from trainer.training.step import take_step


@pytest.fixture
def train_with(make_run, cache):
    """What two updates make of the same weights with some settings, by name."""

    def compute(*assignments):
        run = make_run(*assignments, folder=f"run-{abs(hash(assignments))}")
        session = open_session(run, cache)
        torch.manual_seed(0)
        session.adapters.train(mode=True)
        parameters = session.adapters.named_parameters()
        for parameter in parameters.values():
            parameter.data.normal_(std=0.1)  # B starts at zero, and A would get no gradient
        before = {name: parameter.detach().clone() for name, parameter in parameters.items()}
        batches = read_batches(session)
        for _ in range(2):
            take_step(session, batches)
        return {name: parameters[name].detach() - before[name] for name in parameters}

    return compute


def largest_difference(first, second):
    assert first.keys() == second.keys()
    size = max(each.abs().max() for each in first.values())
    return max((first[name] - second[name]).abs().max() for name in first) / size


@pytest.mark.parametrize("level", ["activations", "feed_forward"])
@pytest.mark.parametrize(
    "kind", ["dora", *(pytest.param(kind, marks=pytest.mark.slow) for kind in ("lora", "loha"))]
)
def test_updates_are_the_same_to_the_last_bit(train_with, kind, level):
    kept = train_with(f"adapter.kind={kind}")
    again = train_with(f"adapter.kind={kind}", f"train.recompute={level}")
    assert all(change.abs().max() > 0 for change in kept.values())
    assert largest_difference(kept, again) == 0


@pytest.mark.parametrize(
    "words",
    [
        ("base_model.quantize=int8", "train.micro_batch=1"),
        *(
            pytest.param((word,), marks=pytest.mark.slow)
            for word in (
                "base_model.quantize=fp8",
                "train.gradient_checkpointing=true",
                "objective.prior=teacher",
            )
        ),
    ],
)
def test_it_goes_together_with_what_else_saves_memory(train_with, words):
    kept = train_with(*words)
    again = train_with(*words, "train.recompute=feed_forward")
    assert largest_difference(kept, again) == 0


def test_in_16_bits_norms_are_computed_in_the_format_of_their_input(train_with):
    """The two levels are equal; autocast's own norms on a CPU are in 16 bits as well."""
    half = "base_model.precision=bf16"
    first = train_with(half, "train.recompute=activations")
    assert largest_difference(first, train_with(half, "train.recompute=feed_forward")) == 0
    assert largest_difference(first, train_with(half)) < 0.02


def test_dropout_has_the_feed_forward_product_kept(train_with):
    dropout = "adapter.dropout=0.5"
    kept = train_with(dropout)
    assert largest_difference(kept, train_with(dropout, "train.recompute=feed_forward")) == 0


def test_less_is_kept_with_each_level(settings, pico):
    from trainer.config import layer_config

    def estimate(level):
        words = ["train.batch_size=8", f"train.recompute={level}"]
        return estimate_memory(layer_config(settings=settings, assignments=words)).step_bytes

    nothing, activations, inner = map(estimate, ("nothing", "activations", "feed_forward"))
    assert nothing > 1.3 * activations
    assert activations > 1.05 * inner


def test_a_unet_keeps_its_names_and_its_answers(pico):
    plain, changed = load_plain(pico).unet, load_plain(pico).unet
    enable_recomputation(changed, feed_forward=True)
    assert list(plain.state_dict()) == list(changed.state_dict())
    inputs = (
        torch.randn(1, 4, 8, 8),
        torch.tensor([500]),
        torch.randn(1, 77, plain.config.cross_attention_dim),
    )
    with torch.no_grad():
        assert torch.equal(plain(*inputs).sample, changed(*inputs).sample)


def chain(recorder, x):
    """Returns x · silu(gelu(x)), with the two functions' outputs left out."""
    first = recorder.call(nn.functional.gelu, x)
    return x * recorder.call(nn.functional.silu, first)


def test_what_is_left_out_is_computed_from_what_is_left_out():
    x = torch.randn(3, 5, requires_grad=True)
    calls = []

    def double(each):
        calls.append(1)
        return each * 2

    recorder = Recorder()
    with recorder:
        doubled = recorder.call(double, x)
        result = (chain(recorder, doubled) + doubled.t().exp().t()).sum()
    assert len(calls) == 1
    result.backward()
    assert len(calls) == 2  # once more, for all that asked
    twice = (x.detach() * 2).requires_grad_()
    (twice * nn.functional.silu(nn.functional.gelu(twice)) + twice.exp()).sum().backward()
    torch.testing.assert_close(x.grad, twice.grad * 2, rtol=0, atol=0)
    del doubled, result
    assert not recorder._recipes


def test_a_tensor_that_is_changed_after_it_was_made_is_kept_itself():
    x = torch.randn(4, requires_grad=True)
    recorder = Recorder()
    with recorder:
        made = recorder.call(nn.functional.silu, x)
        made.mul_(3)
        (made * made).sum().backward()
    expected = x.detach().requires_grad_()
    (3 * nn.functional.silu(expected)).square().sum().backward()
    torch.testing.assert_close(x.grad, expected.grad)


def test_an_input_that_is_changed_afterwards_is_an_error_and_no_wrong_gradient():
    x = torch.randn(4, requires_grad=True)
    recorder = Recorder()
    with recorder:
        source = x * 1
        loss = recorder.call(nn.functional.silu, source).square().sum()
    source.data = source.data  # the same numbers: nothing happens
    with torch.no_grad():
        source.add_(1)
    with pytest.raises(RuntimeError, match="changed in place"):
        loss.backward()


def test_nothing_is_recorded_without_gradients():
    recorder = Recorder()
    with torch.no_grad(), recorder:
        made = recorder.call(nn.functional.silu, torch.randn(4, requires_grad=True))
    assert not recorder._recipes
    assert not made.requires_grad
