"""Blocks whose weights wait in main memory: a run with them is the same to the last bit."""

import itertools
import weakref

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file
from torch.utils.flop_counter import FlopCounterMode

from tests.trainer.conftest import load_plain, write_images
from tests.trainer.full_size import write_random_checkpoint, write_small_configs
from trainer.commands import train
from trainer.config import ConfigError, layer_config
from trainer.memory import estimate_memory
from trainer.models import shipped
from trainer.models.block_offload import OffloadedBlock, _pin
from trainer.models.blocks import (
    _rank,
    choose_evenly,
    list_blocks,
    list_text_parts,
    rank_for_checkpointing,
)
from trainer.models.family import GenerationRequest
from trainer.models.loading import build_model
from trainer.runs import request
from trainer.training import loop
from trainer.training.loop import read_batches
from trainer.training.session import open_session
from trainer.training.step import take_step

FULL_SIZE = {family: shipped.read_config(family)["unet"] for family in ("sd15", "sdxl")}
FAMILIES = ("sd15", "sd2", "sdxl")
CHECKPOINTING = "train.gradient_checkpointing=true"


@pytest.fixture(scope="module", params=FAMILIES)
def miniature(request, tmp_path_factory):
    """A small checkpoint of each family, read with the configs of that size."""
    folder = tmp_path_factory.mktemp(request.param)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(shipped, "CONFIG_FOLDER", write_small_configs(folder / "configs"))
        yield write_random_checkpoint(folder / f"{request.param}.safetensors", request.param)


class Copies(list):
    """Weak references, and how many of what they name existed at once at most."""

    most = 0


@pytest.fixture
def record(monkeypatch):
    """Notes each copy of a block's weights by a weak reference."""
    copies = Copies()
    real = OffloadedBlock._fetch

    def fetch(block):
        real(block)
        copies.append(weakref.ref(block._weights[0].owner[block._weights[0].name]))
        copies.most = max(copies.most, alive(copies))

    monkeypatch.setattr(OffloadedBlock, "_fetch", fetch)
    return copies


def alive(copies):
    return sum(copy() is not None for copy in copies)


def make_conditioning(family, count=1):
    conditioning = family.encode_captions(["a cat"] * count)
    if family.name == "sdxl":
        conditioning["sizes"] = torch.full((count, 6), 32.0)
    return conditioning


def train_two_steps(run, cache):
    """Returns the trained weights, the losses, and the weights that samples show."""
    session = open_session(run, cache)
    session.state.start_learning()
    batches = read_batches(session)
    losses = [take_step(session, batches) for _ in range(2)]
    with session.state.shown():
        shown = session.adapters.state()
    return session.adapters.state() | {f"shown.{n}": v for n, v in shown.items()}, losses


def assert_equal(one, other):
    (weights, losses), (other_weights, other_losses) = one, other
    assert weights.keys() == other_weights.keys()
    assert all(torch.equal(weights[name], other_weights[name]) for name in weights)
    assert losses == other_losses
    assert all(loss.isfinite() for loss in losses)


def read_file(run):
    return load_file(run.path / "pico.safetensors")


def equal(one, other):
    first, second = read_file(one), read_file(other)
    return first.keys() == second.keys() and all(torch.equal(first[n], second[n]) for n in first)


def read_samples(run):
    files = sorted(run.samples_path.rglob("*.png"))
    return {str(each.relative_to(run.path)): Image.open(each).tobytes() for each in files}


# --- which blocks -------------------------------------------------------------------------------


def test_the_blocks_are_those_that_diffusers_checkpoints_in_their_order(miniature):
    family = load_plain(miniature)
    called = []

    def run(block, *inputs):
        called.append(block)
        return block(*inputs)

    family.unet.enable_gradient_checkpointing(run)
    family.predict(torch.randn(1, 4, 8, 8), torch.tensor([10]), make_conditioning(family))
    assert called == list_blocks(family.unet)
    inside = sum(p.numel() for block in called for p in block.parameters())
    assert inside > 0.8 * sum(p.numel() for p in family.unet.parameters())


@pytest.mark.parametrize(
    ("fraction", "expected"),
    [(0.0, ""), (0.1, "j"), (0.5, "bdfhj"), (0.3, "dgj"), (1.0, "abcdefghij")],
)
def test_a_fraction_is_spread_evenly(fraction, expected):
    assert "".join(choose_evenly("abcdefghij", fraction)) == expected


# --- the same to the last bit -------------------------------------------------------------------


