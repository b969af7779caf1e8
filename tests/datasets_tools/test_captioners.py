"""Every captioner reads a small random model, laid out as on the hub, and says something."""

import importlib.util
import json
import shutil

import pytest
from PIL import Image, ImageDraw

from datasets_tools.captioners import blip, extras, florence2, tagger, vlm
from datasets_tools.captioners.options import CaptionerOptions
from datasets_tools.captioners.places import (
    find_model,
    is_available,
    place_model,
)
from datasets_tools.captioners.pretrained import Pretrained
from datasets_tools.captioners.table import CAPTIONERS, check_options, find_captioner
from datasets_tools.captioners.vlm import make_instruction
from datasets_tools.captioners.wording import cut_caption, cut_tags, tidy_caption
from datasets_tools.errors import DatasetError
from tests.datasets_tools import tiny_captioners

BUILDERS = {
    "blip": ("blip", tiny_captioners.build_blip),
    "florence2": ("florence2", tiny_captioners.build_florence2),
    "qwen": ("vlm", tiny_captioners.build_qwen),
    "idefics": ("vlm", tiny_captioners.build_idefics),
    "tagger": ("tagger", tiny_captioners.build_tagger),
}
TEXT_MODELS = [name for name in BUILDERS if name != "tagger"]


@pytest.fixture(autouse=True)
def short_answers(monkeypatch):
    """Random models do not come to an end by themselves."""
    for module in (blip, florence2, vlm):
        monkeypatch.setattr(module, "_MAX_TOKENS", 12)


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """Returns a function that returns the folder of a model, built once."""
    root, built = tmp_path_factory.mktemp("captioners"), {}

    def build(name):
        if name not in built:
            built[name] = BUILDERS[name][1](root / name)
        return built[name]

    return build


@pytest.fixture
def copy_of(models, tmp_path):
    """Returns a function that copies a model to where it may be damaged."""
    return lambda name: shutil.copytree(models(name), tmp_path / name)


def load(name, folder, **options):
    return CAPTIONERS[BUILDERS[name][0]].load(folder, CaptionerOptions(device="cpu", **options))


def draw(colour="white", dot=None, size=(96, 64)):
    image = Image.new("RGB", size, colour)
    if dot:
        ImageDraw.Draw(image).ellipse((16, 16, 48, 48), fill=dot)
    return image


@pytest.mark.parametrize("name", TEXT_MODELS)
def test_a_model_describes_what_it_sees_and_always_the_same(models, name):
    images = [draw("red"), draw("blue"), draw("white", "green", (32, 80))]
    describe = load(name, models(name))
    captions = [describe(image) for image in images]
    assert all(set(caption.split()) for caption in captions)
    assert len(set(captions)) > 1, "the picture does not reach the model"
    again = load(name, models(name))
    assert [again(image) for image in reversed(images)] == captions[::-1]


@pytest.mark.parametrize("name", TEXT_MODELS)
def test_a_caption_is_cut_to_the_words_that_are_wanted(models, name):
    whole = load(name, models(name))(draw("red"))
    short = load(name, models(name), max_words=3)(draw("red"))
    # An instruction may name the limit, and change what is said.
    assert len(short.split()) <= 3 < len(whole.split())


@pytest.mark.parametrize("name", ["blip", "qwen", "idefics"])
def test_a_prompt_changes_what_is_said(models, name):
    plain = load(name, models(name))(draw("red"))
    prompted = load(name, models(name), prompt="the dog")(draw("red"))
    assert plain != prompted
    assert name != "blip" or prompted.startswith("the dog")


def test_florence_takes_tasks_for_prompts(models):
    say = {
        task: load("florence2", models("florence2"), prompt=task)(draw("red"))
        for task in ("", "<DETAILED_CAPTION>", "detailed caption", "CAPTION")
    }
    assert say[""] == say["<DETAILED_CAPTION>"] == say["detailed caption"]
    assert say["CAPTION"] != say[""]
    with pytest.raises(DatasetError, match="takes no instruction, only a task"):
        load("florence2", models("florence2"), prompt="describe the cat")


@pytest.mark.parametrize("name", TEXT_MODELS)
def test_pictures_are_prepared_without_torchvision(models, name):
    classes = {
        "blip": "BlipForConditionalGeneration",
        "florence2": "Florence2ForConditionalGeneration",
    }
    kind = classes.get(name, "AutoModelForImageTextToText")
    loaded = Pretrained(models(name), kind, CaptionerOptions(device="cpu"))
    assert type(loaded.processor.image_processor).__name__.endswith("Pil")
    assert getattr(loaded.processor, "video_processor", None) is None


def test_the_development_environment_has_no_torchvision():
    assert importlib.util.find_spec("torchvision") is None, "it would hide that we need none"


@pytest.mark.parametrize("name", TEXT_MODELS)
def test_weights_in_a_pickle_are_refused_and_not_read(copy_of, name):
    folder = copy_of(name)
    (folder / "model.safetensors").unlink()
    (folder / "pytorch_model.bin").write_bytes(b"\x80\x04}\x94.")
    with pytest.raises(DatasetError, match="only as a pickle, which can run code"):
        load(name, folder)


