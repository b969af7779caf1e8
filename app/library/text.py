"""The sentences of the Library tab."""

import shlex
from pathlib import Path

from app.core.text import show_bytes

LIBRARY_EMPTY = "Nothing here yet. What you train is kept here, and LoRA files that you bring."
LIBRARY_HINT = "Choose a run or a file to see its facts, download it or train it further."
NO_EXPORT = "This run has exported no file yet. It does when it finishes or is stopped."
FACT_TITLE = "Title"
FACT_STATE = "State"
FACT_DATE = "Created"
FACT_STEPS = "Steps"
FACT_BASE = "Base model"
FACT_DATASET = "Dataset"
FACT_ADAPTER = "Adapter"
LOG_EMPTY = "The log is empty."


def adapter_fact(kind: str, rank: int, alpha: float) -> str:
    return f"{kind}, rank {rank}, alpha {alpha:g}"


def download(name: str, size: int) -> str:
    return f"Download {name} ({show_bytes(size)})"


def download_word(word: str) -> str:
    return f"Download the embedding {word}"


def word_use(word: str) -> str:
    return (
        f"It goes into the folder of embeddings of A1111, Forge, ComfyUI or InvokeAI; then {word} "
        f"in a prompt (embedding:{word} in ComfyUI) means what was trained."
    )


CARDS_LABEL = "Runs and files; arrow keys move"
FILES_HEADING = "Files from elsewhere"
FROM_ELSEWHERE = "LoRA file"
TRIGGER = "Trigger word"
SYNTAX = "In a prompt of AUTOMATIC1111 and Forge"
SYNTAX_INFO = "The number is the weight."
RESUME = "Resume this run"
NO_SAMPLE = "no samples"

# About one file.
FILE = "File"
ABOUT = "What is in this file?"
LOOKING = "Looking into the file. This takes some seconds…"
INSPECT_FAILED = "The file could not be looked into:"
PROGRAMS = "Which programs load it"
LOADS = {"yes": "loads it", "partly": "loads a part of it", "no": "does not load it"}
FINDINGS = "Check"
NO_FINDINGS = "Nothing to complain of: names, shapes, hashes and header are as programs expect."
SHARE = "Share it, or convert it for other programs"
SHARE_INFO = (
    "Nothing is uploaded from this page. Both packs hold the file, samples and texts; the upload "
    "to the hub is a command, which takes the token from HF_TOKEN or the keyring."
)
PACK_LABELS = {
    "civitai": "Make a zip for Civitai",
    "hub": "Make a folder for Hugging Face",
    "kohya": "Convert it to the format of kohya",
    "diffusers": "Convert it to the format of diffusers",
}
CONVERT = "Other formats"
CONVERT_INFO = (
    "A file of any program gets the names that others read: kohya for A1111, Forge, ComfyUI and "
    "InvokeAI, diffusers for Python scripts. What it does stays equal. `lorasmith convert` knows "
    "more formats."
)
PACK_FAILED = "Nothing was packed:"
DOWNLOAD = "Download"
PACKING = "Packing. This takes some seconds…"
UPLOAD = "Upload to the hub, in a terminal"
UPLOAD_INFO = "Put your own OWNER/NAME in. Leave --private out to show it to everybody."
CONTINUE = "Train further from this file"
SETTINGS = "Open its settings"
FILE_GONE = "This file is not there any more. Choose another one."
FACT_SIZE = "Size"
FACT_FAMILY = "For"
FACT_KIND = "Kind"
FACT_TRIGGER = "Trigger word"
FACT_WORDS = "Bundled embeddings"
FACT_TAGS = "Commonest tags"
FACT_PREDICTION = "Prediction"
FACT_TRAINED_ON = "Trained on"
FACT_FILE = "File"
FACT_TRAINING = "Training"
FACT_HASH = "Hash"
BY_ITS_HEADER = " (according to its header)"


def component(modules: int, of: int, kinds: str, ranks: str, alphas: str) -> str:
    share = f"{modules} of {of} layers" if of else f"{modules} layers"
    strength = f"alpha {alphas}" if alphas else "no alpha"
    return f"{share}, {kinds}, rank {ranks}, {strength}"


def file_fact(size: str, precision: object, naming: object) -> str:
    return ", ".join(part for part in (size, str(precision or ""), f"{naming} names") if part)


def other_hash(digest: str, stated: str) -> str:
    return f"{digest}, but the header has {stated}"


def upload_command(path: Path) -> str:
    file, folder = shlex.quote(str(path)), shlex.quote(f"{path.stem}-hub")
    pack = f"lorasmith bundle {file} --hub {folder}"
    return f"{pack} && lorasmith upload {folder} OWNER/NAME --private"


# About the strength of its layers and how much of its rank is used.
LAYERS_HEADING = "Layer by layer"
MEASURING = (
    "Measuring every layer. That takes some seconds; for a LoHa, a LoKr or a full difference of "
    "SDXL it takes many minutes. This page need not stay open."
)
NO_LAYERS = "There is no chart of the layers:"
NORM_AXIS = "norm of the change"
RELATIVE_AXIS = "norm of the change, as a share of the weight's"
RANK_AXIS = "effective rank (strong) of the rank (pale)"
SECTIONS = {"text": "text", "down": "down", "mid": "mid", "up": "up", "": "others"}
ENERGY_HEADING = "What a smaller rank would keep"
ENERGY_AXIS = "share of the change that is kept"
RESIZED_AXIS = "rank"
WHOLE = "whole file"
WORST = "the layer that loses most"
BARS_OF_LAYERS = "One bar is one layer, in the order of the network. Point at it for its numbers."
BARS_OF_GROUPS = (
    "One bar is the mean over the layers of one block, in the order of the network. Point at it "
    "for its numbers."
)


def bar(name: str, layers: int, norm: float, relative: float, used: float, rank: float) -> str:
    place = f"{name}, mean of {layers} layers" if layers > 1 else name
    compared = f", {100 * relative:.2f} % of the weight's" if relative else ""
    return f"{place}: norm {norm:.3g}{compared}; effective rank {used:.1f} of {rank:.4g}"


def bars_title(layers: int, strongest: str) -> str:
    return f"Strength of {layers} layers in the order of the network. The strongest: {strongest}."


def resize(rank: int, share: float, worst: float) -> str:
    return (
        f"Rank {rank} keeps {100 * share:.1f} % of the change ({100 * worst:.1f} % of the layer "
        "that loses most). To make such a file: "
    )


def resize_command(path: Path, rank: int) -> str:
    file, to = shlex.quote(path.name), shlex.quote(f"{path.stem}-{rank}.safetensors")
    return f"lorasmith resize {file} --rank {rank} --to {to}"


def no_resize(rank: int, share: float, largest: int) -> str:
    return (
        f"No rank below {largest} that was looked at keeps 99 % of the change; rank {rank} keeps "
        f"{100 * share:.1f} %."
    )


def show_norm(value: float) -> str:
    return f"{value:.2g}"


def show_share(value: float) -> str:
    return f"{100 * value:.3g} %"


def energy_title(shares: list[tuple[int, float, float]]) -> str:
    shares_by_rank = "; ".join(
        f"rank {rank} keeps {100 * whole:.1f} %, of the layer that loses most {100 * worst:.1f} %"
        for rank, whole, worst in shares
    )
    return f"Share of the change that a rank keeps: {shares_by_rank}."


def prompt_syntax(name: str) -> str:
    return f"<lora:{name}:1>"


def sample_step(step: int) -> str:
    return f"step {step}" if step else "before"
