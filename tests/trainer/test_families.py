"""Each family's conditioning equals what diffusers' pipelines feed their UNet."""

import numpy as np
import pytest
import torch

from datasets_tools.buckets import Bucket, Placement
from tests.trainer.conftest import build_pico, build_pico_xl, load_plain
from trainer.commands import train
from trainer.config import AdapterConfig
from trainer.data import EncodedExample
from trainer.formats.header import read_header
from trainer.models import Geometry, ModelError
from trainer.models.attention import use_xformers
from trainer.models.family import GenerationRequest
from trainer.models.prompts import split_into_chunks
from trainer.runs import read_events
from trainer.training.attach import attach_new
from trainer.training.sources import describe_geometry

CPU = torch.device("cpu")
LONG = ", ".join(["a small grey cat on a red chair"] * 30)


def open_pipeline(folder):
    from diffusers import DiffusionPipeline

    return DiffusionPipeline.from_pretrained(folder, safety_checker=None)


def xl_pipeline(folder):
    from diffusers import StableDiffusionXLPipeline

    return StableDiffusionXLPipeline.from_pretrained(folder, add_watermarker=False)


def test_sdxl_conditioning_equals_the_pipelines(pico_xl):
    family, pipeline = load_plain(pico_xl), xl_pipeline(pico_xl)
    text, _, pooled, _ = pipeline.encode_prompt(
        "a red cat", do_classifier_free_guidance=False, device=CPU
    )
    ours = family.encode_captions(["a red cat"])
    assert torch.equal(ours["text"], text)
    assert torch.equal(ours["pooled"], pooled)
    sizes = pipeline._get_add_time_ids((600, 400), (10, 20), (512, 384), torch.float32, 24)
    ours = family.describe_sizes([Geometry((600, 400), (10, 20), (512, 384))])
    assert torch.equal(ours["sizes"], sizes)


@pytest.mark.parametrize("skip", [1, 2, 3])
def test_clip_skip_of_sdxl_equals_the_pipelines(pico_xl, skip):
    family, pipeline = load_plain(pico_xl, clip_skip=skip), xl_pipeline(pico_xl)
    text = pipeline.encode_prompt(
        "a cat", do_classifier_free_guidance=False, device=CPU, clip_skip=skip - 2
    )[0]
    assert torch.equal(family.encode_captions(["a cat"])["text"], text)


def test_last_layer_of_sd_equals_the_pipelines(pico):
    text = open_pipeline(pico).encode_prompt("a cat", CPU, 1, False)[0]
    for skip in (0, 1):
        family = load_plain(pico, clip_skip=skip)
        assert torch.equal(family.encode_captions(["a cat"])["text"], text)


def test_clip_skip_of_sd_reads_an_earlier_layer_and_norms_it(pico):
    """The reference leaves out the last layer; the pipelines' own clip_skip needs an older
    transformers than this one."""
    pipeline = open_pipeline(pico)
    encoder = pipeline.text_encoder
    layers = getattr(encoder, "text_model", encoder).encoder.layers
    del layers[-1]
    text = pipeline.encode_prompt("a cat", CPU, 1, False)[0]
    ours = load_plain(pico, clip_skip=2).encode_captions(["a cat"])["text"]
    assert torch.allclose(ours, text, atol=1e-6)


