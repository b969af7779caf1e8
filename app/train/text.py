"""What the Train tab and the run bar say."""

from app.core.text import NO_DATASET
from app.dataset.text import image_count

APP_NAME = "Lorasmith"
TAGLINE = "A style or a character from a handful of images, as a LoRA for Stable Diffusion."

STATES = {
    "new": "Not started",
    "queued": "Waiting to be started",
    "starting": "Starting",
    "running": "Running",
    "paused": "Paused",
    "stopped": "Stopped",
    "finished": "Finished",
    "failed": "Failed",
    "lost": "Ended without a word",
}
PENDING = {
    "stop": "Stopping after this step; what has been learned is kept.",
    "pause": "Pausing after this step.",
    "resume": "Going on.",
    "sample": "Samples will be made after this step.",
    "save": "A checkpoint will be saved after this step.",
}
NO_RUN = "No run yet. Choose a preset and press Start."
DIED_BEFORE_START = (
    "The training process ended before it began. Its log below may say why; Resume tries again."
)
RESUMED = "Going on."
RESTARTED = "Starting again from the last checkpoint."
RUN_FINISHED = "This run is finished. Start a new one to train more."
NOT_RUNNING = "This run is not being worked on, so there is nobody to ask."
START_IS_BUSY = "Another start is under way. Wait a moment and look at the run bar."
DEFAULTS = "Defaults"
DEFAULTS_NOTE = "The defaults of every setting, for a Stable Diffusion 1.x base model."
OPENED = "As in the opened file"
NO_FILE = "Choose a file in the Library first."
START_ANEW = "Start anew instead"
FORM_REFUSED = "Not started. Mend these settings, then press Start again:"
NO_SAMPLES = "Samples appear here while the run learns."
SAMPLES_HINT = "Rows are steps, columns are prompts. Arrow keys move, Enter enlarges."
LOG_HEADING = "Last lines of the log"
SEARCH_LABEL = "Search the settings"


def phase(name: str) -> str:
    """A phase as the start of a line."""
    return name[:1].upper() + name[1:] if name else "Running"


def step_of(step: int, steps: int) -> str:
    """How far a run is."""
    return f"step {step} of {steps}"


def time_left(duration: str) -> str:
    """How long a run will take."""
    return f"about {duration} left"


def loss_now(loss: float) -> str:
    """The latest loss."""
    return f"loss {loss:.4f}"


def started(name: str) -> str:
    """A run was started."""
    return f"Started “{name}”. The first samples take a moment."


def already_running(name: str) -> str:
    """A second start is refused."""
    return f"“{name}” is being trained already. Stop it or wait for its end, then start again."


def no_images_to_train(name: str) -> str:
    """A start without images."""
    return f"The dataset “{name}” has no usable image. Add some on the Dataset tab."


def exposure(steps: int, batch: int, accumulate: int, images: int, times: str) -> str:
    """How often each picture is seen."""
    middle = f" × {accumulate} batches a step" if accumulate > 1 else ""
    return (
        f"{steps} steps × {batch} images{middle} ÷ {images} images in the dataset: "
        f"each picture is seen about {times} times."
    )


def no_images_yet(shown: int) -> str:
    """The exposure of an empty dataset."""
    return f"Pictures are shown {shown} times in all; the dataset has none yet."


def strength(alpha: float, rank: int) -> str:
    """The effective scale."""
    return f"Effective scale: alpha {alpha:g} / rank {rank} = {alpha / rank:.2g}."


def dataset_for_training(name: str, images: int) -> str:
    """Which dataset a run will use."""
    if not name:
        return NO_DATASET
    return f"Dataset: {name}, {image_count(images)} (chosen on the Dataset tab)."


def starts_from(name: str) -> str:
    """A run that goes on from a file."""
    return f"Goes on from {name}: its kind and ranks replace those set below."


def settings_opened(name: str) -> str:
    """A file's settings are in the form."""
    return f"These are the settings of {name}. Check dataset and base model, then press Start."


def only_start(name: str) -> str:
    """A file without settings is to be continued."""
    return f"{name} holds no settings, so those below stay. Check the base model, then press Start."


def no_settings(name: str) -> str:
    """A file without settings is to be opened."""
    return f"{name} holds no settings. Only files that were made here tell how."


def unknown_base(name: str) -> str:
    """The base model of opened settings is not in the list."""
    return (
        f"Its base model {name} is not in the list: add it, or choose another one." if name else ""
    )


def far_path(setting: str) -> str:
    """A path that a browser on another computer may not name."""
    return (
        f"{setting} names a place outside the workspace, which only a browser on the computer "
        "that Lorasmith runs on may do. Put the file into the workspace."
    )


def row_heading(step: int) -> str:
    """The head of a row of samples."""
    return f"step {step}" if step else "before"


def sample_alt(step: int, prompt: str) -> str:
    """What a sample shows."""
    return f"Sample at step {step}: {prompt}"


BASE_MODEL = "Base model"
BASE_MODEL_INFO = "The Stable Diffusion model that is adapted."
PRESET = "Preset"
PRESET_INFO = "Fills in all settings below; each can be changed."
ALL_SETTINGS = "All settings"
SEARCH_EXAMPLE = "for example rank, or learning rate"
START = "Start training"
RUN_BUTTONS = {
    "pause": "Pause",
    "resume": "Resume",
    "stop": "Stop",
    "sample": "Sample now",
    "save": "Save now",
}
SHOWN_RUN = "Run shown"
CHART_LABEL = "Loss over steps (light: raw, dark: smoothed)"
RAW = "raw"
SMOOTHED = "smoothed"
SAMPLES_HEADING = "Samples"
SECTIONS = {
    "": "Run",
    "base_model": "Base model",
    "dataset": "Dataset",
    "adapter": "Adapter",
    "adapter.adalora": "Adapter: AdaLoRA",
    "objective": "Objective",
    "optimizer": "Optimiser",
    "train": "Training",
    "samples": "Samples",
    "output": "Output",
}


def preset_line(name: str, description: str) -> str:
    """What a preset is for."""
    return f"{name}: {description}" if description else name


TABS = {"dataset": "Dataset", "train": "Train", "preview": "Preview", "library": "Library"}


def bounds(low: str, high: str) -> str:
    """Which values a setting may have."""
    return ", ".join(part for part in (low, high) if part)


def at_least(value: object) -> str:
    """A lower bound that may be reached."""
    return f"at least {value}"


def above(value: object) -> str:
    """A lower bound that may not be reached."""
    return f"above {value}"


def at_most(value: object) -> str:
    """An upper bound that may be reached."""
    return f"at most {value}"


def below(value: object) -> str:
    """An upper bound that may not be reached."""
    return f"below {value}"
