"""What a file says about itself: complete, readable by others, and nothing of the private."""

import base64
import io
import json
import typing

import pytest
from PIL import Image
from pydantic import BaseModel
from safetensors import safe_open

from tests.trainer.conftest import build_pico, write_images
from trainer.config import RunConfig, layer_config
from trainer.export import ExportError, ExportFacts, make_metadata, name_base_model, read_settings
from trainer.export.privacy import strip_settings
from trainer.training.expected_header import expect_header


def facts(**changes):
    values = {
        "family": "sd15",
        "prediction": "epsilon",
        "base_model_name": "base",
        "captions": ["zorp, Red cat", "zorp, dog"],
        "resolution": 512,
        "buckets": {(512, 512): 2},
        "step": 100,
        "started": 1_700_000_000.0,
    }
    return ExportFacts(**{**values, **changes})


SD = "diffusers"
XL = "https://github.com/Stability-AI/generative-models"


@pytest.mark.parametrize(
    ("family", "prediction", "version", "architecture", "implementation", "predicts"),
    [
        ("sd15", "epsilon", "sd_v1", "stable-diffusion-v1/lora", SD, "epsilon"),
        ("sd2", "epsilon", "sd_v2", "stable-diffusion-v2-512/lora", SD, "epsilon"),
        ("sd2", "v_prediction", "sd_v2_v", "stable-diffusion-v2-768-v/lora", SD, "v"),
        ("sdxl", "epsilon", "sdxl_base_v1-0", "stable-diffusion-xl-v1-base/lora", XL, "epsilon"),
        ("sdxl", "v_prediction", "sdxl_base_v1-0", "stable-diffusion-xl-v1-base/lora", XL, "v"),
    ],
)
def test_the_header_names_the_family_as_other_programs_read_it(
    family, prediction, version, architecture, implementation, predicts
):
    found = make_metadata(RunConfig(), facts(family=family, prediction=prediction))
    assert found["ss_base_model_version"] == version
    assert found["ss_v2"] == str(family == "sd2")
    assert found["modelspec.architecture"] == architecture
    assert found["modelspec.implementation"] == implementation
    assert found["modelspec.prediction_type"] == predicts


def test_the_header_is_text_that_a1111_can_parse():
    settings = {"name": "zorp-lora", "dataset": {"trigger": "zorp", "path": "/home/me/secret"}}
    found = make_metadata(layer_config(settings=settings), facts())
    assert all(isinstance(value, str) and value != "None" for value in found.values())
    assert json.loads(found["ss_tag_frequency"]) == {
        "zorp-lora": {"zorp": 2, "red cat": 1, "dog": 1}
    }
    assert json.loads(found["ss_dataset_dirs"]) == {"zorp-lora": {"n_repeats": 1, "img_count": 2}}
    assert json.loads(found["ss_bucket_info"])["buckets"]["0"]["resolution"] == [512, 512]
    assert float(found["ss_training_started_at"]) == 1_700_000_000.0
    assert found["modelspec.trigger_phrase"] == "zorp"
    for value in (value for value in found.values() if value.startswith("{")):
        assert isinstance(json.loads(value), dict)


def test_unknown_values_are_left_out():
    found = make_metadata(RunConfig(), facts(base_model_name=""))
    missing = {"ss_sd_model_name", "ss_vae_name", "ss_clip_skip", "ss_mixed_precision"}
    assert not missing & set(found)
    assert not [key for key, value in found.items() if not value]


def test_settings_that_others_must_know_are_told():
    settings = {
        "base_model": {"clip_skip": 2, "vae": "owner/some-vae/vae.safetensors"},
        "objective": {"weighting": "min_snr", "min_snr_gamma": 3.0, "noise_offset": 0.05},
        "adapter": {"conv_rank": 0, "dropout": 0.1},
    }
    found = make_metadata(
        layer_config(settings=settings), facts(zero_snr=True, precision="bf16", base_model_name="b")
    )
    assert found["ss_clip_skip"] == found["modelspec.encoder_layer"] == "2"
    assert found["ss_vae_name"] == "vae.safetensors"
    assert found["ss_zero_terminal_snr"] == "True"
    assert found["ss_mixed_precision"] == "bf16"
    assert found["ss_min_snr_gamma"] == "3.0"
    assert found["ss_loss_type"] == "l2"
    assert found["ss_network_dropout"] == "0.1"
    assert found["ss_network_args"] == "{}"


