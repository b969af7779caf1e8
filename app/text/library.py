"""What the Library tab says."""

LIBRARY_EMPTY = "No runs yet. What you train is kept here."
LIBRARY_HINT = "Choose a run to see its facts, download its file or continue it."
NO_EXPORT = "This run has exported no file yet. It does when it finishes or is stopped."
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
    return f"Download {name} ({size / 1024**2:.1f} MB)"


CARDS_LABEL = "Runs; arrow keys move"
TRIGGER = "Trigger word"
SYNTAX = "In a prompt of AUTOMATIC1111 and Forge"
SYNTAX_INFO = "The number is the weight."
RESUME = "Resume this run"
NO_SAMPLE = "no samples"
