"""The workbench's sentences; labels and help of settings are in their models."""

from collections.abc import Sequence

from app.core.text import show_share

HEADING = "Combine and change files"
TASK = "What to do"
TASKS = {
    "merge": "Merge several files into one",
    "resize": "Make a file smaller",
    "scale": "Make parts of a file stronger or weaker",
    "extract": "Extract a LoRA from two checkpoints",
    "bake": "Build files into a base model",
    "subtract": "Remove files from a base model",
}
TASKS_INFO = {
    "merge": "One new LoRA file that does what all of them do.",
    "resize": "A new LoRA file of a lower rank that keeps what is strongest in the old one.",
    "scale": "A new LoRA file in which blocks of the model are changed more, less or not at all.",
    "extract": "A new LoRA file that turns the first base model into the second one.",
    "bake": "A new base model that has the LoRA files in its weights, so no prompt needs them.",
    "subtract": "A new base model without LoRA files that had been built into it.",
}
METHODS = {
    "svd": "Sum, held to a rank (svd)",
    "concatenate": "Exact sum (concatenate)",
    "orthogonal": "Made orthogonal (orthogonal)",
    "ties": "Majority sign (ties)",
    "dare_linear": "Random drop (dare_linear)",
    "dare_ties": "Drop and majority (dare_ties)",
    "linear": "Factors added (linear)",
}
METHODS_INFO = {
    "svd": "The weighted sum, as well as the rank can hold it. Good for most merges.",
    "concatenate": "The weighted sum without any loss; the ranks add up, so the file is larger.",
    "orthogonal": "What the files share counts once, so that style and character spoil less.",
    "ties": "Keeps each file's largest numbers and the sign of most files. For three or more.",
    "dare_linear": "Drops numbers at random and enlarges the rest. For files that overlap much.",
    "dare_ties": "Drops numbers at random, then goes on as ties does.",
    "linear": "Only for checkpoints of one training: adds cross terms that nobody trained.",
}
NO_FILE = "—"
WEIGHT = "Weight"
BASE_OWN = "The one that the first file was trained on"
BASE_FOR_IMAGES = "The images are generated with it."
PROMPT = "Prompt for the images"
PROMPT_INFO = "Left empty, the first file's own."
IMAGE_SEED = "Seed of the images"
TRY = "Try it"
STOP = "Stop"
STRENGTH = "Weight of the draft"
STRENGTH_INFO = "Releasing it generates again; the draft stays as it is."
AGAIN = "Generate again"
NAME = "Name of the new file"
NAME_INFO = "Letters, digits, dots, dashes and underscores."
SAVE = "Save"
DRAFT = "Draft"
HINT = "Try it first: nothing is saved before you have seen what it does."
OLD = "This draft was made with other settings than those above. Try again before saving."
DRAFT_GONE = "The draft is not there any more. Try again."
IMAGES_GONE = "These images are not there any more, or others were asked for. Generate again."
STOPPED = "Stopped. Nothing was kept."
BUILDING = "A base model is being written already. Wait until it is done."
NO_TASK = "Choose what to do."
TWO_FILES = "A merge needs two files or more. Choose another one."
ONE_FILE = "Choose a file first."
CHOOSE_BASE = "Choose a base model first."
TWO_MODELS = "Choose two different base models: the plain one and the tuned one."
NAME_RULE = (
    "A name is made of letters, digits, dots, dashes and underscores, starts with a letter or "
    "digit and has at most 80 signs; no folders. Choose another name."
)
BAKE_HINT = (
    "The images are generated with the files at these weights, which is what the new base model "
    "will do. It is written when you save."
)
PAIRS = "How similar the files are"
PAIR_COLUMNS = ("Files", "Cosine", "That means")
WORST_MERGED = "Layers that are farthest from the plain sum"
WORST_MERGED_COLUMNS = ("Layer", "Cosine", "Sign conflicts", "Distance from the sum")
WORST_LAYERS = "Layers that lost most"
WORST_LAYERS_COLUMNS = ("Layer", "Rank before", "Rank now", "Energy kept")
SCALED = "Factors"
SCALED_COLUMNS = ("Factor", "Layers")
FINDINGS = "What programs will make of it"
# What the page calls the commands' options.
_LABELS = {
    "Name the base model with --base-model": "Choose it under “Base model”",
    "Name a base model that it fits with --base-model": "Choose one under “Base model”",
    "Name it with --base-model": "Choose it under “Base model”",
    ", or give --force to replace it": "",
}


def file_number(number: int) -> str:
    return f"File {number}"


def working(seconds: int, written: str) -> str:
    line = f"Working on it for {seconds} s"
    line += f"; {written} written so far." if written else "."
    return f"{line} Files of full size take minutes; you can leave this page meanwhile."


def refused(message: str) -> str:
    for option, label in _LABELS.items():
        message = message.replace(option, label)
    return f"Not made: {message}"


def bad_weight(high: float) -> str:
    return f"{WEIGHT} must be a number from 0 to {high:g}."


def no_such_file(name: str) -> str:
    shown = name if len(name) <= 80 else f"{name[:79]}…"
    return f"There is no file “{shown}” any more. Choose another one."


def name_taken(name: str) -> str:
    return f"There is already something named {name}. Choose another name; nothing was replaced."


def saved(name: str, *, model: bool) -> str:
    if model:
        return f"Saved: {name} is in the list of base models."
    return f"Saved: {name} is in the Library and in the list of the Preview tab."


def not_saved(reason: str) -> str:
    return f"Not saved: {reason}. Nothing was replaced."


def made(size: str) -> str:
    return f"The draft is ready ({size}). It is no file of yours before you save it."


def conflicts(share: float) -> str:
    return f"{show_share(share)} of the numbers are raised by one file and lowered by another."


def distance(share: float, method: object) -> str:
    line = (
        f"The result differs from the plain weighted sum by {show_share(share, 1)} of its energy."
    )
    if method == "svd" and share > 0.1:
        line += " The exact sum (concatenate) loses nothing."
    return line


def cut(share: float) -> str:
    return (
        f"The rank could not hold {show_share(share, 1)} of the energy of what the method made; a "
        "higher rank holds more."
    )


def meaning(cosine: float) -> str:
    if cosine >= 0.5:
        return "they do much the same, which adds up: take lower weights, or orthogonal"
    if cosine >= 0.1:
        return "they have something in common"
    if cosine > -0.1:
        return "they hardly touch each other"
    return "they undo each other in part"


def remaining_energy(layers: int, ranks: Sequence[int], mean: float) -> str:
    low, high = min(ranks), max(ranks)
    spread = f"rank {low}" if low == high else f"ranks {low} to {high}"
    return f"{layers} layers of {spread}; {show_share(mean, 1)} of the energy is kept in the mean."


def equal_layers(count: int) -> str:
    return f"{count} layers are equal in both base models, and not in the file."


def left_out(names: Sequence[str]) -> str:
    return f"{len(names)} tensors differ that a LoRA file cannot hold, first {names[0]}."


def scaled(changed: int, dropped: int, total: int) -> str:
    line = f"{changed} of {total} layers have another strength."
    return f"{line} {dropped} are left out." if dropped else line


def rounded(names: Sequence[str]) -> str:
    return (
        f"The number format of the base model lost most of the change of {len(names)} weights, "
        f"first {names[0]}."
    )