def test_a_loss_is_told_in_the_words_of_kohyas_trainer():
    objective = {"loss": "huber", "huber_schedule": "snr", "weighting": "debiased"}
    noise = {"pyramid_noise": 0.3, "input_perturbation": 0.1, "max_timestep": 500}
    found = make_metadata(layer_config(settings={"objective": objective | noise}), facts())
    assert {key: value for key, value in found.items() if key in {
        "ss_loss_type", "ss_huber_c", "ss_huber_schedule", "ss_debiased_estimation",
        "ss_multires_noise_discount", "ss_ip_noise_gamma", "modelspec.timestep_range",
    }} == {
        "ss_loss_type": "huber", "ss_huber_c": "0.1", "ss_huber_schedule": "snr",
        "ss_debiased_estimation": "True", "ss_multires_noise_discount": "0.3",
        "ss_ip_noise_gamma": "0.1", "modelspec.timestep_range": "0,500",
    }  # fmt: skip
    assert "ss_min_snr_gamma" not in found


def test_tag_counts_can_be_left_out():
    config = layer_config(assignments=["output.tag_counts=false"])
    assert "ss_tag_frequency" not in make_metadata(config, facts())


def test_long_captions_do_not_fill_the_header():
    captions = [f"{n} " + "ß" * 5000 for n in range(300)]
    table = make_metadata(RunConfig(), facts(captions=captions))["ss_tag_frequency"]
    assert len(table.encode()) < 70_000
    assert isinstance(json.loads(table)["my-lora"], dict)


def test_dates_follow_source_date_epoch(monkeypatch):
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "0")
    found = make_metadata(RunConfig(), facts())
    assert found["modelspec.date"] == "1970-01-01T00:00:00Z"
    assert found["ss_training_started_at"] == "0.0"


def test_an_essential_header_holds_what_loaders_need_and_what_was_written_for_it():
    settings = {
        "dataset": {"trigger": "zorp"},
        "output": {"header": "essential", "author": "me", "title": "Zorp", "usage_hint": "gently"},
    }
    found = make_metadata(layer_config(settings=settings), facts(), "data:image/jpeg;base64,x")
    assert set(found) == {
        "ss_base_model_version", "ss_v2", "ss_network_module", "ss_network_dim", "ss_network_alpha",
        "ss_network_args", "modelspec.sai_model_spec", "modelspec.architecture",
        "modelspec.implementation", "modelspec.title", "modelspec.resolution",
        "modelspec.prediction_type", "modelspec.author", "modelspec.usage_hint",
    }  # fmt: skip
    assert read_settings(found) == {}


def test_a_file_opens_the_settings_that_made_it_again():
    settings = {
        "name": "zorp",
        "base_model": {"path": "/models/base.safetensors", "clip_skip": 2},
        "dataset": {"path": "/home/me/pictures", "trigger": "zorp", "resolution": 640},
        "adapter": {"rank": 12, "start_from": "/home/me/old.safetensors"},
        "samples": {"prompts": ["a zorp", "two zorps"]},
    }
    made = layer_config(settings=settings)
    opened = layer_config(settings=read_settings(make_metadata(made, facts())))
    assert opened.adapter.rank == 12
    assert opened.samples == made.samples
    assert (opened.base_model.path, opened.dataset.path, opened.adapter.start_from) == ("", "", "")
    again = {**made.model_dump(), **{k: made.model_dump()[k] | v for k, v in {
        "base_model": {"path": ""}, "dataset": {"path": ""}, "adapter": {"start_from": ""}
    }.items()}}  # fmt: skip
    assert opened.model_dump() == again