@pytest.mark.parametrize(
    ("precision", "quantize"),
    [
        ("fp32", "none"),
        *(
            pytest.param(*each, marks=pytest.mark.slow)
            for each in (("bf16", "none"), ("bf16", "fp8"), ("fp32", "int8"))
        ),
    ],
)
def test_a_run_with_offloaded_blocks_is_the_same(
    miniature, quantize, precision, make_run, cache, tmp_path
):
    images = write_images(tmp_path / "large", [(64, 64)] * 2)
    words = [f"dataset.path={images}", "dataset.resolution=64", "dataset.bucket_step=0"]
    words += [f"base_model.path={miniature}", f"base_model.precision={precision}"]
    words += [f"base_model.quantize={quantize}", CHECKPOINTING]
    plain, whole = (
        train_two_steps(make_run(*words, f"base_model.offload_fraction={each}"), cache)
        for each in (0.0, 1.0)
    )
    assert_equal(plain, whole)


TRAININGS = [
    ("adapter.kind=dora", "base_model.quantize=fp8"),
    ("optimizer.ema_decay=0.9", "adapter.rank_dropout=0.2", "train.accumulate=2"),
    (CHECKPOINTING, "adapter.word_vectors=2", "optimizer.word_learning_rate=0.001"),
    *(
        pytest.param(each, marks=pytest.mark.slow)
        for each in (
            ("adapter.kind=dora",),
            ("adapter.kind=lokr",),
            ("adapter.kind=loha", "adapter.dropout=0.2"),
            ("adapter.kind=vera",),
            ("adapter.kind=adalora",),
            ("objective.prior=teacher", "dataset.class_word=blob"),
            ("train.micro_batch=1", "adapter.text_rank=0", "train.offload=true"),
            ("train.recompute=feed_forward", "base_model.precision=bf16"),
            ("train.recompute=activations", "base_model.quantize=int8"),
        )
    ),
]


@pytest.mark.parametrize("assignments", TRAININGS)
def test_every_kind_of_training_is_the_same(assignments, make_run, cache):
    plain, half, whole = (
        train_two_steps(make_run(*assignments, f"base_model.offload_fraction={each}"), cache)
        for each in (0.0, 0.5, 1.0)
    )
    assert_equal(plain, half)
    assert_equal(plain, whole)


def test_a_resumed_run_and_its_samples_are_the_same(make_run, cache, monkeypatch):
    words = ("train.steps=4", "samples.every_steps=2", CHECKPOINTING)
    offload = "base_model.offload_fraction=1.0"
    plain, stopped = make_run(*words, folder="plain"), make_run(*words, offload, folder="stopped")
    assert train(plain, cache) == "finished"
    real = loop.take_step

    def take_and_stop(session, batches):
        loss = real(session, batches)
        if session.state.step == 2:
            request(session.run.path, "stop")
        return loss

    with monkeypatch.context() as patch:
        patch.setattr(loop, "take_step", take_and_stop)
        assert train(stopped, cache) == "stopped"
    assert train(stopped, cache) == "finished"
    assert equal(plain, stopped)
    assert read_samples(plain)
    assert read_samples(plain) == read_samples(stopped)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_an_image_is_the_same(pico_xl, dtype, record):
    wanted = GenerationRequest("a cat", "a dog", 3, 2, 7.0, 32, 32)
    plain = load_plain(pico_xl, dtype=dtype)
    offloaded = load_plain(pico_xl, dtype=dtype, offload_fraction=1.0)
    with torch.autocast("cpu", dtype, enabled=dtype != torch.float32):
        images = [np.asarray(family.generate(wanted)) for family in (plain, offloaded)]
    assert np.array_equal(*images)
    layers = sum(map(len, map(list_text_parts, offloaded.text_encoders)))
    assert len(record) == 2 * len(list_blocks(offloaded.unet)) + layers
    assert alive(record) == 0


@pytest.mark.parametrize(
    "assignments",
    [
        (CHECKPOINTING, "adapter.kind=loha", "base_model.quantize=fp8"),
        ("train.recompute=feed_forward", "base_model.quantize=fp8"),
        *(
            pytest.param(each, marks=pytest.mark.slow)
            for each in (
                (CHECKPOINTING,),
                ("adapter.kind=lokr", "base_model.quantize=int8"),
                ("train.recompute=activations", "base_model.precision=bf16"),
            )
        ),
    ],
)
def test_no_weight_is_read_while_its_block_waits(assignments, make_run, cache, monkeypatch):
    """Between calls there is no content, so whatever is read then fails."""
    words = assignments
    plain = train_two_steps(make_run(*words), cache)

    def release(block):
        for weight in block._weights:
            weight.owner[weight.name] = weight.stored.detach().to("meta")

    monkeypatch.setattr(OffloadedBlock, "_release", release)
    empty = train_two_steps(make_run(*words, "base_model.offload_fraction=1.0"), cache)
    assert_equal(plain, empty)


