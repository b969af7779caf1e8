"""Florence-2: one to several sentences (Xiao et al. 2023, arXiv:2311.06242).

In transformers' own code; repositories that bring code of their own are not run.
"""

from pathlib import Path

from PIL import Image

from datasets_tools.captioners.options import CaptionerOptions, Describe
from datasets_tools.captioners.pretrained import Pretrained
from datasets_tools.errors import DatasetError

TASKS = ("<CAPTION>", "<DETAILED_CAPTION>", "<MORE_DETAILED_CAPTION>")

_MAX_TOKENS = 256
_BEAMS = 3


def load_florence2(folder: Path, options: CaptionerOptions) -> Describe:
    """Loads a Florence-2; a prompt is one of its tasks.

    Raises:
        DatasetError: it is no such model, cannot be loaded, or has no such task.
    """
    task = _find_task(options.prompt)
    florence = Pretrained(folder, "Florence2ForConditionalGeneration", options)

    def caption_image(image: Image.Image) -> str:
        return florence.write(florence.prepare(image, task), _MAX_TOKENS, _BEAMS)

    return florence.describe_with(caption_image)


def _find_task(prompt: str) -> str:
    if not prompt:
        return "<DETAILED_CAPTION>"
    task = f"<{'_'.join(prompt.strip('<> ').upper().replace('-', ' ').split())}>"
    if task not in TASKS:
        msg = (
            f"Florence-2 takes no instruction, only a task, and {prompt!r} is none. Choose "
            f"{', '.join(TASKS[:-1])} or {TASKS[-1]} for --prompt."
        )
        raise DatasetError(msg)
    return task
