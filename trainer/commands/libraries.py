"""What every heavy command shares: its libraries are quiet."""

import logging
import os
import warnings


def quiet_libraries() -> None:
    """Keeps bars and hints of the libraries off the terminal, and them off the network."""
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    import diffusers
    import huggingface_hub.constants
    import transformers

    # The environment is read when that library is imported, which may have happened before.
    huggingface_hub.constants.HF_HUB_OFFLINE = True
    for library in (diffusers, transformers):
        library.logging.set_verbosity_error()
        library.logging.disable_progress_bar()
    # On a CPU it always logs about kernels that it could download.
    logging.getLogger("bitsandbytes").setLevel(logging.ERROR)
    # What will change in a library is for us to read, not for the person who trains.
    warnings.filterwarnings("ignore", category=FutureWarning, module=r"(diffusers|transformers)\.")
    logging.basicConfig(format="%(message)s")
