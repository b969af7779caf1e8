"""What the Preview tab says."""

from collections.abc import Sequence

NO_BASE = (
    "It is not known on which base model this adapter was trained. Choose a base model of its "
    "family under “Base model”."
)
DRAWING = "Drawing…"
WORKER_GONE = (
    "The drawing process ended before the picture was done. Its log below may say why; Generate "
    "starts it again."
)
TRAINING_MEANWHILE = "A run is being trained on the same computer, so drawing takes longer."
WITHOUT = "Without"
WITH = "With"


ADD_ROW = "Add an adapter"
REMOVE_ROW = "Remove"
BASE_MODEL = "Base model"
BASE_MODEL_INFO = "A file from elsewhere needs one of its own family."
OWN_BASE = "The one that the first adapter was trained on"
ELSEWHERE = "A LoRA file from elsewhere, or another base model"
DROP = "Drop LoRA files here (.safetensors)"
NOT_AN_UPLOAD = "A file was refused because it was not uploaded through this page."
SAME_FAMILY = (
    "These adapters were trained on different base models. That works within one family only."
)


def adapter_number(number: int) -> str:
    """The label of an adapter's row."""
    return f"Adapter {number}"


def lora_kept(name: str) -> str:
    """A dropped file was taken in."""
    return f"{name} is in the list now. The Library tab says what it is."


def lora_known(name: str) -> str:
    """A dropped file was there already."""
    return f"{name} was in the list already."


def lora_refused(name: str, reason: str) -> str:
    """A dropped file was not taken in."""
    return f"{name} was not taken in: {reason}"


def lora_too_large(limit: int) -> str:
    """A dropped file that is no LoRA by its size."""
    return f"it is larger than {limit // 1024**3} GB. A LoRA file is far smaller."


WRONG_ENDING = "a LoRA file ends in .safetensors. Convert it first, in a program that you trust."
IS_A_BASE_MODEL = "it is a base model. Add it on the Train tab."
NO_TENSORS = "it holds no weights."


def drawn(seconds: float, loads: int) -> str:
    """A picture is done."""
    times = "once" if loads == 1 else f"{loads} times"
    return f"Drawn in {seconds:.1f} s. Base model loaded {times}."


def drawing_failed(message: str) -> str:
    """A picture failed."""
    return f"Nothing was drawn: {message}"


def bad_preview(reason: str) -> str:
    """A request out of bounds."""
    return f"Nothing was drawn because a value is out of bounds: {reason}."


def with_weights(weights: Sequence[tuple[str, float]]) -> str:
    """The caption of the picture with the adapters; names only where there are several."""
    if len(weights) == 1:
        return f"{WITH}, weight {weights[0][1]:g}"
    return f"{WITH} " + " + ".join(f"{name} {weight:g}" for name, weight in weights)


WEIGHT = "Weight"
WEIGHT_INFO = "0 leaves it out, 1 is as trained. Letting go of the slider draws anew."
PROMPT = "Prompt"
SEED = "Seed"
STEPS = "Denoising steps"
GUIDANCE = "Guidance"
GENERATE = "Generate"
COMPARE = "Without | with: drag the divider"


def adapter_note(name: str, base: str, trigger: str) -> str:
    """What belongs to an adapter."""
    line = f"{name}: base model {base}" if base else f"{name}: a file from elsewhere"
    return f"{line}, trigger {trigger}." if trigger else f"{line}."


def asked(prompt: str, seed: int) -> str:
    """What was drawn."""
    return f"{prompt} · seed {seed}"
