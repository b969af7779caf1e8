"""The sentences of the Preview tab."""

ADD_ROW = "Add an adapter"
REMOVE_ROW = "Remove"
BASE_MODEL = "Base model"
BASE_MODEL_INFO = "A file from elsewhere needs one of its own family."
OWN_BASE = "The one that the first adapter was trained on"
ELSEWHERE = "A LoRA file from elsewhere, or another base model"
DROP = "Drop LoRA files here (.safetensors)"
SAME_FAMILY = (
    "These adapters were trained on different base models. That works within one family only."
)
WEIGHT = "Weight"
WEIGHT_INFO = (
    "0 leaves it out, 1 is as trained, less than 0 turns it around. Letting go generates again."
)
PROMPT = "Prompt"
NEGATIVE = "Negative prompt"
SAMPLER = "Sampler"
OWN_SAMPLER = "The usual one"
ASPECT = "Width : height"
OWN_SIZE = "Square"
COUNT = "Images"
DICE = "Random seed"
SEED = "Seed"
STEPS = "Denoising steps"
GUIDANCE = "Guidance"
GENERATE = "Generate"
GRID = "A grid over two settings"
GRID_INFO = (
    "One image for each pair of values; write one value per line. Left empty, it is the value "
    "above: for step, all checkpoints of the first adapter's run, for adapter, each adapter alone."
)
GRID_ROWS = "Rows"
GRID_COLUMNS = "Columns"
GRID_VALUES = "Values"
GRID_GENERATE = "Generate the grid"
GRID_DOWNLOAD = {"png": "Download the image", "json": "Download its settings (JSON)"}
STOP = "Stop"
GRID_STOPPED = "Stopped. What is there is kept; generating it again goes on."
COMPARE = "Without | with: drag the divider"
FULLSCREEN = "Fullscreen"


def adapter_number(number: int) -> str:
    return f"Adapter {number}"


def lora_added(name: str) -> str:
    return f"{name} is in the list now. The Library tab shows what it is."


def lora_known(name: str) -> str:
    return f"{name} was in the list already."


def adapter_note(name: str, base: str, trigger: str) -> str:
    line = f"{name}: base model {base}" if base else f"{name}: a file from elsewhere"
    return f"{line}, trigger {trigger}." if trigger else f"{line}."


def grid_progress(done: int, total: int) -> str:
    return f"{done} of {total} images" if total else "The base model is being loaded."


def grid_done(total: int) -> str:
    return f"The grid has {total} images."


def grid_values(which: str) -> str:
    return f"{which}: a value per line"
