"""The sizes of a dataset that determine memory: the largest bucket and the longest caption."""

from collections.abc import Sequence
from dataclasses import dataclass

from datasets_tools.buckets import make_buckets, place_image
from datasets_tools.captions import add_trigger
from datasets_tools.examples import Example
from trainer.config import DatasetConfig
from trainer.data import choose_sizes
from trainer.models import BaseModelInfo

_USUAL_EXAMPLES = 20


@dataclass(frozen=True)
class Workload:
    """Sizes of a dataset.

    Attributes:
        width: Of the largest bucket that is used, in pixels.
        height: Of the same.
        caption: The longest one, with the trigger.
        examples: How many there are.
    """

    width: int
    height: int
    caption: str
    examples: int


def read_workload(
    config: DatasetConfig, info: BaseModelInfo, examples: Sequence[Example]
) -> Workload:
    """Returns the sizes of a dataset; without examples those of a typical one.

    Raises:
        DatasetError: the config's bucket step or resolution does not suit the base model.
    """
    step, resolution = choose_sizes(config, info)
    buckets = make_buckets(resolution, step, config.max_aspect)
    used = [
        place_image(each.width, each.height, buckets, step, config.max_upscale).bucket
        for each in examples
    ]
    largest = max(used or buckets, key=lambda each: each.width * each.height)
    captions = [add_trigger(each.caption, config.trigger) for each in examples]
    longest = max(captions, key=len, default=config.trigger)
    return Workload(largest.width, largest.height, longest, len(examples) or _USUAL_EXAMPLES)
