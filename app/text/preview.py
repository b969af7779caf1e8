"""What the Preview tab says."""

NO_ADAPTER = "There is no adapter yet. Train one first; it appears here when it is exported."
NO_BASE_OF_RUN = "The base model of this adapter's run is not known any more."
BROKEN_RESULT = "the result could not be read"
DRAWING = "Drawing…"
WORKER_GONE = (
    "The drawing process ended before the picture was done. Its log below may say why; Generate "
    "starts it again."
)
TRAINING_MEANWHILE = "A run is being trained on the same computer, so drawing takes longer."
WITHOUT = "Without"
WITH = "With"


def checkpoint_label(run_id: str, step: int) -> str:
    """A checkpoint in the list of adapters."""
    return f"checkpoint at step {step} ({run_id})"


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


def with_weight(weight: float) -> str:
    """The caption of the picture with the adapter."""
    return f"{WITH}, weight {weight:g}"


ADAPTER = "Adapter"
WEIGHT = "Weight"
WEIGHT_INFO = "0 is the base model alone, 1 is as trained. Letting go of the slider draws anew."
PROMPT = "Prompt"
SEED = "Seed"
STEPS = "Denoising steps"
GUIDANCE = "Guidance"
GENERATE = "Generate"
COMPARE = "Without | with: drag the divider"


def adapter_note(base: str, trigger: str) -> str:
    """What belongs to an adapter."""
    line = f"Base model: {base}."
    return f"{line} Trigger: {trigger}." if trigger else line


def asked(prompt: str, seed: int) -> str:
    """What was drawn."""
    return f"{prompt} · seed {seed}"
