"""What the Library tab says."""

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
    """The adapter in a few words."""
    return f"{kind}, rank {rank}, alpha {alpha:g}"


def download(name: str, size: int) -> str:
    """The download link."""
    return f"Download {name} ({show_bytes(size)})"


def download_word(word: str) -> str:
    """The link to the embedding of a learned word."""
    return f"Download the word {word} (embedding)"


def word_use(word: str) -> str:
    """What a person does with the embedding."""
    return (
        f"It goes into the folder of embeddings of A1111, Forge, ComfyUI or InvokeAI; then {word} "
        f"in a prompt (embedding:{word} in ComfyUI) means what was learned."
    )


CARDS_LABEL = "Runs and files; arrow keys move"
FILES_HEADING = "Files from elsewhere"
FROM_ELSEWHERE = "LoRA file"
TRIGGER = "Trigger word"
SYNTAX = "In a prompt of AUTOMATIC1111 and Forge"
SYNTAX_INFO = "The number is the weight."
RESUME = "Resume this run"
NO_SAMPLE = "no samples"