@pytest.mark.parametrize("build", [build_pico, build_pico_xl])
def test_long_captions_are_read_window_by_window(tmp_path, build):
    family = load_plain(build(tmp_path / "model"), max_windows=3)
    tokenizer = family.tokenizers[0]
    words = tokenizer(LONG, add_special_tokens=False, verbose=False).input_ids
    room = tokenizer.model_max_length - 2
    chunks = split_into_chunks(tokenizer, words, 20)
    assert len(chunks) == -(-len(words) // room) > 2
    assert [token for window in chunks for token in window[1:-1]][: len(words)] == words
    text = family.encode_captions([LONG])["text"]
    assert text.shape[1] == (room + 2) * 3
    # The reference: every window is a prompt of its own.
    pieces = [tokenizer.decode(words[start : start + room]) for start in range(0, 3 * room, room)]
    parts = [family.encode_captions([piece])["text"] for piece in pieces]
    assert torch.allclose(text, torch.cat(parts, dim=1), atol=1e-5)


def test_captions_beyond_the_limit_are_cut(pico):
    family = load_plain(pico, max_windows=2)
    length = 2 * family.tokenizers[0].model_max_length
    assert family.encode_captions([LONG])["text"].shape[1] == length


@pytest.mark.parametrize("build", [build_pico, build_pico_xl])
def test_a_caption_means_the_same_beside_a_longer_one(tmp_path, build):
    family = load_plain(build(tmp_path / "model"))
    latents = torch.randn(2, 4, 8, 8, generator=torch.Generator().manual_seed(0))
    sizes = family.describe_sizes([Geometry((64, 64), (0, 0), (64, 64))] * 2)
    together = family.encode_captions(["a cat", LONG])
    length = family.tokenizers[0].model_max_length
    assert together["mask"].sum(dim=1).tolist() == [length, 3 * length]
    both = family.predict(latents, torch.tensor([5, 5]), together | sizes)
    for index, caption in enumerate(["a cat", LONG]):
        row = slice(index, index + 1)
        alone = family.encode_captions([caption])
        assert "mask" not in alone
        own = {name: value[row] for name, value in sizes.items()}
        single = family.predict(latents[row], torch.tensor([5]), alone | own)
        assert torch.allclose(both[row], single, atol=1e-5)


def test_sdxl_draws_what_diffusers_draws(pico_xl):
    from diffusers import DDIMScheduler

    pipeline = xl_pipeline(pico_xl)
    pipeline.scheduler = DDIMScheduler.from_config(pipeline.scheduler.config, clip_sample=False)
    theirs = pipeline(
        "x",
        negative_prompt="y",
        generator=torch.Generator("cpu").manual_seed(3),
        num_inference_steps=3,
        guidance_scale=6.0,
        width=32,
        height=32,
    ).images[0]
    ours = load_plain(pico_xl).generate(GenerationRequest("x", "y", 3, 3, 6.0, 32, 32))
    assert np.abs(np.asarray(ours).astype(int) - np.asarray(theirs).astype(int)).max() <= 1


def test_long_prompts_are_drawn_beside_a_short_negative_one(pico):
    family = load_plain(pico)
    image = family.generate(GenerationRequest(LONG, "bad", 3, 2, 7.0, 32, 32))
    short = family.generate(GenerationRequest(LONG[:100], "bad", 3, 2, 7.0, 32, 32))
    assert np.abs(np.asarray(image).astype(int) - np.asarray(short).astype(int)).max() > 0


def test_zero_snr_is_refused_for_models_that_predict_the_noise(pico):
    with pytest.raises(ModelError, match="zero_snr"):
        load_plain(pico, zero_snr="on")


def test_zero_snr_ends_in_pure_noise_and_equals_diffusers(pico_v):
    from diffusers import DDIMScheduler

    from trainer.diffusion import make_schedule

    family = load_plain(pico_v, zero_snr="on")
    ours = make_schedule(**family.schedule_config()).alphas_cumprod
    theirs = DDIMScheduler.from_config(
        family.info.scheduler, rescale_betas_zero_snr=True
    ).alphas_cumprod
    assert ours[-1] == 0
    assert torch.allclose(ours, theirs, atol=1e-6)
    image = family.generate(GenerationRequest("x", "", 3, 2, 7.0, 32, 32))
    assert np.isfinite(np.asarray(image)).all()


def test_xformers_is_refused_where_it_cannot_work(pico, monkeypatch):
    with pytest.raises(ModelError, match=r"lorasmith\[xformers\]"):
        load_plain(pico, attention="xformers")
    monkeypatch.setattr("trainer.models.attention.find_spec", lambda _: object())
    with pytest.raises(ModelError, match="CUDA"):
        use_xformers(None, CPU)


def test_resting_models_come_back_when_they_are_needed(pico_xl):
    family = load_plain(pico_xl)
    before = family.generate(GenerationRequest("x", "", 3, 2, 7.0, 32, 32))
    family.keep_on_device({"unet"})
    again = family.generate(GenerationRequest("x", "", 3, 2, 7.0, 32, 32))
    assert np.array_equal(np.asarray(before), np.asarray(again))


def test_sdxl_trains_and_its_file_has_every_layer(make_run, cache, pico_xl):
    run = make_run(f'base_model.path="{pico_xl}"', "samples.every_steps=2")
    assert train(run, cache) == "finished"
    exported = next(e for e in read_events(run.events_path) if e["event"] == "exported")
    layers = {name.partition(".")[0] for name in read_header(run.path / exported["file"]).tensors}
    assert len(layers) == exported["modules"]
    assert "lora_unet_input_blocks_4_1_transformer_blocks_0_attn1_to_q" in layers
    assert {name.split("_")[1] for name in layers} == {"unet", "te1", "te2"}


def test_sizes_follow_the_cut_and_the_mirror():
    placement = Placement(Bucket(32, 64), 0.5, (50, 64), (6, 0), upscaled=False, crop_fraction=0.3)
    example = EncodedExample("a.png", "", "", (100, 128), placement)
    assert describe_geometry(example, flipped=False) == Geometry((128, 100), (0, 6), (64, 32))
    assert describe_geometry(example, flipped=True).crop == (0, 12)


def test_4_bit_layers_change_little_and_train(make_run, cache, pico_xl):
    pytest.importorskip("bitsandbytes")
    plain, packed = load_plain(pico_xl), load_plain(pico_xl, quantize="nf4")
    kinds = {type(module).__name__ for module in packed.unet.modules()}
    assert "Linear4bit" in kinds
    assert {type(p.data).__name__ for p in packed.unet.conv_in.parameters()} == {"Tensor"}
    latents = torch.randn(1, 4, 8, 8, generator=torch.Generator().manual_seed(0))
    words = plain.encode_captions(["a cat"])
    words |= plain.describe_sizes([Geometry((64, 64), (0, 0), (64, 64))])
    outputs = [each.predict(latents, torch.tensor([500]), words) for each in (plain, packed)]
    error = (outputs[0] - outputs[1]).norm() / outputs[0].norm()
    assert 0 < error < 0.1
    run = make_run(f'base_model.path="{pico_xl}"', "base_model.quantize=nf4")
    assert train(run, cache) == "finished"
    losses = [e["loss"] for e in read_events(run.events_path) if e["event"] == "step"]
    assert np.isfinite(losses).all()


def test_weight_differences_are_made_one_at_a_time(pico):
    """All of an SDXL adapter's differences at once are 10 GB."""
    adapters = attach_new(load_plain(pico), AdapterConfig(rank=2), 1, CPU)
    deltas = adapters.deltas()
    assert len(deltas) == len(adapters.adapters)
    layer = next(iter(deltas))
    assert deltas[layer] is not deltas[layer]
    assert {name: value.shape for name, value in deltas.items()} == {
        name: tuple(target.layer.weight.shape) for name, target in adapters.targets.items()
    }


@pytest.mark.parametrize("build", [build_pico, build_pico_xl])
def test_tokens_beyond_the_chunks_are_counted(tmp_path, build):
    family = load_plain(build(tmp_path / "model"), max_windows=2)
    tokenizer = family.tokenizers[0]
    room = 2 * (tokenizer.model_max_length - 2)
    words = tokenizer(LONG, add_special_tokens=False, verbose=False).input_ids
    assert family.count_unread_tokens(LONG) == len(words) - room > 0
    assert family.count_unread_tokens(tokenizer.decode(words[:room])) == 0
    assert family.count_unread_tokens("") == 0
