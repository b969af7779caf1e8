"""What is made for the Hub and for Civitai from a run or a file, and what is uploaded."""

import contextlib
import io
import json
import logging
import zipfile

import pytest
import torch
import yaml
from PIL import Image
from PIL.PngImagePlugin import PngInfo
from safetensors import safe_open
from safetensors.torch import load_file

from tests.trainer.test_headers import facts
from tests.trainer.upload_server import UploadHub, serve_uploads
from trainer.config import layer_config
from trainer.export import (
    ExportError,
    make_civitai_zip,
    make_hub_folder,
    make_metadata,
    name_layers,
    read_adapter_file,
    write_kohya,
    write_peft,
)
from trainer.formats.unet_names import SD_NAMES, SDXL_NAMES
from trainer.hub import HubError, upload_hub_folder
from trainer.runs import create_run

LAYERS = [
    "unet.down_blocks.1.attentions.0.transformer_blocks.0.attn1.to_out.0",
    "unet.up_blocks.1.resnets.0.conv_shortcut",
    "unet.mid_block.attentions.0.transformer_blocks.0.attn2.to_k",
    *(
        f"text_encoder.text_model.encoder.layers.0.self_attn.{part}_proj"
        for part in ("q", "k", "v", "out")
    ),
]
SETTINGS = {
    "name": "zorp-style",
    "base_model": {"path": "owner/base"},
    "dataset": {"trigger": "zorp, the style", "path": "/home/janedoe/zorps"},
    "samples": {"negative_prompt": "blurry"},
    "output": {
        "title": "Zorp | a “style”",
        "author": "Jane",
        "license": "cc-by-4.0",
        "description": "Draws zorps.",
        "preferred_weight": 0.8,
    },
}


def make_factors(layers=LAYERS):
    generator = torch.Generator().manual_seed(1)
    factors = {}
    for index, layer in enumerate(layers):
        rank = 2 + index % 3
        kernel = (1, 1) if "shortcut" in layer else ()
        width = 768 if "to_k" in layer else 12
        factors[layer] = (
            torch.randn(rank, width, *kernel, generator=generator),
            torch.randn(10, rank, *kernel, generator=generator),
            (0.5, 1.7)[index % 2],
        )
    return factors


def change_of(down, up, scale):
    return scale * (up.flatten(1) @ down.flatten(1))


def write_sample(path, prompt, seed):
    info = PngInfo()
    info.add_text("prompt", prompt)
    info.add_text("parameters", f"{prompt}\nSteps: 20, Sampler: DDIM, CFG scale: 7, Seed: {seed}")
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (64, 64), (seed * 40, 80, 120)).save(path, pnginfo=info)


@pytest.fixture
def run(tmp_path):
    """A run that has exported and drawn, without any training."""
    config = layer_config(settings=SETTINGS)
    run = create_run(tmp_path / "runs", config)
    metadata = make_metadata(config, facts(captions=["zorp, the style, cat"]))
    factors = make_factors()
    names = name_layers(factors, "sd15", SD_NAMES)
    write_kohya(run.path / "zorp-style.safetensors", factors, names, metadata, "fp16")
    for step in (50, 100, 150):
        for seed in (1, 2):
            write_sample(
                run.samples_path / f"step-{step:06d}" / f"{seed - 1:02d}.png",
                f'zorp, a "house" at {step}',
                seed,
            )
    return run


def read_front_matter(folder):
    text = (folder / "README.md").read_text(encoding="utf-8")
    _, matter, page = text.split("---\n", 2)
    return yaml.safe_load(matter), page


def test_a_hub_folder_holds_card_gallery_and_both_formats(run, tmp_path):
    folder = make_hub_folder(run.path, tmp_path / "hub")
    assert sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*.*")) == [
        "README.md",
        "images/00.png",
        "images/01.png",
        "pytorch_lora_weights.safetensors",
        "zorp-style.safetensors",
    ]


