"""The samples that a run generates at every point: prompts, seeds and sizes."""

from collections.abc import Sequence
from typing import TypeVar

from datasets_tools.captions import add_trigger
from trainer.config import RunConfig, SamplePrompt, list_new_prompts, parse_sample_prompt
from trainer.data import EncodedExample
from trainer.models.family import GenerationRequest

_NEW_PROMPTS = 3
_Value = TypeVar("_Value")


def list_sample_requests(
    config: RunConfig,
    examples: Sequence[EncodedExample],
    resolution: int,
    own: Sequence[str] = (),
) -> list[GenerationRequest]:
    """Returns a run's samples, each prompt with the trigger.

    Without prompts they show what is learned in new situations, and one caption beside them, which
    shows how much of the images is learned by heart.

    Args:
        config: The run's settings.
        examples: What is learned from.
        resolution: Side of the images in pixels.
        own: Prompts that are wanted instead of the run's.
    """
    samples, trigger = config.samples, config.dataset.trigger
    prompts = [parse_sample_prompt(line) for line in own or samples.prompts]
    if not prompts:
        captions = [example.caption.strip() for example in examples]
        new = list_new_prompts(config.dataset.class_word, captions)[:_NEW_PROMPTS]
        first = next((caption for caption in captions if caption), "")
        prompts = [SamplePrompt(text) for text in [*new, *([first] if first else [])]]
    return [
        GenerationRequest(
            prompt=add_trigger(prompt.text, trigger),
            negative_prompt=_choose(prompt.negative_prompt, samples.negative_prompt),
            seed=_choose(prompt.seed, samples.seed + index),
            inference_steps=_choose(prompt.inference_steps, samples.inference_steps),
            guidance=_choose(prompt.guidance, samples.guidance),
            width=prompt.width or resolution,
            height=prompt.height or resolution,
        )
        for index, prompt in enumerate(prompts)
    ]


def find_largest(requests: Sequence[GenerationRequest]) -> GenerationRequest:
    """Returns the request with most pixels, which takes most memory."""
    return max(requests, key=lambda request: request.width * request.height)


def _choose(own: _Value | None, usual: _Value) -> _Value:
    return usual if own is None else own
