"""What is said about commands that the app sends out."""

BUSY = "Another command is being started. Wait a moment and try again."
DIED = "The command ended without an answer and without a word."
STOPPED = "Stopped."


def died(line: str) -> str:
    """A command that ended with something else than a sentence of ours."""
    return f"The command ended without an answer. Its last line: {line}"
