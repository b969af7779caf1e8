"""Sentences of the Train tab and of the status bar."""

from app.core.text import NO_DATASET, image_count
from trainer.config import RunConfig

NO_RUN = "No run yet. Choose a preset and press Start."
RESUMED = "Going on."
ENDED = "The process was ended, because it did not stop by itself."
RUN_FINISHED = "This run is finished. Start a new one to train more."
NOT_RUNNING = "This run is not active. Resume it first."
START_IS_BUSY = "Another start is under way. Wait a moment and look at the run bar."
DEFAULTS = "Defaults"
DEFAULTS_NOTE = "The defaults of every setting, for a Stable Diffusion 1.x base model."
OPENED = "As in the opened file"
VALUES_STAYED = "Your own values were kept:"
VALUES_RESTORED = "The form is as you left it:"
VALUES_REPLACED = "The form was filled anew."
USE_PRESET = "Use the preset's"
UNDO = "Undo"
NO_FILE = "Choose a file in the Library first."
START_ANEW = "Start anew instead"
FORM_REFUSED = "Not started. Fix these settings, then press Start again:"
NO_SAMPLES = "Samples appear here while the run learns."
SAMPLES_HINT = "Rows are steps, columns are prompts. Arrow keys move, Enter enlarges."
SUGGESTION_SHEET = "Base model, suggestion and last checkpoint, a row per prompt"
SEARCH_LABEL = "Search the settings"


def name_derived(name: str) -> str:
    return f"The run is called {name}, its file {name}.safetensors."


def restarted(saved: int) -> str:
    return f"Starting again at step {saved}." if saved else "Starting from the beginning."


def suggestion(step: int, weight: float) -> str:
    return f"Suggested by evaluation: step {step} at weight {weight:g}."


def no_suggestion(step: int) -> str:
    return f"The file is of step {step}, at weight 1. `lorasmith evaluate` suggests the best one."


def losses(step: int, raw: float, smoothed: float) -> str:
    return f"Step {step}: raw {raw:.4f}, smoothed {smoothed:.4f}"


def loss_now(loss: float) -> str:
    return f"loss {loss:.4f}"


def started(name: str) -> str:
    return f"Started “{name}”. The first samples take a moment."


def queued(name: str, place: int) -> str:
    return f"“{name}” is in the queue, at place {place}. It starts when its device is free."


def resumes_after(busy: str, place: int) -> str:
    return f"“{busy}” is being trained, so this run is in the queue, at place {place}."


def already_running(name: str) -> str:
    return f"“{name}” is being trained already. Stop it first, or press “{ADD_TO_QUEUE}” instead."


def no_images_to_train(name: str) -> str:
    return f"The dataset “{name}” has no usable image. Add some on the Dataset tab."


def describe_exposure(config: RunConfig, images: int) -> str:
    train, adapter = config.train, config.adapter
    scale = f"alpha {adapter.alpha:g} / rank {adapter.rank} = {adapter.alpha / adapter.rank:.2g}"
    strength = f"Effective scale: {scale}."
    shown = train.steps * train.batch_size * train.accumulate
    if not images:
        return f"Images are shown {shown} times in all; the dataset has none yet. {strength}"
    middle = f" × {train.accumulate} batches a step" if train.accumulate > 1 else ""
    return (
        f"{train.steps} steps × {train.batch_size} images{middle} ÷ {images} images in the "
        f"dataset: each image is seen about {shown / images:.0f} times. {strength}"
    )


def dataset_for_training(name: str, images: int) -> str:
    if not name:
        return NO_DATASET
    return f"Dataset: {name}, {image_count(images)} (chosen on the Dataset tab)."


def no_prompt(reason: str) -> str:
    return f"This prompt cannot be read: {reason}."


def starts_from(name: str) -> str:
    return f"Goes on from {name}: its kind and ranks replace those set below."


def settings_opened(name: str) -> str:
    return f"These are the settings of {name}. Check dataset and base model, then press Start."


def only_start(name: str) -> str:
    return f"{name} holds no settings, so those below stay. Check the base model, then press Start."


def no_settings(name: str) -> str:
    return f"{name} holds no settings. Only files made by Lorasmith have them."


def unknown_base(name: str) -> str:
    return (
        f"Its base model {name} is not in the list: add it, or choose another one." if name else ""
    )


FAR_WEBHOOK = (
    "output.webhook has the computer that Lorasmith runs on send something, which only a browser "
    "on that computer may ask for. Set it by command: --set output.webhook=…"
)


def far_path(setting: str) -> str:
    return (
        f"{setting} names a place outside the workspace, which only a browser on the computer "
        "that Lorasmith runs on may do. Put the file into the workspace."
    )


def row_heading(step: int) -> str:
    return f"step {step}" if step else "before"


def sample_alt(step: int, prompt: str) -> str:
    return f"Sample at step {step}: {prompt}"


BASE_MODEL = "Base model"
BASE_MODEL_INFO = ""
PRESET = "Preset"
PRESET_INFO = "Fills in all settings below; each can be changed."
STARTER = "Starter model"
ROWS = {
    "kind": "Kind of base",
    "goal": "What is it?",
    "memory": "GPU memory",
    "care": "Care",
}
OWN_PROMPT = "Sample now with a prompt of your own"
OWN_PROMPT_EXAMPLE = "empty: the run's prompts"
PROMPTS = "Sample prompts of this run"
PROMPTS_LABEL = "One a line"
PROMPTS_INFO = (
    "From the next samples on. A line may end in --w 512 --h 768 --d seed --s steps --l guidance "
    "--n negative."
)
SAVE_PROMPTS = "Use these prompts"
PROMPTS_SAVED = "They are used from the next samples on."
TRY_IT = "Try it"
DOWNLOAD = "Download"
SHARE = "Share"
NEW_RUN = "Set up another run"
BEFORE = "before"
AFTER = "after {} steps"
LEARNED = "What will be learned"
LEARNED_PROMPTS = "Samples will show"
RATES = "Learning rates (expert)"
ALL_SETTINGS = "All settings"
SEARCH_EXAMPLE = "for example rank, or learning rate"
START = "Start training"
ADD_TO_QUEUE = "Add to queue"
RUN_BUTTONS = {
    "pause": "Pause",
    "resume": "Resume",
    "stop": "Stop",
    "sample": "Sample now",
    "save": "Save now",
    "new": NEW_RUN,
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
    return f"{name}: {description}" if description else name