@pytest.mark.parametrize("text", ["{", "[1]", "null"])
def test_damaged_settings_in_a_header_are_told(text):
    with pytest.raises(ExportError, match="settings in the file's header are damaged"):
        read_settings({"lorasmith.config": text})


def list_texts(section, prefix=""):
    """Yields the path of each setting that holds text, and whether it is a list of texts."""
    for name, field in section.model_fields.items():
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            yield from list_texts(field.annotation, f"{prefix}{name}.")
        elif str in (field.annotation, *typing.get_args(field.annotation)):
            yield f"{prefix}{name}", typing.get_origin(field.annotation) is list


def test_only_texts_meant_for_others_are_kept_from_a_config():
    tree: dict = {}
    secrets = {}
    for number, (path, several) in enumerate(list_texts(RunConfig)):
        head, _, last = path.rpartition(".")
        place = tree.setdefault(head, {}) if head else tree
        secrets[path] = f"TELLTALE{number:03}"
        value = f"https://{secrets[path]}" if last == "webhook" else secrets[path]
        place[last] = [value] if several else value
    tree["name"], tree["train"] = "public", {"device": "cuda:1"}
    kept = json.dumps(strip_settings(layer_config(settings=tree)))
    public = {path for path, secret in secrets.items() if secret in kept}
    assert public == {
        "dataset.trigger", "samples.prompts", "samples.negative_prompt", "output.title",
        "output.author", "output.license", "output.description", "output.usage_hint",
    }  # fmt: skip
    assert "cuda" not in kept


def test_a_base_model_is_named_without_its_folders(tmp_path):
    folder = tmp_path / "of-jane-doe"
    folder.mkdir()
    (folder / "base.safetensors").write_bytes(b"")
    assert name_base_model(str(folder / "base.safetensors")) == "base.safetensors"
    assert name_base_model(str(folder)) == ""
    assert name_base_model(str(tmp_path / "gone" / "base")) == ""
    assert name_base_model("jane/nice-model@v1") == "nice-model"
    assert name_base_model("jane/nice-model/nice.safetensors") == "nice.safetensors"


@pytest.fixture
def telltale_run(tmp_path, make_run):
    """A run whose every folder has a name that must not get out."""
    base = build_pico(tmp_path / "janedoe" / "TELLTALE-base")
    images = write_images(tmp_path / "janedoe" / "TELLTALE-images", [(32, 32), (48, 32)])
    return make_run(
        f"base_model.path={base}",
        f"dataset.path={images}",
        "samples.every_steps=2",
        "output.formats=both",
        folder="janedoe/TELLTALE-runs",
    )


def test_no_path_nor_folder_nor_user_is_in_any_exported_byte(
    telltale_run, tmp_path, cache, monkeypatch
):
    from trainer.commands import train

    monkeypatch.setenv("USER", "janedoe")
    train(telltale_run, cache)
    written = [
        path for path in telltale_run.path.iterdir() if path.suffix in {".safetensors", ".png"}
    ]
    assert len(written) == 3
    for path in [*written, telltale_run.path / "pico.json"]:
        content = path.read_bytes()
        for word in ("TELLTALE", "janedoe", str(tmp_path), tmp_path.name):
            assert word.encode() not in content, (path.name, word)


def test_the_header_is_shown_before_anything_is_trained(telltale_run, cache):
    from trainer.commands import train

    expected = expect_header(telltale_run.config)
    train(telltale_run, cache)
    with safe_open(telltale_run.path / "pico.safetensors", "pt") as file:
        written = file.metadata()
    assert set(written) - set(expected) == {
        "sshs_model_hash", "modelspec.hash_sha256", "modelspec.thumbnail"
    }  # fmt: skip
    changing = {"ss_training_started_at", "ss_training_finished_at", "modelspec.date"}
    for key in set(expected) - changing:
        assert written[key] == expected[key], key
    after = expect_header(telltale_run.config, telltale_run)
    assert after["modelspec.thumbnail"] == written["modelspec.thumbnail"]