def test_the_card_tells_the_hub_what_the_adapter_is(run, tmp_path):
    matter, page = read_front_matter(make_hub_folder(run.path, tmp_path / "hub"))
    assert matter["base_model"] == "owner/base"
    assert matter["base_model_relation"] == "adapter"
    assert matter["license"] == "cc-by-4.0"
    assert matter["instance_prompt"] == "zorp, the style"
    assert matter["library_name"] == "diffusers"
    assert {"lora", "text-to-image", "template:sd-lora", "stable-diffusion"} <= set(matter["tags"])
    assert matter["widget"] == [
        {"text": 'zorp, a "house" at 100', "output": {"url": "images/00.png"}},
        {"text": 'zorp, a "house" at 100', "output": {"url": "images/01.png"}},
    ]
    assert "<Gallery />" in page
    assert "Draws zorps." in page
    assert "`zorp, the style`" in page
    assert "0.8" in page
    assert "janedoe" not in page


def test_a_licence_in_other_words_is_named_as_such(tmp_path, run):
    settings = {**SETTINGS, "output": {"license": "Ask me: first"}}
    other = create_run(tmp_path / "others", layer_config(settings=settings))
    (run.path / "zorp-style.safetensors").rename(other.path / "zorp-style.safetensors")
    matter, _ = read_front_matter(make_hub_folder(other.path, tmp_path / "hub"))
    assert (matter["license"], matter["license_name"]) == ("other", "Ask me: first")


@pytest.mark.parametrize("family", ["sd15", "sdxl"])
@pytest.mark.parametrize("kind", ["kohya", "peft"])
def test_the_other_format_makes_the_same_change(tmp_path, family, kind):
    layers = [*LAYERS]
    if family == "sdxl":
        layers += [each.replace("text_encoder", "text_encoder_2") for each in LAYERS[3:]]
    unet_names = SDXL_NAMES if family == "sdxl" else SD_NAMES
    factors = make_factors(layers)
    path, metadata = tmp_path / "x.safetensors", make_metadata(
        layer_config(settings=SETTINGS), facts(family=family)
    )  # fmt: skip
    if kind == "kohya":
        names = name_layers(factors, family, unet_names)
        write_kohya(path, factors, names, metadata, "fp32")
    else:
        write_peft(path, factors, metadata, "fp32")
    folder = make_hub_folder(path, tmp_path / "hub")
    for name in ("x.safetensors", "pytorch_lora_weights.safetensors"):
        modules = read_adapter_file(folder / name, layers, unet_names).modules
        assert set(modules) == set(layers)
        for layer, module in modules.items():
            torch.testing.assert_close(
                change_of(*module.parts()), change_of(*factors[layer]), rtol=1e-4, atol=1e-5
            )
        with safe_open(folder / name, "pt") as file:
            assert ("lora_adapter_metadata" in file.metadata()) == name.startswith("pytorch")
    own = "x.safetensors" if kind == "kohya" else "pytorch_lora_weights.safetensors"
    assert (folder / own).read_bytes() == path.read_bytes()


def test_a_kind_that_diffusers_cannot_hold_goes_without_its_file(tmp_path):
    layer = "unet.mid_block.attentions.0.transformer_blocks.0.attn2.to_k"
    parts = {
        "hada_w1_a": torch.ones(10, 2), "hada_w1_b": torch.ones(2, 768),
        "hada_w2_a": torch.ones(10, 2), "hada_w2_b": torch.ones(2, 768), "alpha": torch.tensor(1.0),
    }  # fmt: skip
    path = tmp_path / "x.safetensors"
    names = name_layers([layer], "sd15", SD_NAMES)
    metadata = make_metadata(layer_config(settings=SETTINGS), facts())
    write_kohya(path, {layer: parts}, names, metadata, "fp16")
    folder = make_hub_folder(path, tmp_path / "hub")
    assert [each.name for each in folder.glob("*.safetensors")] == ["x.safetensors"]
    assert "diffusers" not in read_front_matter(folder)[1].split("## Training")[0]


def test_a_file_without_its_run_speaks_for_itself(run, tmp_path):
    alone = tmp_path / "alone.safetensors"
    (run.path / "zorp-style.safetensors").rename(alone)
    matter, page = read_front_matter(make_hub_folder(alone, tmp_path / "hub", "owner/other"))
    assert matter["base_model"] == "owner/other"
    assert matter["instance_prompt"] == "zorp, the style"
    assert "widget" not in matter
    assert "0.8" in page


def test_a_folder_in_use_is_not_written_into(run, tmp_path):
    (tmp_path / "hub").mkdir()
    (tmp_path / "hub" / "mine.txt").write_text("x")
    with pytest.raises(ExportError, match="is not empty"):
        make_hub_folder(run.path, tmp_path / "hub")
    assert [path.name for path in (tmp_path / "hub").iterdir()] == ["mine.txt"]