# --- how long the copies live -------------------------------------------------------------------


def test_at_most_two_blocks_are_on_the_device_and_none_after_the_step(make_run, cache, record):
    words = ("base_model.offload_fraction=1.0", "adapter.text_rank=0")
    session = open_session(make_run(*words), cache)
    blocks = list_blocks(session.family.unet)
    take_step(session, read_batches(session))
    assert len(record) > len(blocks)  # forward, and once more in the backward pass
    assert record.most <= 2
    assert alive(record) == 0
    for block in blocks:
        assert all(isinstance(each, torch.nn.Parameter) for each in block.parameters())


def test_after_an_error_the_weights_wait_again(pico):
    family = load_plain(pico, offload_fraction=1.0)
    before = {name: value.data_ptr() for name, value in family.unet.state_dict().items()}

    def fail(_module, _inputs):
        raise RuntimeError("out of memory")

    handle = list_blocks(family.unet)[2].norm1.register_forward_pre_hook(fail)
    conditioning = make_conditioning(family)
    with pytest.raises(RuntimeError, match="out of memory"):
        family.predict(torch.randn(1, 4, 8, 8), torch.tensor([10]), conditioning)
    handle.remove()
    assert {n: v.data_ptr() for n, v in family.unet.state_dict().items()} == before
    assert (
        family.predict(torch.randn(1, 4, 8, 8), torch.tensor([10]), conditioning).isfinite().all()
    )


def test_moving_the_unet_leaves_offloaded_blocks_where_they_are(pico):
    family = load_plain(pico, offload_fraction=1.0)
    family.unet.to("meta")
    places = {name: value.device.type for name, value in family.unet.state_dict().items()}
    inside = {n for n in places if ".resnets." in n or ".transformer_blocks." in n}
    inside = {name for name in inside if not name.startswith("mid_block.resnets.0")}
    assert {places[name] for name in inside} == {"cpu"}
    assert {place for name, place in places.items() if name not in inside} == {"meta"}


class Driver:
    """Notes what is registered with it."""

    def __init__(self, code=0):
        self.code, self.registered = code, {}

    def cudaHostRegister(self, address, size, _flags):  # noqa: N802 - CUDA's name
        if self.code == 0:
            self.registered[address] = size
        return self.code

    def cudaHostUnregister(self, address):  # noqa: N802 - CUDA's name
        del self.registered[address]


def test_the_driver_knows_a_storage_as_long_as_it_exists(monkeypatch):
    driver = Driver()
    monkeypatch.setattr(torch.cuda, "cudart", lambda: driver)
    storage = torch.zeros(100, dtype=torch.uint8)
    _pin(storage)
    assert driver.registered == {storage.data_ptr(): 100}
    del storage
    assert driver.registered == {}


def test_a_storage_that_the_driver_refuses_stays_as_it_is(monkeypatch):
    driver = Driver(code=2)
    monkeypatch.setattr(torch.cuda, "cudart", lambda: driver)
    storage = torch.ones(100, dtype=torch.uint8)
    _pin(storage)
    assert storage.sum() == 100


def test_without_a_driver_a_storage_stays_as_it_is(monkeypatch):
    def fail():
        raise RuntimeError("Found no NVIDIA driver on your system")

    monkeypatch.setattr(torch.cuda, "cudart", fail)
    storage = torch.ones(100, dtype=torch.uint8)
    _pin(storage)
    assert storage.sum() == 100


# --- what is refused ----------------------------------------------------------------------------


def test_four_bits_are_refused(settings):
    words = ["base_model.quantize=nf4", "base_model.offload_fraction=0.5"]
    with pytest.raises(ConfigError, match=r"set base_model\.quantize to fp8"):
        layer_config(settings=settings, assignments=words)


# --- memory -------------------------------------------------------------------------------------


def test_the_estimate_counts_what_is_on_the_device(settings, pico):
    def estimate(fraction, device):
        words = [CHECKPOINTING, f"base_model.offload_fraction={fraction}"]
        return estimate_memory(layer_config(settings=settings, assignments=words), device=device)

    plain, half, whole = (estimate(fraction, "cuda") for fraction in (0.0, 0.5, 1.0))
    assert plain.base_model_bytes > half.base_model_bytes > whole.base_model_bytes
    family = load_plain(pico)
    sizes = [sum(p.nbytes for p in block.parameters()) for block in list_blocks(family.unet)]
    # The allocator's smallest block is 512 bytes, of which small weights fill a part.
    saved = plain.base_model_bytes - whole.base_model_bytes
    (encoder,) = family.text_encoders
    layers = sum(p.nbytes for layer in list_text_parts(encoder) for p in layer.parameters())
    assert sum(sizes) + layers < saved < 1.3 * (sum(sizes) + layers)
    assert whole.step_bytes < plain.step_bytes - saved + 3 * max(sizes)
    # Where the device's memory is the main memory, nothing is saved.
    assert estimate(1.0, "cpu").base_model_bytes >= estimate(0.0, "cpu").base_model_bytes


