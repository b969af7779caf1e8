"""The samples that a run generates at every point: prompts, seeds and sizes."""

from collections.abc import Sequence

from datasets_tools.captions import add_trigger
from trainer.config import RunConfig
from trainer.data import EncodedExample
from trainer.models.family import GenerationRequest

_PROMPTS_FROM_CAPTIONS = 4


def list_sample_requests(
    config: RunConfig, examples: Sequence[EncodedExample], resolution: int
) -> list[GenerationRequest]:
    """Returns a run's samples: the prompts with the trigger, or the first captions without any.

    Args:
        config: The run's settings.
        examples: What is learned from.
        resolution: Side of the images in pixels.
    """
    samples = config.samples
    prompts = [add_trigger(prompt, config.dataset.trigger) for prompt in samples.prompts]
    captions = list(dict.fromkeys(example.caption for example in examples))
    return [
        GenerationRequest(
            prompt=prompt,
            negative_prompt=samples.negative_prompt,
            seed=samples.seed + index,
            inference_steps=samples.inference_steps,
            guidance=samples.guidance,
            width=resolution,
            height=resolution,
        )
        for index, prompt in enumerate(prompts or captions[:_PROMPTS_FROM_CAPTIONS])
    ]
