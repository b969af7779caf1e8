"""Sample prompts: lines as kohya's scripts read them, and prompts where a run names none.

`a cat in the snow --w 512 --h 768 --d 42 --s 30 --l 6.5 --n blurry` has a size, a seed, a number
of denoising steps, a guidance and a negative prompt of its own.
"""

import re
from collections.abc import Collection
from dataclasses import dataclass

# For a run without sample prompts: its class in new situations, and for a style new subjects.
_SITUATIONS = (
    "{} in the snow",
    "{} on a beach",
    "{} in a forest",
    "{} sitting on a chair",
    "{} beside a bicycle",
    "{} at night",
    "{} with an umbrella",
    "{} in front of a house",
    "{} in a kitchen",
    "{} under a tree",
    "{} on a mountain",
    "{} reading a book",
)
_SUBJECTS = (
    "a house", "a cat face", "a tree", "a bicycle", "a cup of coffee", "a fish", "a rocket",
    "a hamburger", "a chair", "an owl", "a flower", "a sailing boat",
)  # fmt: skip

_SIZE_STEP, _LARGEST = 64, 2048
_WHOLE = re.compile(r"\d{1,10}")
_NUMBER = re.compile(r"\d{1,4}(\.\d+)?")
_OPTION = re.compile(r"\s*--(\w+)(?:\s+(.*?))?(?=\s--\w|$)", re.S)


@dataclass(frozen=True)
class SamplePrompt:
    """A sample prompt with what it sets by itself; None is as the run's samples have it.

    Attributes:
        text: The prompt without options.
        width: Pixels; 0 is the run's resolution, as is the height's.
    """

    text: str
    width: int = 0
    height: int = 0
    seed: int | None = None
    inference_steps: int | None = None
    guidance: float | None = None
    negative_prompt: str | None = None


def parse_sample_prompt(line: str) -> SamplePrompt:
    """Returns what a line stands for.

    Raises:
        ValueError: an option is not known, or its value is out of bounds; or there is no prompt.
    """
    start = re.search(r"(^|\s)--\w", line)
    text = (line[: start.start()] if start else line).strip()
    if not text:
        msg = f"“{line.strip()}” has no prompt; write one before its options"
        raise ValueError(msg)
    options = _OPTION.findall(line[start.start() :]) if start else []
    values: dict[str, str] = {name: value.strip() for name, value in options}
    unknown = sorted(values.keys() - {"w", "h", "d", "s", "l", "n"})
    if unknown:
        msg = f"--{unknown[0]} is none of --w, --h, --d, --s, --l and --n"
        raise ValueError(msg)
    return SamplePrompt(
        text,
        _read_size("w", values),
        _read_size("h", values),
        _read_whole("d", values, 0, 2**31 - 1),
        _read_whole("s", values, 1, 200),
        _read_guidance(values),
        values.get("n"),
    )


def list_new_prompts(class_word: str, captions: Collection[str]) -> list[str]:
    """Returns prompts of what a run learns in situations that no caption describes.

    Args:
        class_word: What is learned; "" for a style, which is shown on new subjects.
        captions: Of the dataset; none of them is returned.
    """
    known = {caption.strip().lower() for caption in captions}
    own = [each.format(class_word) for each in _SITUATIONS] if class_word else _SUBJECTS
    return [each for each in own if each.lower() not in known]


def _read_whole(name: str, values: dict[str, str], low: int, high: int) -> int | None:
    if name not in values:
        return None
    if not _WHOLE.fullmatch(values[name]) or not low <= int(values[name]) <= high:
        msg = f"--{name} must be a whole number from {low} to {high}, and is “{values[name]}”"
        raise ValueError(msg)
    return int(values[name])


def _read_size(name: str, values: dict[str, str]) -> int:
    size = _read_whole(name, values, _SIZE_STEP, _LARGEST) or 0
    if size % _SIZE_STEP:
        msg = f"--{name} must be a multiple of {_SIZE_STEP}, and is {size}"
        raise ValueError(msg)
    return size


def _read_guidance(values: dict[str, str]) -> float | None:
    if "l" not in values:
        return None
    if not _NUMBER.fullmatch(values["l"]) or not 1 <= float(values["l"]) <= 30:
        msg = f"--l must be a number from 1 to 30, and is “{values['l']}”"
        raise ValueError(msg)
    return float(values["l"])
