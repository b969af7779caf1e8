"""BLIP: one short sentence (Li et al. 2022, arXiv:2201.12086)."""

from pathlib import Path

from PIL import Image

from datasets_tools.captioners.options import CaptionerOptions, Describe
from datasets_tools.captioners.pretrained import Pretrained

_MAX_TOKENS = 40
_BEAMS = 3


def load_blip(folder: Path, options: CaptionerOptions) -> Describe:
    """Loads a BLIP that was made for captions; a prompt is how its sentences begin.

    Raises:
        DatasetError: it is no such model, or cannot be loaded.
    """
    blip = Pretrained(folder, "BlipForConditionalGeneration", options)

    def caption_image(image: Image.Image) -> str:
        return blip.write(blip.prepare(image, options.prompt or None), _MAX_TOKENS, _BEAMS)

    return blip.describe_with(caption_image)
