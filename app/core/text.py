"""The sentences that several parts of the app share, and how sizes are written."""

APP_NAME = "Lorasmith"
DATASET_NAME_RULE = (
    "A dataset's name is made of letters, digits, dots, dashes and underscores, starts with a "
    "letter or digit and has at most 64 signs. Choose another name."
)
NO_BASE_MODEL = (
    "There is no base model yet. Put a Stable Diffusion model (a .safetensors file or a diffusers "
    "folder) into the workspace's models folder, or add one on the Train tab."
)
NO_DATASET = "There is no dataset yet. Add images on the Dataset tab first."
STILL_SUGGESTING = (
    "Captions are being suggested for this dataset. Wait for the end, or cancel that on the "
    "Dataset tab first."
)
GRID_AXES = "Choose two different settings for rows and columns."
GRID_STEPS = (
    "The first adapter is a file from elsewhere, which has no checkpoints. Choose one of a run, or "
    "another setting than step."
)
NO_ADAPTER = "There is no adapter yet. Train one first; it appears here when it is exported."
NO_BASE_OF_ADAPTER = (
    "It is not known on which base model this adapter was trained. Choose a base model of its "
    "family under “Base model”."
)
BROKEN_RESULT = "the result could not be read"
NOT_AN_UPLOAD = "A file was refused because it was not uploaded through this page."
WRONG_ENDING = "a LoRA file ends in .safetensors. Convert it first, in a program that you trust."
IS_A_BASE_MODEL = "it is a base model. Add it on the Train tab."
NO_TENSORS = "it holds no weights."
COMMAND_BUSY = "Another command is being started. Wait a moment and try again."
COMMAND_DIED = "The command ended without an answer."
COMMAND_STOPPED = "Stopped."
STATES = {
    "new": "Not started",
    "queued": "Waiting to be started",
    "starting": "Starting",
    "running": "Running",
    "paused": "Paused",
    "stopped": "Stopped",
    "finished": "Finished",
    "failed": "Failed",
    "lost": "The process ended unexpectedly",
    "damaged": "Damaged: not all of it can be read",
}
PENDING = {
    "stop": "Stopping after this step; what has been learned is kept. If it takes longer than a "
    "minute, Stop ends the process at once: what it learned since its last checkpoint is lost.",
    "pause": "Pausing after this step.",
    "resume": "Going on.",
    "sample": "Samples will be made after this step.",
    "save": "A checkpoint will be saved after this step.",
}
DIED_BEFORE_START = (
    "The training process ended before it began. Its log below may show why; Resume tries again."
)
NO_REQUEST = "That request is not there any more. Generate again."
LOG_HEADING = "Last lines of the log"
KNOWN_MODELS_BUSY = "Another process is saving what is known of the base models. Try again."
PREDICTION_QUESTION = "What does this base model predict?"
PREDICTIONS = {
    "epsilon": "predicts the noise (epsilon)",
    "v_prediction": "predicts v",
    "flow": "predicts a flow (rectified flow)",
}
ASSUMED = "assumed; measured before the first step"
ZERO_SNR = "schedule ends in pure noise (zero terminal SNR)"
LAYOUTS = {"file": "one file", "folder": "diffusers folder"}
FACT_FAMILY = "Family"
FACT_PREDICTION = "Prediction"
FACT_SIZE = "Weights"
FACT_PLACE = "Layout"


def _show(value: object) -> str:
    shown = str(value)
    return shown if len(shown) <= 80 else f"{shown[:79]}…"


def no_such_dataset(name: object) -> str:
    return f"There is no dataset “{_show(name)}”. Choose one from the list, or make a new one."


def dataset_exists(name: str) -> str:
    return f"There is already a dataset “{name}”. Choose it from the list or take another name."


def no_such_run(run_id: object) -> str:
    return f"There is no run “{_show(run_id)}”. It may have been moved; choose another one."


def no_such_base_model(name: object) -> str:
    return f"There is no base model “{_show(name)}”. Choose one from the list."


def cannot_write(reason: str) -> str:
    return f"The workspace cannot be written: {reason}"


def cannot_spawn(reason: str) -> str:
    return f"The worker process could not be started: {reason}"


def command_died(line: str) -> str:
    return f"The command ended without an answer. Its last line: {line}"


def phase(name: str) -> str:
    return name[:1].upper() + name[1:] if name else "Running"


def step_of(step: int, steps: int) -> str:
    return f"step {step} of {steps}"


def time_left(duration: str) -> str:
    return f"about {duration} left"


def out_of_bounds(reason: str) -> str:
    return f"Nothing was generated because a value is out of bounds: {reason}."


def lora_label(name: str) -> str:
    return f"{name} (file)"


def lora_refused(name: str, reason: str) -> str:
    return f"{name} was not taken in: {reason}"


def lora_too_large(limit: int) -> str:
    return f"it is larger than {limit // 1024**3} GB. A LoRA file is far smaller."


def checkpoint_label(run_id: str, step: int) -> str:
    return f"checkpoint at step {step} ({run_id})"


def checkpoint_name(step: int) -> str:
    return f"step {step}"


def image_count(count: int) -> str:
    return f"{count} {'image' if count == 1 else 'images'}"


def show_bytes(size: float) -> str:
    if size >= 1024**3:
        return f"{size / 1024**3:.1f} GB"
    if size >= 1024**2:
        return f"{size / 1024**2:.1f} MB"
    return f"{max(size, 0) / 1024:.0f} KB" if size >= 1024 else f"{size:.0f} bytes"


def show_share(share: float, digits: int = 0) -> str:
    return f"{100 * share:.{digits}f} %"
