"""Pivotal tuning: the trigger as a learned word, trained, exported, and read by diffusers."""

import zipfile

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from tests.trainer.conftest import asking, load_plain
from trainer.commands import train
from trainer.config import ConfigError
from trainer.device import open_device_context
from trainer.export import ExportError, make_civitai_zip, make_hub_folder, write_embedding
from trainer.inference.sampling import generate, weighted
from trainer.models import ModelError
from trainer.models.family import GenerationRequest
from trainer.runs import read_events
from trainer.training.attach import attach_checkpoint, attach_file
from trainer.training.loop import read_batches, take_step
from trainer.training.session import open_session

CPU = torch.device("cpu")
PIVOTAL = ("adapter.word_vectors=3", "optimizer.word_learning_rate=0.05")
KEYS = {"pico": ["emb_params"], "pico_xl": ["clip_g", "clip_l"]}


@pytest.fixture(params=["pico", "pico_xl"])
def base(request):
    return request.getfixturevalue(request.param)


def tables_of(family):
    return [encoder.get_input_embeddings() for encoder in family.text_encoders]


def embedding_of(run):
    return run.path / "pico-embedding" / "zorp.safetensors"


def make_pipeline(base):
    from diffusers import StableDiffusionPipeline, StableDiffusionXLPipeline

    kind = StableDiffusionXLPipeline if base.parent.name.startswith("pico-xl") else None
    if kind:
        return kind.from_pretrained(base)
    return StableDiffusionPipeline.from_pretrained(base, safety_checker=None)


def same_conditioning(one, other):
    return all(torch.equal(one[name], other[name]) for name in one)


def test_a_word_that_starts_from_another_means_the_same(base):
    family = load_plain(base)
    wanted = family.encode_captions(["a red cat, by night", "red"])
    count = len(family.tokenizers[0]("red cat", add_special_tokens=False).input_ids)
    word = family.vocabulary.add_token("zorp", family.vocabulary.initial_vectors("red cat", count))
    assert same_conditioning(family.encode_captions(["a zorp, by night", "red"]), wanted)
    with torch.no_grad():
        for vectors in word.vectors:
            vectors.add_(1.0)
    changed = family.encode_captions(["a zorp, by night", "red"])
    assert not any(torch.allclose(changed[name][0], wanted[name][0]) for name in wanted)
    assert torch.equal(changed["text"][1], wanted["text"][1])


def test_a_base_model_forgets_a_word_without_a_trace(base):
    family = load_plain(base)
    names = [list(encoder.state_dict()) for encoder in family.text_encoders]
    tables = tables_of(family)
    plain = family.encode_captions(["a zorp"])
    first = family.vocabulary.add_token("zorp", family.vocabulary.initial_vectors("cat", 2))
    second = family.vocabulary.add_token("glim", family.vocabulary.initial_vectors("red", 1))
    first.enabled = False
    assert same_conditioning(family.encode_captions(["a zorp"]), plain)
    first.forget()
    assert family.vocabulary.words == [second]
    second.forget()
    assert all(now is before for now, before in zip(tables_of(family), tables, strict=True))
    assert [list(encoder.state_dict()) for encoder in family.text_encoders] == names
    assert same_conditioning(family.encode_captions(["a zorp"]), plain)


def test_several_words_of_several_vectors_keep_apart(pico):
    family = load_plain(pico)
    wanted = family.encode_captions(["red cat and a blue dog"])
    initial_vectors = family.vocabulary.initial_vectors
    family.vocabulary.add_token("zorp", initial_vectors("red cat", 2))
    family.vocabulary.add_token("zorpel-2", initial_vectors("blue dog", 2))
    counts = [len(family.vocabulary.tokenize(0, text)) for text in ("red cat", "zorp", "zorpel-2")]
    assert counts[1:] == [2, 2]
    if counts[0] == 2:
        assert same_conditioning(family.encode_captions(["zorp and a zorpel-2"]), wanted)


def test_the_pooled_text_is_that_of_the_end_in_configs_of_either_age(pico_xl):
    """Older configs name the wrong end token; the model then takes the largest one of a row."""
    family = load_plain(pico_xl)
    encoder = family.text_encoders[1]
    core = getattr(encoder, "text_model", encoder)
    count = len(family.tokenizers[1]("cat", add_special_tokens=False).input_ids)
    family.vocabulary.add_token("zorp", family.vocabulary.initial_vectors("cat", count))
    for eos_token_id in (2, family.tokenizers[1].eos_token_id):
        core.eos_token_id = eos_token_id
        wanted, found = (family.encode_captions([each])["pooled"] for each in ("a cat", "a zorp"))
        assert torch.equal(wanted, found)