def test_a_bundle_that_fails_leaves_nothing(run, tmp_path):
    path = run.path / "zorp-style.safetensors"
    path.write_bytes(path.read_bytes()[:-100])
    for make in (make_hub_folder, make_civitai_zip):
        with pytest.raises(ExportError, match="cut short"):
            make(run.path, tmp_path / "out" / "x")
    assert not (tmp_path / "out").exists() or list((tmp_path / "out").iterdir()) == []


def test_a_run_without_a_file_and_a_file_without_a_family_are_told(tmp_path):
    empty = create_run(tmp_path / "runs", layer_config(settings=SETTINGS))
    with pytest.raises(ExportError, match="nor a run with an exported file"):
        make_hub_folder(empty.path, tmp_path / "hub")
    write_peft(tmp_path / "x.safetensors", make_factors(), {}, "fp16")
    with pytest.raises(ExportError, match="does not name the family"):
        make_civitai_zip(tmp_path / "x.safetensors", tmp_path / "x.zip")


def test_a_civitai_zip_holds_file_pictures_and_answers(run, tmp_path):
    path = make_civitai_zip(run.path, tmp_path / "out" / "zorp.zip")
    with safe_open(run.path / "zorp-style.safetensors", "pt") as file:
        digest = file.metadata()["sshs_model_hash"][:12]
    with zipfile.ZipFile(path) as archive:
        assert archive.testzip() is None
        assert sorted(archive.namelist()) == [
            "civitai.txt", "images/00.png", "images/01.png", "zorp-style.safetensors"
        ]  # fmt: skip
        form = archive.read("civitai.txt").decode()
        image = Image.open(io.BytesIO(archive.read("images/00.png")))
    for line in (
        "Trigger words: zorp, the style",
        "Recommended strength: 0.8",
        "Negative prompt: blurry",
        f"AutoV3: {digest.upper()}",
        "Steps: 100",
    ):
        assert line in form.splitlines()
    assert "Base model: SD 1.5" in form
    assert image.info["parameters"].endswith(f'Seed: 1, Lora hashes: "zorp-style: {digest}"')
    assert [each.name for each in (tmp_path / "out").iterdir()] == ["zorp.zip"]


def test_a_zip_of_a_diffusers_file_holds_the_format_that_programs_read(tmp_path):
    path = tmp_path / "x.safetensors"
    write_peft(
        path, make_factors(), make_metadata(layer_config(settings=SETTINGS), facts()), "fp16"
    )
    zipped = make_civitai_zip(path, tmp_path / "x.zip")
    with zipfile.ZipFile(zipped) as archive:
        archive.extract("x.safetensors", tmp_path / "got")
    keys = load_file(tmp_path / "got" / "x.safetensors")
    assert all(key.startswith(("lora_unet_", "lora_te_")) for key in keys)


TOKEN = "hf_" + "s3cret" * 6


@pytest.fixture
def hub(monkeypatch):
    from huggingface_hub import constants

    # The real upload protocol of this version needs a service of its own; the older one does not.
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    with serve_uploads(UploadHub()) as hub:
        monkeypatch.setenv("HF_ENDPOINT", hub.url)
        yield hub


@pytest.fixture
def folder(run, tmp_path):
    return make_hub_folder(run.path, tmp_path / "hub")


