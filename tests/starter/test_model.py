"""The finished folder: what others load, what the card says, what it may weigh."""

import json

import pytest
import torch
from recipe.errors import RecipeError
from recipe.model_folder import MAX_TOTAL_BYTES, check_sizes, deliver
from recipe.networks import build_text_encoder, build_unet, build_vae
from recipe.settings import PRESETS, SMOKE
from recipe.tokenizer import POSITIONS, cut_tokenizer, tokenize
from transformers import CLIPTokenizer

from tests.starter.conftest import TOKENIZER, read_weights


def test_diffusers_loads_the_model_and_draws(model):
    from diffusers import StableDiffusionPipeline

    pipeline = StableDiffusionPipeline.from_pretrained(model).to(torch.float32)
    pipeline.set_progress_bar_config(disable=True)
    generator = torch.Generator().manual_seed(0)
    image = pipeline("an owl", num_inference_steps=2, generator=generator).images[0]
    assert image.size == (128, 128)
    assert pipeline.tokenizer.model_max_length == POSITIONS
    assert pipeline.text_encoder.config.max_position_embeddings == POSITIONS
    assert pipeline.vae_scale_factor == 8
    assert pipeline.scheduler.config.prediction_type == "epsilon"


def test_our_trainer_takes_the_model_for_a_stable_diffusion_1(model):
    from trainer.models.check import check_base_model

    info = check_base_model(model, "auto", "auto")
    assert (info.family, info.prediction) == ("sd15", "epsilon")


def test_all_weights_are_fp16_and_those_that_were_trained(model, build):
    for part in ("unet", "text_encoder", "vae"):
        stage = build.vae if part == "vae" else build.refined
        shipped, trained = (read_weights(path / part) for path in (model, stage.folder))
        assert shipped.keys() == trained.keys()
        assert {value.dtype for value in shipped.values()} == {torch.float16}
        assert all(torch.equal(shipped[name], trained[name].half()) for name in shipped)


def test_model_names_no_place_on_this_machine(model, build, shared_packages):
    for path in (path for path in model.rglob("*") if path.suffix in {".json", ".md", ".txt"}):
        text = path.read_text(encoding="utf-8")
        assert str(build.work) not in text
        assert str(shared_packages) not in text
        assert "_name_or_path" not in text


def test_card_gives_attribution_data_limits_and_numbers(model, build, icons):
    card = (model / "README.md").read_text(encoding="utf-8")
    for words in ("Google Inc.", "Twitter", "CC-BY-4.0", "Apache-2.0", "OpenMoji", "CLIP"):
        assert words in card
    measured = json.loads((build.evaluated.folder / "measured.json").read_text())
    assert f"{measured['prompts']['concept_top1']:.1%}" in card
    assert f"{measured['vae']['openmoji']['psnr_db']:.1f} dB" in card
    assert "What it cannot do" in card
    held_out = {icon.name for icon in icons if icon.held_out}
    assert all(name in card for name in held_out)
    captioned = card.split("Captions name")[1].split(": ")[1].split(".")[0].split(", ")
    assert set(captioned) == {icon.name for icon in icons} - held_out
    assert "--preset smoke" in card
    for image in ("contact-sheet.png", "vae-sheet.png"):
        assert image in card
        assert (model / image).is_file()


def test_every_measure_of_the_card_is_there(build):
    measured = json.loads((build.evaluated.folder / "measured.json").read_text())
    assert set(measured["vae"]) == {"noto", "twemoji", "openmoji"}
    for name in (
        "concept_top1",
        "concept_top5",
        "style_right",
        "style_nearest",
        "background_right",
    ):
        assert 0 <= measured["prompts"][name] <= 1
    assert measured["prompts"]["prompts"] == SMOKE.evaluation.prompts
    assert measured["prompts"]["reachable_concept_top5"] >= measured["prompts"]["concept_top1"]