# --- checkpointing a fraction -------------------------------------------------------------------


def test_blocks_that_save_most_per_operation_are_checkpointed_first(pico_xl):
    unet = load_plain(pico_xl).unet
    names = {block: name for name, block in unet.named_modules()}
    ranked = [names[block] for block in rank_for_checkpointing(list_blocks(unet))]
    attention = [name for name in ranked if ".transformer_blocks." in name]
    assert ranked[: len(attention)] == attention  # all of one width here
    widths = [unet.get_submodule(name).out_channels for name in ranked[len(attention) :]]
    assert widths == sorted(widths)
    assert len(set(widths)) == 2


def test_any_fraction_gives_the_same_weights(make_run, cache):
    plain, *others = (
        train_two_steps(
            make_run(
                f"train.gradient_checkpointing={flag}", f"train.checkpointing_fraction={fraction}"
            ),
            cache,
        )
        for flag, fraction in (("false", 1.0), ("true", 0.3), ("true", 1.0))
    )
    for other in others:
        assert_equal(plain, other)


def test_a_larger_fraction_takes_less_memory(settings):
    steps = []
    for fraction in (0.0, 0.2, 0.5, 1.0):
        words = [CHECKPOINTING, f"train.checkpointing_fraction={fraction}", "train.batch_size=4"]
        estimate = estimate_memory(layer_config(settings=settings, assignments=words))
        steps.append(estimate.step_bytes)
    assert steps == sorted(steps, reverse=True)
    assert steps[0] > steps[1] > steps[-1]


@pytest.mark.slow
@pytest.mark.parametrize("family", FULL_SIZE)
def test_the_order_is_that_of_saved_bytes_per_operation_at_full_size(family):
    config = FULL_SIZE[family]
    unet = build_model("unet", config).requires_grad_(requires_grad=False).bfloat16()
    blocks, rates = list_blocks(unet), {}
    for block in blocks:
        measure_saving(block, rates)
    side = 128 if family == "sdxl" else 64
    meta = {"device": "meta", "dtype": torch.bfloat16}
    latents = torch.empty(1, 4, side, side, **meta, requires_grad=True)
    text = torch.empty(1, 77, config["cross_attention_dim"], **meta)
    extras = {"text_embeds": torch.empty(1, 1280, **meta), "time_ids": torch.empty(1, 6, **meta)}
    known = extras if family == "sdxl" else None
    unet(latents, torch.empty(1, device="meta"), text, added_cond_kwargs=known)
    ranked = rank_for_checkpointing(blocks)
    groups = [list(group) for _, group in itertools.groupby(ranked, _rank)]
    means = [sum(map(rates.get, group)) / len(group) for group in groups]
    assert len(means) >= 5
    assert means == sorted(means, reverse=True)


def measure_saving(block, rates):
    """Notes what autograd saves in a block's forward pass, but for weights, per operation."""
    own = {id(p.untyped_storage()) for p in block.parameters()}
    saved, counter = {}, FlopCounterMode(display=False)

    def pack(tensor):
        storage = tensor.untyped_storage()
        saved[id(storage)] = storage
        return tensor

    hooks = torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor)

    def start(*_):
        hooks.__enter__()
        counter.__enter__()

    def end(*_):
        counter.__exit__(None, None, None)
        hooks.__exit__()
        size = sum(storage.nbytes() for key, storage in saved.items() if key not in own)
        rates[block] = size / counter.get_total_flops()

    block.register_forward_pre_hook(start)
    block.register_forward_hook(end)


@pytest.mark.gpu
def test_on_a_gpu_offloaded_blocks_give_the_same_losses_in_less_memory(make_run, cache):
    losses, peaks = [], []
    for fraction in (0.0, 1.0):
        words = ["train.device=cuda", CHECKPOINTING, f"base_model.offload_fraction={fraction}"]
        session = open_session(make_run(*words), cache)
        session.state.start_learning()
        batches = read_batches(session)
        take_step(session, batches)
        torch.cuda.reset_peak_memory_stats()
        losses.append(take_step(session, batches).item())
        peaks.append(torch.cuda.max_memory_allocated())
        del session, batches
    assert losses[1] == pytest.approx(losses[0], rel=1e-5)
    assert peaks[1] < peaks[0]