@pytest.mark.parametrize("private", [True, False])
def test_a_folder_arrives_on_the_hub_as_it_is(hub, folder, private):
    address = upload_hub_folder(folder, "jane/zorp", private, TOKEN)
    assert address == f"{hub.url}/jane/zorp"
    assert hub.created[0]["name"] == "zorp"
    assert hub.created[0]["organization"] == "jane"
    visibility = hub.created[0].get("visibility", hub.created[0].get("private"))
    assert visibility in ({"private", True} if private else {"public", False})
    assert hub.files == {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


@contextlib.contextmanager
def everything_said(capfd, caplog):
    """Gives a list that holds, at the end, all that was printed and logged."""
    said: list[str] = []
    with caplog.at_level(logging.DEBUG):
        yield said
    out, err = capfd.readouterr()
    said += [out, err, caplog.text]


@pytest.mark.parametrize(
    ("where", "status", "says"),
    [
        ("repos/create", 401, "does not let this token write to jane/zorp"),
        ("repos/create", 403, "does not let this token write to jane/zorp"),
        ("commit/main", 403, "does not let this token write to jane/zorp"),
        ("repos/create", 429, "too many requests"),
        ("lfs/objects/batch", 400, "the error 400"),
        ("^/objects/", 403, "does not let this token write"),
    ],
)
def test_what_the_hub_refuses_is_said_without_the_token(
    hub, folder, capfd, caplog, where, status, says
):
    hub.refuse[where] = (status, {"error": f"bad token {TOKEN}"})
    with everything_said(capfd, caplog) as said, pytest.raises(HubError, match=says) as caught:
        upload_hub_folder(folder, "jane/zorp", False, TOKEN)
    assert any(authorization.endswith(TOKEN) for _, _, authorization in hub.seen)
    assert not any(TOKEN in text for text in [*said, str(caught.value), repr(caught.value)])
    assert caught.value.__cause__ is None
    assert hub.files == {}


def test_no_network_is_a_sentence(hub, folder, monkeypatch):
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(HubError, match="broke off"):
        upload_hub_folder(folder, "jane/zorp", False, TOKEN)


@pytest.mark.parametrize(
    ("name", "token", "says"),
    [
        ("zorp", TOKEN, "OWNER/NAME"),
        ("jane/zorp/file.safetensors", TOKEN, "OWNER/NAME"),
        ("jane/zorp", "", "needs a token"),
        ("jane/zorp", "two words", "contains spaces"),
    ],
)
def test_what_cannot_work_is_said_before_anything_is_sent(hub, folder, name, token, says):
    with pytest.raises(HubError, match=says):
        upload_hub_folder(folder, name, False, token)
    assert hub.seen == []


def test_a_folder_that_was_not_made_for_the_hub_is_not_uploaded(hub, tmp_path):
    (tmp_path / "private.txt").write_text("x")
    with pytest.raises(HubError, match="no adapter with a model card"):
        upload_hub_folder(tmp_path, "jane/zorp", False, TOKEN)
    assert hub.seen == []


def test_the_card_is_json_safe_against_odd_texts(tmp_path):
    settings = {
        **SETTINGS,
        "dataset": {"trigger": 'a: "b"\n---\n# c'},
        "output": {"title": "two\nlines"},
    }
    path = tmp_path / "x.safetensors"
    metadata = make_metadata(layer_config(settings=settings), facts())
    write_peft(path, make_factors(), metadata, "fp16")
    folder = make_hub_folder(path, tmp_path / "hub")
    matter, page = read_front_matter(folder)
    assert matter["instance_prompt"] == 'a: "b"\n---\n# c'
    assert "# two lines" in page
    assert json.loads(metadata["lorasmith.config"])["dataset"]["trigger"] == 'a: "b"\n---\n# c'


# --- DoRA per output channel, which only the diffusers format holds ------------------------------


@pytest.fixture
def dora(tmp_path):
    """A diffusers file of DoRA on the paper's axis."""
    modules = {
        layer: {
            "lora_down.weight": down,
            "lora_up.weight": up,
            "alpha": torch.tensor(float(len(down))),
            "dora_scale": torch.rand(len(up), *(1,) * (down.dim() - 1)),
        }
        for layer, (down, up, _) in make_factors().items()
    }
    path = tmp_path / "dora.safetensors"
    write_peft(path, modules, make_metadata(layer_config(settings=SETTINGS), facts()), "fp32")
    return path


def test_lengths_per_output_channel_never_get_into_a_kohya_file(dora, tmp_path):
    with pytest.raises(ExportError, match=r"stand per output channel .*dora_axis = input"):
        make_civitai_zip(dora, tmp_path / "out" / "dora.zip")
    assert not any((tmp_path / "out").iterdir())


def test_hub_folder_of_such_a_file_holds_the_diffusers_format_alone(dora, tmp_path):
    folder = make_hub_folder(dora, tmp_path / "hub")
    files = [path.name for path in folder.glob("*.safetensors")]
    assert files == ["pytorch_lora_weights.safetensors"]
    assert load_file(folder / files[0]).keys() == load_file(dora).keys()
    _, page = read_front_matter(folder)
    assert "kohya format" not in page
    assert "pytorch_lora_weights.safetensors) for diffusers" in page
