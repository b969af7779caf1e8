"""What the notebook uses of Colab, on this computer; each call is noted in a file."""

import os
from pathlib import Path


def note(*values):
    """Adds a line to the file of calls."""
    with Path(os.environ["COLAB_CALLS"]).open("a", encoding="utf-8") as file:
        file.write(" ".join(map(str, values)) + "\n")