def test_only_words_and_adapters_learn(make_run, cache, base):
    run = make_run(f'base_model.path="{base}"', *PIVOTAL, "adapter.text_rank=0")
    session = open_session(run, cache)
    tables = [table.weight.clone() for table in tables_of(session.family)]
    before = [vectors.clone() for vectors in session.adapters.word.vectors]
    session.state.start_learning()
    take_step(session, read_batches(session))
    for vectors, start in zip(session.adapters.word.vectors, before, strict=True):
        assert vectors.shape == start.shape
        assert (vectors != start).any(dim=1).all()
    for table, start in zip(tables_of(session.family), tables, strict=True):
        assert torch.equal(table.weight, start)
        assert not table.weight.requires_grad
    rates = {group["part"]: group["lr"] for group in session.state.optimizer.param_groups}
    assert rates["word"] == 0.05


def test_a_run_goes_on_exactly_after_a_stop(make_run, cache):
    changes = (*PIVOTAL, "optimizer.ema_decay=0.5")
    whole, parts = make_run(*changes), make_run(*changes, folder="other")
    train(whole, cache)
    with asking(parts, {2: ["stop"]}):
        assert train(parts, cache) == "stopped"
    assert train(parts, cache) == "finished"
    for file in ("pico.safetensors", "pico-embedding/zorp.safetensors"):
        first, second = (load_file(run.path / file) for run in (whole, parts))
        assert all(torch.equal(first[name], second[name]) for name in first)


def test_the_files_hold_what_was_trained_and_diffusers_loads_them(make_run, cache, base):
    run = make_run(f'base_model.path="{base}"', *PIVOTAL)
    train(run, cache)
    event = next(e for e in read_events(run.events_path) if e["event"] == "embedding")
    assert event["file"] == "pico-embedding/zorp.safetensors"
    assert (event["word"], event["vectors"]) == ("zorp", 3)
    vectors = load_file(embedding_of(run))
    with safe_open(embedding_of(run), "pt") as file:
        assert file.metadata()["modelspec.architecture"].endswith("/textual-inversion")
        assert file.metadata()["modelspec.title"] == "zorp"
    request = GenerationRequest("a zorp by night", seed=3, inference_steps=3, width=32, height=32)
    context = open_device_context("cpu", "fp32")
    images = []
    for attach, path in (
        (attach_file, run.path / "pico.safetensors"),
        (attach_checkpoint, run.list_checkpoints()[-1].path),
    ):
        family = load_plain(base)
        adapters = attach(family, path, CPU)
        with weighted([adapters], [1.0]):
            images.append(generate(family, context, request))
        # At weight 0 there is neither the change nor the word.
        with weighted([adapters], [0.0]):
            without = generate(family, context, request)
        assert without.tobytes() == generate(load_plain(base), context, request).tobytes()
        assert without.tobytes() != images[-1].tobytes()
    # The file holds the convolutions' scale in another factor than the checkpoint.
    first, second = (np.asarray(image, dtype=int) for image in images)
    assert np.abs(first - second).max() <= 1

    pipeline = make_pipeline(base)
    pipeline.load_lora_weights(run.path, weight_name="pico.safetensors")
    if len(vectors) == 1:
        pipeline.load_textual_inversion(str(embedding_of(run)), token="zorp")
    else:
        for key, end in (("clip_l", ""), ("clip_g", "_2")):
            pipeline.load_textual_inversion(
                vectors[key],
                token="zorp",
                text_encoder=getattr(pipeline, f"text_encoder{end}"),
                tokenizer=getattr(pipeline, f"tokenizer{end}"),
            )
    family = load_plain(base)
    attach_file(family, run.path / "pico.safetensors", CPU).set_multiplier(1.0)
    with torch.no_grad():
        ours = family.encode_captions(["a zorp by night"])
    theirs = pipeline.encode_prompt(
        "a zorp by night", device=CPU, num_images_per_prompt=1, do_classifier_free_guidance=False
    )
    torch.testing.assert_close(ours["text"], theirs[0], rtol=1e-4, atol=1e-5)
    if "pooled" in ours:
        torch.testing.assert_close(ours["pooled"], theirs[2], rtol=1e-4, atol=1e-5)


def test_what_is_packed_for_others_brings_the_word_along(make_run, cache, tmp_path):
    run = make_run(*PIVOTAL)
    train(run, cache)
    folder = make_hub_folder(run.path, tmp_path / "hub")
    assert (folder / "zorp.safetensors").read_bytes() == embedding_of(run).read_bytes()
    card = (folder / "README.md").read_text(encoding="utf-8")
    assert "load_textual_inversion" in card
    assert "embedding of the trigger word" in card
    with zipfile.ZipFile(make_civitai_zip(run.path, tmp_path / "pico.zip")) as archive:
        assert archive.read("embeddings/zorp.safetensors") == embedding_of(run).read_bytes()
        assert "embedding:zorp" in archive.read("civitai.txt").decode()


