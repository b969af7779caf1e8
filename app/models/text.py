"""Sentences of the Train tab about base models."""

from collections.abc import Mapping

from trainer.config import Suggestion
from trainer.formats.predictions import PREDICTIONS

ANSWERS = {
    "epsilon": "The noise (epsilon)",
    "v_prediction": "v (v-prediction)",
    "flow": "A flow (rectified flow)",
}
NOT_LOOKED_AT = "Nobody has looked at this base model yet."
LOOKING = "Looking at this base model…"
NONE_CHOSEN = "Choose a base model, add one by its path, or download one from the hub below."
UNKNOWN_PREDICTION = (
    "Its file does not state what it predicts. Choose below; the likely answer stands first."
)
MEASUREMENT = "What this base model predicts, by measurement"
MEASURE = "Measure what it predicts"
MEASURE_AGAIN = "Measure again"
MEASURE_INFO = (
    "Shows it noised images, of the chosen dataset where there is one, and looks at its answers. "
    "This loads the base model."
)
EVIDENCE = ("Time step", "Noise", "Image", "-b/a", "Explained")
EVIDENCE_INFO = (
    "Each answer as a · noise + b · image. -b/a is near 0 for a model that predicts the noise, "
    "grows with the time step for v, and is near 1 for a flow."
)
OTHER_MODELS = "Add a base model: by path, or from the hub"
PATH = "Path of a .safetensors file or a diffusers folder"
PATH_INFO = "On this computer. Files in the workspace's models folder are listed by themselves."
PATH_EXAMPLE = "/home/me/models/my-model.safetensors"
ADD = "Add"
HUB = "Download from the Hugging Face hub"
HUB_INFO = (
    "OWNER/NAME, or OWNER/NAME/FILE.safetensors for one file. This uses the network. A private "
    "model needs HF_TOKEN in the environment in which Lorasmith was started."
)
HUB_EXAMPLE = "owner/name"
DOWNLOAD = "Download"
CANCEL = "Cancel"
NOT_A_HUB_ID = (
    "This is no hub id. It has the form OWNER/NAME or OWNER/NAME/FILE.safetensors, as at the top "
    "of the model's page."
)
NO_PATH = "Type the path of a base model first."
PATHS_CLOSED = (
    "A path can only be typed in a browser on the computer that Lorasmith runs on. Put the base "
    "model into the workspace's models folder."
)
RELATIVE_PATH = "This path has no beginning. Type the whole path, from / or the drive on."
DOWNLOAD_STARTED = "Asking the hub…"
DOWNLOAD_STOPPED = "The download was stopped. What has arrived is kept for the next try."


def no_such_path(path: str) -> str:
    return f"There is nothing at {path}. Check the path, then press Add again."


def not_a_model(path: str) -> str:
    return (
        f"{path} is no base model. Give a .safetensors file, or the folder that holds "
        "model_index.json."
    )


def is_pickle(name: str) -> str:
    return (
        f"{name} is a pickle, which can run code when it is read. Convert it to .safetensors "
        "first, in a program that you trust."
    )


def added(name: str) -> str:
    return f"{name} is in the list now."


def suggested(suggestion: Suggestion) -> str:
    return f"Suggested preset: {suggestion.choice.name}. {suggestion.reason}"


def refused(message: str) -> str:
    return f"This base model cannot be trained: {message}"


def measuring(done: int, total: int) -> str:
    return f"Measuring: {done} of {total} answers" if total else "Loading the base model…"


def not_measured(message: str) -> str:
    return f"Not measured: {message}"


def margin(radians: float) -> str:
    return f"Margin to the next kind: {radians:.2f} rad. Evidence"


def distances(by_kind: Mapping[str, float]) -> str:
    listed = [f"{far:.2f} rad from {PREDICTIONS[kind].title}" for kind, far in by_kind.items()]
    return f"The answers are {', '.join(listed)}."


def downloading(hub_id: str, done: str, total: str, percent: int) -> str:
    return f"Downloading {hub_id}: {done} of {total} ({percent} %)"


def downloaded(hub_id: str) -> str:
    return f"{hub_id} is here and chosen."


def download_failed(message: str) -> str:
    return f"Not downloaded: {message}"