@pytest.mark.parametrize("name", TEXT_MODELS)
def test_a_damaged_model_is_told_by_name(copy_of, name):
    folder = copy_of(name)
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:2000])
    with pytest.raises(DatasetError, match=f"The captioner in {name} cannot be loaded: ") as caught:
        load(name, folder)
    assert str(caught.value).endswith("or download it again.")
    weights.unlink()
    with pytest.raises(DatasetError, match=f"{name} has no weights"):
        load(name, folder)
    (folder / "config.json").unlink()
    with pytest.raises(DatasetError, match=r"no config\.json"):
        load(name, folder)


@pytest.mark.parametrize("name", TEXT_MODELS)
def test_weights_that_are_lacking_are_not_made_up(copy_of, name):
    from safetensors.torch import load_file, save_file

    folder = copy_of(name)
    weights = load_file(folder / "model.safetensors")
    lost = next(key for key, tensor in weights.items() if "layers.0" in key and tensor.dim() == 2)
    del weights[lost]
    save_file(weights, folder / "model.safetensors", {"format": "pt"})
    with pytest.raises(DatasetError, match="it lacks 1 of the weights, such as"):
        load(name, folder)


def test_a_model_of_another_kind_is_told(models, copy_of):
    with pytest.raises(DatasetError, match=r"its config\.json describes a qwen3_vl"):
        load("blip", models("qwen"))
    with pytest.raises(DatasetError, match="has no chat template"):
        load("qwen", models("florence2"))
    folder = copy_of("blip")
    (folder / "config.json").write_text(json.dumps({"model_type": "bert"}))
    with pytest.raises(DatasetError, match="cannot be loaded: "):
        load("qwen", folder)


def test_code_that_comes_with_a_model_is_not_run(copy_of, tmp_path):
    folder = copy_of("qwen")
    config = json.loads((folder / "config.json").read_text())
    config |= {"model_type": "mine", "auto_map": {"AutoConfig": "mine.Mine", "AutoModel": "mine.M"}}
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "mine.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')")
    with pytest.raises(DatasetError, match="cannot be loaded"):
        load("qwen", folder)
    assert not (tmp_path / "ran").exists()


def test_a_picture_that_a_model_cannot_take_is_one_sentence(models):
    describe = load("qwen", models("qwen"))
    with pytest.raises(DatasetError, match="qwen cannot describe this image: ") as caught:
        describe(draw(size=(5000, 16)))
    assert "\n" not in str(caught.value)


def test_an_instruction_names_its_limit():
    assert "at most 12 words" in make_instruction(12)


def test_tags_follow_the_colours_and_the_threshold(models):
    square = {"size": (48, 48)}
    red, pink = draw("red", **square), draw("#ff6060", **square)
    describe = load("tagger", models("tagger"))
    assert describe(draw("blue", **square)) == "blue theme"
    assert describe(red) == "anna (red), tom (cat), red theme, ^_^, 1girl"
    assert load("tagger", models("tagger"), threshold=0.991)(red) == "anna (red), red theme, ^_^"
    # How sure it is here: a red theme 0.902, ^_^ 0.857, anna 0.849, 1girl 0.830, tom 0.06.
    assert describe(pink) == "red theme, ^_^, 1girl"
    assert load("tagger", models("tagger"), threshold=0.84)(pink) == "red theme, ^_^"
    # A lower threshold is for general tags: a character has to be as sure as before.
    low = load("tagger", models("tagger"), threshold=0.01)
    assert low(pink) == "red theme, ^_^, 1girl"


def test_ratings_are_never_tags(models):
    for colour in ("red", "blue", "white", "black"):
        caption = load("tagger", models("tagger"), threshold=0.001)(draw(colour))
        assert "general" not in caption
        assert "explicit" not in caption


def test_a_picture_is_made_square_on_white_for_the_tagger():
    prepared = tagger.prepare_image(draw("red", size=(40, 20)), 40)
    assert prepared.shape == (1, 40, 40, 3)
    assert prepared.dtype.name == "float32"
    assert prepared[0, 20, 20].tolist() == [0, 0, 255]  # BGR
    assert prepared[0, 2, 20].tolist() == [255, 255, 255]


def test_whole_tags_are_cut(models):
    assert (
        load("tagger", models("tagger"), max_words=4)(draw("red", size=(9, 9)))
        == "anna (red), tom (cat)"
    )


def test_a_tagger_that_is_damaged_or_none_is_told(copy_of, tmp_path):
    folder = copy_of("tagger")
    tags = (folder / "selected_tags.csv").read_text()
    (folder / "selected_tags.csv").write_text("\n".join(tags.splitlines()[:-1]))
    with pytest.raises(DatasetError, match="knows 8 tags and its list 7"):
        load("tagger", folder)
    (folder / "selected_tags.csv").write_text("tag_id,word\n1,a")
    with pytest.raises(DatasetError, match=r"selected_tags\.csv is missing in tagger, or damaged"):
        load("tagger", folder)
    (folder / "selected_tags.csv").write_text(tags)
    (folder / "model.onnx").write_bytes(b"no graph")
    with pytest.raises(DatasetError, match=r"model\.onnx in tagger is damaged"):
        load("tagger", folder)
    (folder / "model.onnx").unlink()
    with pytest.raises(DatasetError, match=r"has no model\.onnx"):
        load("tagger", folder)


