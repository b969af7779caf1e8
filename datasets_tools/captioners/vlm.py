"""Vision-language models: they follow an instruction, at more cost than the others."""

from pathlib import Path

from PIL import Image

from datasets_tools.captioners.options import CaptionerOptions, Describe
from datasets_tools.captioners.pretrained import Pretrained
from datasets_tools.errors import DatasetError, show_name

_MAX_TOKENS = 256
_USUAL_WORDS = 40
# Such a model reads an image in patches: four times the pixels take four times as long.
_LONGEST_SIDE = 768


def load_vlm(folder: Path, options: CaptionerOptions) -> Describe:
    """Loads any model of transformers that answers to an image with a text, and has a chat.

    Raises:
        DatasetError: it is no such model, or cannot be loaded.
    """
    model = Pretrained(folder, "AutoModelForImageTextToText", options, half=True)
    if not model.processor.chat_template:
        msg = (
            f"{show_name(folder)} has no chat template, so it cannot take an instruction. Choose a "
            "model that was tuned to follow instructions."
        )
        raise DatasetError(msg)
    order = options.prompt or make_instruction(options.max_words or _USUAL_WORDS)
    question = [{"type": "image"}, {"type": "text", "text": order}]
    text = model.processor.apply_chat_template(
        [{"role": "user", "content": question}], add_generation_prompt=True, tokenize=False
    )

    def caption_image(image: Image.Image) -> str:
        small = image.copy()
        small.thumbnail((_LONGEST_SIDE, _LONGEST_SIDE), Image.Resampling.LANCZOS)
        inputs = model.prepare(small, text)
        return model.write(inputs, _MAX_TOKENS, skip=inputs["input_ids"].shape[1])

    return model.describe_with(caption_image)


def make_instruction(max_words: int) -> str:
    """Returns the default instruction for captions for training."""
    return (
        f"Write a caption of at most {max_words} words for this image, for training a "
        "text-to-image model. Name the subject first, then what it does, its clothes and colours, "
        "and the background. Say only what can be seen. Do not mention the art style, and do not "
        "begin with words like 'the image shows'. Answer with the caption alone."
    )
