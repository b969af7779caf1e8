"""What the workbench of the Library tab says."""

from collections.abc import Sequence

from app.core.text import show_share

HEADING = "Combine and change files"
TASK = "What to do"
TASKS = {
    "merge": "Merge several files into one",
    "resize": "Make a file smaller",
    "scale": "Make parts of a file stronger or weaker",
    "extract": "Make a LoRA of what two base models differ",
    "bake": "Build files into a base model",
    "subtract": "Take files out of a base model again",
}
TASKS_INFO = {
    "merge": "One new LoRA file that does what all of them do.",
    "resize": "A new LoRA file of a lower rank that keeps what is strongest in the old one.",
    "scale": "A new LoRA file in which blocks of the model are changed more, less or not at all.",
    "extract": "A new LoRA file that makes of the first base model what the second one is.",
    "bake": "A new base model that has the LoRA files in its weights, so no prompt needs them.",
    "subtract": "A new base model without LoRA files that had been built into it.",
}
METHOD = "Method"
METHODS = {
    "svd": "Sum, held to a rank (svd)",
    "concatenate": "Exact sum (concatenate)",
    "orthogonal": "Turned away from each other (orthogonal)",
    "ties": "The majority decides (ties)",
    "dare_linear": "Thinned out at random (dare_linear)",
    "dare_ties": "Thinned out, then the majority (dare_ties)",
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
RANK = "Rank"
RANK_INFO = {
    "merge": "0 takes the largest of the files.",
    "resize": "At most this rank; 0 lets “Keep” alone decide.",
    "extract": "At most this rank; 0 lets “Keep” alone decide.",
}
ENERGY = "Keep (% of the energy)"
ENERGY_INFO = "Below 100, each layer gets the lowest rank that holds this much of its change."
DENSITY = "Density (%)"
DENSITY_INFO = "Share of each file's numbers that stays."
SEED = "Seed of the draw"
SEED_INFO = "Another one drops other numbers."
PRECISION = "Number format"
PRECISION_INFO = "fp16 is what programs expect."
BLOCKS = {
    "down": "Down blocks",
    "middle": "Middle",
    "up": "Up blocks",
    "text": "Text encoder",
}
BLOCKS_INFO = "1 as it is, 0 leaves it out"
PATTERNS = "Single layers (optional)"
PATTERNS_INFO = "PATTERN=FACTOR, with spaces between; these win over the sliders."
PATTERNS_EXAMPLE = "unet.up_blocks.1.*=0.5 *.attn2.*=1.2"
BASE_OPTIONAL = "Base model"
BASE_OPTIONAL_INFO = "For the pictures; DoRA files need it for the work, too."
BASE_OWN = "The one that the first file was trained on"
BASE_OF = {
    "extract": ("Base model that the LoRA will be used on", "The plain one."),
    "bake": ("Base model to build them into", "It stays as it is; a new one is written."),
    "subtract": ("Base model to take them out of", "It stays as it is; a new one is written."),
}
TUNED = "Base model that it shall become"
TUNED_INFO = "Of the same family."
PROMPT = "Prompt for the pictures"
PROMPT_INFO = "Left empty, the first file's own."
PICTURE_SEED = "Seed of the pictures"
TRY = "Try it"
STOP = "Stop"
STRENGTH = "Weight of the draft"
STRENGTH_INFO = "Letting go draws anew; the draft stays as it is."
AGAIN = "Draw again"
NAME = "Name of the new file"
NAME_INFO = "Letters, digits, dots, dashes and underscores."
SAVE = "Save"
DRAFT = "Draft"
HINT = "Try it first: nothing is saved before you have seen what it does."
OLD = "This draft was made with other settings than those above. Try again before saving."
DRAFT_GONE = "The draft is not there any more. Try again."
PICTURE_GONE = "These pictures are not there any more, or others were asked for. Draw again."
STOPPED = "Stopped. Nothing was kept."
BUILDING = "A base model is being written already. Wait until it is done."
NO_TASK = "Choose what to do."
TWO_FILES = "A merge needs two files or more. Choose another one."
ONE_FILE = "Choose a file first."
CHOOSE_BASE = "Choose a base model first."
TWO_MODELS = "Choose two different base models: the plain one and the one that it shall become."
SAY_HOW_MUCH = "Say how much to keep: a rank of 1 or more, or less than 100 % of the energy."
ALL_THE_SAME = "Move a slider, or name layers: so far everything stays as it is."
NAME_RULE = (
    "A name is made of letters, digits, dots, dashes and underscores, starts with a letter or "
    "digit and has at most 80 signs; no folders. Choose another name."
)
BAKE_HINT = (
    "The pictures are drawn with the files at these weights, which is what the new base model "
    "will do. It is written when you save."
)
PAIRS = "How the files get on"
PAIR_COLUMNS = ("Files", "Cosine", "That means")
WORST_MERGED = "Layers that are farthest from the plain sum"
WORST_MERGED_COLUMNS = ("Layer", "Cosine", "Sign conflicts", "Distance from the sum")
WORST_KEPT = "Layers that lost most"
WORST_KEPT_COLUMNS = ("Layer", "Rank before", "Rank now", "Energy kept")
SCALED = "Factors"
SCALED_COLUMNS = ("Factor", "Layers")
FINDINGS = "What programs will make of it"
# What the commands call the page's fields.
_HERE = {
    "Name the base model with --base-model": "Choose it under “Base model”",
    "Name a base model that it fits with --base-model": "Choose one under “Base model”",
    "Name it with --base-model": "Choose it under “Base model”",
    ", or give --force to replace it": "",
}


def file_number(number: int) -> str:
    """The label of a file's row."""
    return f"File {number}"


def working(seconds: int, written: str) -> str:
    """A draft, or a base model, that is being made."""
    line = f"Working on it for {seconds} s"
    line += f"; {written} written so far." if written else "."
    return f"{line} Files of full size take minutes; you can leave this page meanwhile."


def refused(message: str) -> str:
    """What could not be made, with the page's words for the command's options."""
    for told, here in _HERE.items():
        message = message.replace(told, here)
    return f"Not made: {message}"


def bad_number(name: str, low: float, high: float) -> str:
    """A number that is none, or out of bounds."""
    return f"{name} must be a number from {low:g} to {high:g}."


def not_whole(name: str) -> str:
    """A number with a fraction."""
    return f"{name} must be a whole number."


def bad_pattern(text: str) -> str:
    """A word in the line of patterns."""
    shown = text if len(text) <= 60 else f"{text[:59]}…"
    return f"“{shown}” is no PATTERN=FACTOR, such as unet.up_blocks.1.*=0.5."


def no_such_file(name: str) -> str:
    """A file that was chosen and is gone."""
    shown = name if len(name) <= 80 else f"{name[:79]}…"
    return f"There is no file “{shown}” any more. Choose another one."


def name_taken(name: str) -> str:
    """A name that something has already."""
    return f"There is already something named {name}. Choose another name; nothing was replaced."


def saved(name: str, *, model: bool) -> str:
    """A draft was saved."""
    if model:
        return f"Saved: {name} is in the list of base models."
    return f"Saved: {name} is in the Library and in the list of the Preview tab."


def not_saved(reason: str) -> str:
    """A draft that could not be moved."""
    return f"Not saved: {reason}. Nothing was replaced."


def made(size: str) -> str:
    """A draft is there."""
    return f"The draft is ready ({size}). It is no file of yours before you save it."


def conflicts(share: float) -> str:
    """Sign conflicts over the whole merge."""
    return f"{show_share(share)} of the numbers are raised by one file and lowered by another."


def distance(share: float, method: object) -> str:
    """How far a merge is from the plain sum."""
    line = (
        f"The result differs from the plain weighted sum by {show_share(share, 1)} of its energy."
    )
    if method == "svd" and share > 0.1:
        line += " The exact sum (concatenate) loses nothing."
    return line


def cut(share: float) -> str:
    """What the rank could not hold of what a method made."""
    return (
        f"The rank could not hold {show_share(share, 1)} of the energy of what the method made; a "
        "higher rank holds more."
    )


def meaning(cosine: float) -> str:
    """A cosine in words."""
    if cosine >= 0.5:
        return "they do much the same, which adds up: take lower weights, or orthogonal"
    if cosine >= 0.1:
        return "they have something in common"
    if cosine > -0.1:
        return "they hardly touch each other"
    return "they undo each other in part"


def kept(layers: int, ranks: Sequence[int], mean: float) -> str:
    """What is left after a resize or an extraction."""
    low, high = min(ranks), max(ranks)
    spread = f"rank {low}" if low == high else f"ranks {low} to {high}"
    return f"{layers} layers of {spread}; {show_share(mean, 1)} of the energy is kept in the mean."


def equal_layers(count: int) -> str:
    """Layers that an extraction left out because they are equal."""
    return f"{count} layers are equal in both base models, and not in the file."


def left_out(names: Sequence[str]) -> str:
    """Tensors that differ and that no LoRA holds."""
    return f"{len(names)} tensors differ that a LoRA file cannot hold, first {names[0]}."


def scaled(changed: int, dropped: int, total: int) -> str:
    """What a scaling changed."""
    line = f"{changed} of {total} layers have another strength."
    return f"{line} {dropped} are left out." if dropped else line


def rounded(names: Sequence[str]) -> str:
    """Weights whose number format is too coarse."""
    return (
        f"The number format of the base model lost most of the change of {len(names)} weights, "
        f"first {names[0]}."
    )