def test_finished_model_is_measured_again_by_command(
    model, build, shared_packages, run_build, capsys
):
    places = ("--preset", "smoke", "--packages", shared_packages, "--work", build.work)
    stages = sorted(path.name for path in build.work.iterdir())
    assert run_build(*places, "--measure", model) == 0
    printed = capsys.readouterr().out
    again = json.loads(printed[printed.index("{") : printed.index("\n}\n") + 2])
    before = json.loads((build.evaluated.folder / "measured.json").read_text())
    for style, row in before["vae"].items():  # the shipped weights are fp16, those before fp32
        assert again["vae"][style]["psnr_db"] == pytest.approx(row["psnr_db"], abs=0.1)
    assert '"concept_top1"' in printed
    assert sorted(path.name for path in build.work.iterdir()) == stages
    assert run_build(*places, "--measure", build.work) == 1
    assert "is no model in the layout of diffusers" in capsys.readouterr().err


def test_cut_tokenizer_equals_the_shipped_one_and_knows_any_text():
    ours = cut_tokenizer(TOKENIZER, 6000)
    shipped = CLIPTokenizer.from_pretrained(TOKENIZER.parent)
    for text in ("a cat face, omoji style", "smitty123 xyzzy", "żółw", "日本", ""):
        assert ours(text)["input_ids"] == shipped(text)["input_ids"][: len(ours(text)["input_ids"])]
        assert ours.unk_token_id not in ours(text)["input_ids"][1:-1]


def test_fewer_merges_give_a_smaller_vocabulary_that_still_covers_bytes():
    small = cut_tokenizer(TOKENIZER, 10)
    assert len(small) == 512 + 10 + 2
    assert small("żółw!")["input_ids"][-1] == len(small) - 1
    with pytest.raises(RecipeError, match="holds 6000 merges"):
        cut_tokenizer(TOKENIZER, 6001)


def test_rows_of_tokens_are_padded_and_never_cut():
    tokenizer = cut_tokenizer(TOKENIZER, 100)
    rows = tokenize(tokenizer, ["owl", ""])
    assert rows.shape == (2, POSITIONS)
    assert (rows[1, 1:] == tokenizer.eos_token_id).all()
    with pytest.raises(RecipeError, match="tokens long"):
        tokenize(tokenizer, ["very " * 80])


def test_old_transformers_find_the_two_files_that_they_read(model, tmp_path):
    for name in ("vocab.json", "merges.txt", "tokenizer_config.json"):
        (tmp_path / name).write_bytes((model / "tokenizer" / name).read_bytes())
    old, new = (CLIPTokenizer.from_pretrained(path) for path in (tmp_path, model / "tokenizer"))
    assert old("a glowing owl")["input_ids"] == new("a glowing owl")["input_ids"]


def test_full_model_fits_into_what_may_ship():
    settings = PRESETS["full"]
    vocabulary = 512 + settings.data.merges + 2
    networks = (
        build_vae(settings.vae, 0),
        build_unet(settings.unet, 0),
        build_text_encoder(settings.unet, vocabulary, 0),
    )
    weights = sum(p.numel() for network in networks for p in network.parameters())
    beside_weights = 2_500_000  # tokenizer, configs, card, contact sheets
    assert 2 * weights + beside_weights < MAX_TOTAL_BYTES


def test_model_that_is_too_large_is_refused(tmp_path, monkeypatch):
    from recipe import model_folder

    (tmp_path / "weights").write_bytes(b"0" * 100)
    check_sizes(tmp_path)
    monkeypatch.setattr(model_folder, "MAX_TOTAL_BYTES", 99)
    with pytest.raises(RecipeError, match="100 bytes in all"):
        check_sizes(tmp_path)
    monkeypatch.setattr(model_folder, "MAX_FILE_BYTES", 99)
    with pytest.raises(RecipeError, match="weights has 100 bytes"):
        check_sizes(tmp_path)


def test_another_model_is_never_overwritten(model, tmp_path):
    out = tmp_path / "out"
    deliver(model, out)
    deliver(model, out)
    (out / "model_index.json").write_text("{}")
    with pytest.raises(RecipeError, match="is another model"):
        deliver(model, out)
    assert (out / "model_index.json").read_text() == "{}"
