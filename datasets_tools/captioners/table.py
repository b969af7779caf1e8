"""The captioners there are. The table imports no torch: each row loads what it needs when used."""

from difflib import get_close_matches

from datasets_tools.captioners.blip import load_blip
from datasets_tools.captioners.florence2 import load_florence2
from datasets_tools.captioners.options import Captioner, CaptionerOptions
from datasets_tools.captioners.starter import load_starter
from datasets_tools.captioners.tagger import MODEL_FILE, TAGS_FILE, load_tagger
from datasets_tools.captioners.vlm import load_vlm
from datasets_tools.errors import DatasetError

# A repository has some of these; pickles, weights in other formats and code are never among them.
_TRANSFORMERS_FILES = (
    "config.json",
    "generation_config.json",
    "preprocessor_config.json",
    "processor_config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.json",
    "vocab.txt",
    "merges.txt",
    "chat_template.json",
    "chat_template.jinja",
    "model.safetensors",
    "model.safetensors.index.json",
    "model-*-of-*.safetensors",
)

CAPTIONERS: dict[str, Captioner] = {
    "starter": Captioner(
        title="Starter captioner",
        summary="Names the emoji in a picture, for the starter model; it knows nothing else.",
        load=load_starter,
        licence="Apache-2.0, MIT and CC-BY-4.0",
        takes=("threshold",),
    ),
    "blip": Captioner(
        title="BLIP",
        summary="One short plain sentence, for any SD 1.x, 2.x or SDXL base model; quick.",
        load=load_blip,
        model="Salesforce/blip-image-captioning-large",
        files=_TRANSFORMERS_FILES,
        size_bytes=1_880_000_000,
        licence="BSD-3-Clause",
        takes=("prompt",),
    ),
    "florence2": Captioner(
        title="Florence-2",
        summary="A sentence or two with details and positions, from a small model; for SDXL.",
        load=load_florence2,
        model="florence-community/Florence-2-base",
        files=_TRANSFORMERS_FILES,
        size_bytes=470_000_000,
        licence="MIT",
        takes=("prompt",),
    ),
    "tagger": Captioner(
        title="WD tagger",
        summary="Tags as on booru sites, for base models that learned from drawings with tags.",
        load=load_tagger,
        model="SmilingWolf/wd-vit-tagger-v3",
        files=(MODEL_FILE, TAGS_FILE),
        size_bytes=379_000_000,
        licence="Apache-2.0",
        takes=("threshold",),
        package="onnxruntime",
    ),
    "vlm": Captioner(
        title="Qwen3-VL",
        summary="Captions as you instruct it, the most exact and the slowest; wants a GPU.",
        load=load_vlm,
        model="Qwen/Qwen3-VL-2B-Instruct",
        files=_TRANSFORMERS_FILES,
        size_bytes=4_270_000_000,
        licence="Apache-2.0",
        takes=("prompt",),
    ),
}


def find_captioner(name: str) -> Captioner:
    """Returns a captioner by its name.

    Raises:
        DatasetError: there is none of that name; with the nearest.
    """
    if name in CAPTIONERS:
        return CAPTIONERS[name]
    near = get_close_matches(name.lower(), CAPTIONERS, 1)
    hint = f"Did you mean {near[0]}?" if near else f"There are {', '.join(CAPTIONERS)}."
    raise DatasetError(f"There is no captioner {name!r}. {hint}")


def check_options(name: str, options: CaptionerOptions) -> None:
    """Checks that a captioner heeds its options, before anything is downloaded or loaded.

    Raises:
        DatasetError: this captioner does not heed an option.
    """
    takes = find_captioner(name).takes
    asked = {"threshold": options.threshold, "prompt": options.prompt}
    for option in [each for each, value in asked.items() if value and each not in takes]:
        others = [each for each, row in CAPTIONERS.items() if option in row.takes]
        msg = (
            f"The captioner {name} has no {option}. Leave out --{option}, or choose one that has: "
            f"{', '.join(others)}."
        )
        raise DatasetError(msg)
