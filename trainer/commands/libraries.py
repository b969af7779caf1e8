"""What every heavy command shares: its libraries are quiet."""

import logging
import os
import sys
import warnings

_ENVIRONMENT = {
    "HF_HUB_OFFLINE": "1",
    "HF_HUB_DISABLE_PROGRESS_BARS": "1",
    "DIFFUSERS_VERBOSITY": "error",
    "TRANSFORMERS_VERBOSITY": "error",
}


def quiet_libraries() -> None:
    """Keeps bars and hints of the libraries off the terminal, and them off the network.

    Loads none of them, which would take seconds: many commands need none.
    """
    for name, value in _ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    # The environment is read when that library is imported, which may have happened before.
    if constants := sys.modules.get("huggingface_hub.constants"):
        constants.HF_HUB_OFFLINE = True  # type: ignore[attr-defined]
    # On a CPU it always logs about kernels that it could download.
    logging.getLogger("bitsandbytes").setLevel(logging.ERROR)
    # What will change in a library is for us to read, not for the person who trains.
    warnings.filterwarnings("ignore", category=FutureWarning, module=r"(diffusers|transformers)\.")
    logging.basicConfig(format="%(message)s")


def quiet_model_libraries() -> None:
    """Does the same for a command that loads a base model, and imports what it loads it with.

    These two show bars that no variable of the environment turns off.
    """
    quiet_libraries()
    import diffusers
    import transformers

    for library in (diffusers, transformers):
        library.logging.set_verbosity_error()
        library.logging.disable_progress_bar()