def test_a_run_leaves_both_formats_a_card_and_a_preview(telltale_run, cache):
    from trainer.commands import train

    train(telltale_run, cache)
    assert telltale_run.list_exports()[0].name == "pico.safetensors"
    assert (telltale_run.path / "pico-diffusers.safetensors").is_file()
    card = json.loads((telltale_run.path / "pico.json").read_text(encoding="utf-8"))
    assert card["activation text"] == "zorp"
    assert card["sd version"] == "SD1"
    assert card["preferred weight"] == 1.0
    with Image.open(telltale_run.path / "pico.png") as preview:
        assert preview.info == {}  # no prompt: the picture is shown to everybody
    with safe_open(telltale_run.path / "pico.safetensors", "pt") as file:
        head, _, data = file.metadata()["modelspec.thumbnail"].partition(",")
    assert head == "data:image/jpeg;base64"
    with Image.open(io.BytesIO(base64.b64decode(data))) as thumbnail:
        assert (thumbnail.format, thumbnail.size) == ("JPEG", (256, 256))


def test_an_sdxl_run_exports_under_the_names_that_sdxl_files_have(make_run, cache, pico_xl):
    from safetensors.torch import load_file

    from trainer.commands import train

    run = make_run(f"base_model.path={pico_xl}", "output.formats=both", "train.steps=1")
    train(run, cache)
    kohya = load_file(run.path / "pico.safetensors")
    heads = {key.partition("_blocks")[0].partition("_text_model")[0] for key in kohya}
    assert {head.split("_block")[0] for head in heads} == {
        "lora_unet_input", "lora_unet_middle", "lora_unet_output", "lora_te1", "lora_te2"
    }  # fmt: skip
    peft = load_file(run.path / "pico-diffusers.safetensors")
    assert len(peft) == 2 * sum(key.endswith(".alpha") for key in kohya)
    with safe_open(run.path / "pico.safetensors", "pt") as file:
        assert file.metadata()["ss_base_model_version"] == "sdxl_base_v1-0"
    assert json.loads((run.path / "pico.json").read_text())["sd version"] == "SDXL"


def test_a_file_that_starts_from_another_tells_the_ranks_of_that_one(make_run, cache):
    from trainer.commands import train

    first = make_run("train.steps=1", "adapter.rank=3", "adapter.alpha=1.5", folder="first")
    train(first, cache)
    second = make_run("train.steps=1", f"adapter.start_from={first.path / 'pico.safetensors'}")
    train(second, cache)
    with safe_open(second.path / "pico.safetensors", "pt") as file:
        found = file.metadata()
    assert (found["ss_network_dim"], found["ss_network_alpha"]) == ("3", "1.5")
    # A file has one alpha; what convolutions had of their own is folded into their weights.
    assert json.loads(found["ss_network_args"]) == {"conv_dim": "2", "conv_alpha": "1.5"}
    assert "start_from" not in found["lorasmith.config"]


def test_without_samples_there_is_no_preview(make_run, cache):
    from trainer.commands import train

    run = make_run("samples.every_steps=0", "train.steps=2")
    train(run, cache)
    assert (run.path / "pico.json").is_file()
    assert not (run.path / "pico.png").exists()
    with safe_open(run.path / "pico.safetensors", "pt") as file:
        assert "modelspec.thumbnail" not in file.metadata()


def test_a_damaged_sample_does_not_cost_the_export(tmp_path):
    from trainer.export import make_thumbnail

    (tmp_path / "00.png").write_bytes(b"\x89PNG damaged")
    Image.new("RGB", (40, 20), "red").save(tmp_path / "01.png")
    assert make_thumbnail([tmp_path / "00.png", tmp_path / "01.png"]).startswith("data:image/jpeg")
    assert make_thumbnail([tmp_path / "00.png"]) == ""


def test_a_run_named_like_the_owners_file_is_refused():
    from trainer.config import ConfigError

    with pytest.raises(ConfigError, match=r"process\.json"):
        layer_config(assignments=["name=process"])