def test_another_onnx_model_is_no_tagger(copy_of):
    import onnx

    folder = copy_of("tagger")
    model = onnx.load(folder / "model.onnx")
    model.graph.input[0].type.tensor_type.shape.dim[1].dim_param = "height"
    onnx.save(model, folder / "model.onnx")
    with pytest.raises(DatasetError, match="is not a tagger of the WD family"):
        load("tagger", folder)


def test_without_its_package_the_tagger_says_how_to_install_it(models, monkeypatch):
    monkeypatch.setattr(extras, "find_spec", lambda name: None)
    with pytest.raises(DatasetError, match=r'pip install "lorasmith\[tagger\]"'):
        load("tagger", models("tagger"))


@pytest.mark.parametrize(
    ("name", "device"), [("blip", "cuda"), ("blip", "mps"), ("tagger", "cuda")]
)
def test_a_device_that_is_not_there_is_told(models, monkeypatch, name, device):
    import onnxruntime
    import torch

    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: ["CPUExecutionProvider"])
    with pytest.raises(DatasetError, match="Choose auto or cpu"):
        CAPTIONERS[name].load(models(name), CaptionerOptions(device=device))


@pytest.mark.parametrize(
    ("said", "caption"),
    [
        ("  A cat.\n\nIt sits. ", "A cat. It sits."),
        ('"A cat on a mat"', "A cat on a mat"),
        ("**Caption:** “A cat”", "A cat"),
        ("The image shows a green car, parked.", "a green car, parked."),
        ("In this image we can see a dog.", "a dog."),
        ("there are two cats sitting", "two cats sitting"),
        ("there is a arafed cat", "a cat"),
        ("<think>Hm.</think> A cat", "A cat"),
        ("<think>Hm, a cat", ""),
        ("The image of the king on a coin", "The image of the king on a coin"),
        ("", ""),
    ],
)
def test_what_a_model_says_becomes_a_caption(said, caption):
    assert tidy_caption(said) == caption


def test_cutting_keeps_whole_words_and_whole_tags():
    assert cut_caption("a cat, on a mat", 2) == "a cat"
    assert cut_caption("a cat", 0) == cut_caption("a cat", 5) == "a cat"
    assert cut_tags("red hair, blue eyes, hat", 3) == "red hair"
    assert cut_tags("red hair, blue eyes, hat", 5) == "red hair, blue eyes, hat"


def test_a_captioner_is_found_by_its_name_or_the_nearest_is_named():
    assert find_captioner("blip") is CAPTIONERS["blip"]
    with pytest.raises(DatasetError, match="Did you mean blip"):
        find_captioner("blib")
    with pytest.raises(DatasetError, match="There are starter, blip"):
        find_captioner("xyz")


@pytest.mark.parametrize(
    ("name", "options", "says"),
    [
        ("tagger", {"prompt": "x"}, "has no prompt"),
        ("blip", {"threshold": 0.5}, "choose one that has: starter, tagger"),
    ],
)
def test_an_option_that_means_nothing_is_refused(name, options, says):
    with pytest.raises(DatasetError, match=says):
        check_options(name, CaptionerOptions(**options))


def test_every_row_says_what_is_downloaded_and_under_which_licence():
    for name, captioner in CAPTIONERS.items():
        assert captioner.title, name
        assert captioner.licence, name
        downloads = bool(captioner.model)
        assert downloads == bool(captioner.files) == bool(captioner.size_bytes), name
        assert not any(pattern.endswith((".bin", ".pt", ".ckpt")) for pattern in captioner.files)
        assert not any("/" in pattern or ".." in pattern for pattern in captioner.files)


def test_a_model_is_found_in_the_workspace_or_where_a_person_says(tmp_path):
    assert place_model("starter", tmp_path).parts[-3:] == ("examples", "starter-model", "captioner")
    assert place_model("blip", tmp_path, "anna--blip") == tmp_path / "captioners" / "anna--blip"
    with pytest.raises(DatasetError) as caught:
        find_model("blip", tmp_path)
    for part in ("1.9 GB", "BSD-3-Clause", "--captioner blip --download"):
        assert part in str(caught.value)
    assert not is_available("blip", tmp_path)
    place = tmp_path / "captioners" / "blip"
    place.mkdir(parents=True)
    assert find_model("blip", tmp_path) == place
    assert is_available("blip", tmp_path)
    assert find_model("tagger", tmp_path, tmp_path) == tmp_path
    with pytest.raises(DatasetError, match="There is no folder"):
        find_model("tagger", tmp_path, tmp_path / "nowhere")