def test_a_run_without_a_word_writes_no_embedding(make_run, cache):
    run = make_run("train.steps=1")
    train(run, cache)
    assert not embedding_of(run).parent.exists()


def test_the_prior_of_the_teacher_does_not_hear_the_word(make_run, cache):
    run = make_run(
        *PIVOTAL, "objective.prior=teacher", "dataset.class_word=blob", "objective.prior_weight=1.0"
    )
    session = open_session(run, cache)
    count = len(session.adapters.word.vectors[0])
    blob = session.family.vocabulary.initial_vectors("blob", count)[0]
    assert torch.equal(session.adapters.word.vectors[0].detach(), blob)
    session.state.start_learning()
    assert torch.isfinite(take_step(session, read_batches(session)))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("dataset.trigger=", "set dataset.trigger to one word"),
        ('dataset.trigger="two words"', "set dataset.trigger to one word"),
        ('dataset.trigger="../x"', "set dataset.trigger to one word"),
        ("adapter.word_vectors=99", "adapter.word_vectors"),
    ],
)
def test_a_trigger_that_can_be_no_word_is_refused(make_run, change, message):
    with pytest.raises(ConfigError, match=message):
        make_run(*PIVOTAL, change)


def test_prodigy_wants_one_rate_for_the_word_too(make_run):
    rates = [f"optimizer.{part}_learning_rate=1.0" for part in ("unet", "conv", "text")]
    with pytest.raises(ConfigError, match=r"optimizer\.word_learning_rate"):
        make_run(*PIVOTAL, "optimizer.kind=prodigy", *rates)


def test_a_bundled_embedding_is_used_in_previews(base, tmp_path):
    """OneTrainer writes embeddings into the LoRA's file; they mean what one beside it means."""
    family = load_plain(base)
    layer = "unet.mid_block.attentions.0.transformer_blocks.0.attn1.to_q"
    width = family.adaptable_models()["unet"].mid_block.attentions[0].proj_in.weight.shape[0]
    vectors = [each * 2 for each in family.vocabulary.initial_vectors("red cat", 2)]
    names = KEYS[base.parent.name.rstrip("0123456789").replace("-", "_")]
    lora = {f"{layer}.lora_A.weight": torch.zeros(1, width),
            f"{layer}.lora_B.weight": torch.zeros(width, 1)}  # fmt: skip
    words = {f"bundle_emb.zorp.{name}": each
             for name, each in zip(sorted(names, reverse=True), vectors, strict=True)}  # fmt: skip
    save_file(lora | words, tmp_path / "x.safetensors")
    save_file(lora, tmp_path / "y.safetensors")
    write_embedding(tmp_path / "y.safetensors", "zorp", vectors, {})
    plain = family.encode_captions(["a zorp"])
    meant = []
    for name in ("x", "y"):
        adapters = attach_file(family, tmp_path / f"{name}.safetensors", CPU)
        meant.append(family.encode_captions(["a zorp"]))
        adapters.set_multiplier(0.0)
        assert same_conditioning(family.encode_captions(["a zorp"]), plain)
        adapters.remove()
        assert same_conditioning(family.encode_captions(["a zorp"]), plain)
    assert same_conditioning(*meant)
    assert not same_conditioning(meant[0], plain)


def test_embeddings_that_cannot_be_used_are_told(make_run, cache, pico_xl, tmp_path):
    run = make_run(*PIVOTAL, "train.steps=1")
    train(run, cache)
    file, embedding = run.path / "pico.safetensors", embedding_of(run)
    sound = embedding.read_bytes()
    save_file({"emb_params": torch.zeros(1, 7)}, embedding)
    with pytest.raises(ExportError, match="7 wide, and this base model's text encoders need 32"):
        attach_file(load_plain(run.config.base_model.path), file, CPU)
    save_file({"other": torch.zeros(1, 7)}, embedding)
    with pytest.raises(ExportError, match=r"is not an embedding for SD 1\.x, SD 2\.x or SDXL"):
        attach_file(load_plain(run.config.base_model.path), file, CPU)
    embedding.write_bytes(sound[:40])
    family = load_plain(run.config.base_model.path)
    with pytest.raises(ExportError, match=r"zorp\.safetensors cannot be read"):
        attach_file(family, file, CPU)
    # What was put on before the fault was found is off again.
    assert same_conditioning(
        family.encode_captions(["a zorp"]),
        load_plain(run.config.base_model.path).encode_captions(["a zorp"]),
    )
    with pytest.raises(ModelError, match="no token"):
        family.vocabulary.initial_vectors(" ", 2)
    with pytest.raises(ExportError, match="not finite"):
        write_embedding(tmp_path / "x.safetensors", "zorp", [torch.full((1, 4), torch.nan)], {})
    assert list(tmp_path.glob("x-embedding*")) == []
