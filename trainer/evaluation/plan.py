"""What an evaluation generates: prompts, weights, and the key under which results are stored."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass

from datasets_tools.captions import add_trigger, replace_trigger
from datasets_tools.examples import Example
from trainer.config import RunConfig, list_new_prompts, parse_sample_prompt
from trainer.models.family import GenerationRequest
from trainer.runs.evaluations import INFERENCE_STEPS, PROMPTS, WEIGHTS


@dataclass(frozen=True)
class EvaluationSettings:
    """What may be chosen about an evaluation.

    Attributes:
        prompts: Texts; () takes the run's sample prompts, else new situations of its class.
        count: How many prompts at most.
        weights: Of the adapters, each above 0.
        inference_steps: Denoising steps per image.
        checkpoints: Their steps; () takes all.
        features: Folder of an image model for copies; "" takes coarse latents.
    """

    prompts: tuple[str, ...] = ()
    count: int = PROMPTS
    weights: tuple[float, ...] = WEIGHTS
    inference_steps: int = INFERENCE_STEPS
    checkpoints: tuple[int, ...] = ()
    features: str = ""


@dataclass(frozen=True)
class Prompt:
    """A prompt with its noise.

    Attributes:
        text: With the trigger.
        base_text: For the base model, which does not know the trigger: with the class instead.
        seed: Of the noise, the same for both.
    """

    text: str
    base_text: str
    seed: int


def choose_prompts(
    config: RunConfig, examples: Sequence[Example], settings: EvaluationSettings
) -> list[Prompt]:
    """Returns the prompts of an evaluation; none that is a training caption if there are others."""
    dataset = config.dataset
    own = [parse_sample_prompt(line).text for line in config.samples.prompts]
    captions = [example.caption for example in examples]
    texts = list(settings.prompts) or own or list_new_prompts(dataset.class_word, captions)
    prompts = []
    for index, text in enumerate(texts[: settings.count]):
        whole = add_trigger(text, dataset.trigger)
        base = replace_trigger(whole, dataset.trigger, dataset.class_word)
        prompts.append(Prompt(whole, base, config.samples.seed + index))
    return prompts


def make_request(
    prompt: Prompt, config: RunConfig, settings: EvaluationSettings, size: int, *, base: bool
) -> GenerationRequest:
    """Returns what generates a prompt's image.

    Args:
        prompt: The prompt.
        config: Of the run.
        settings: Of the evaluation.
        size: Side of the image in pixels.
        base: Whether it is the base model's own image.
    """
    return GenerationRequest(
        prompt=prompt.base_text if base else prompt.text,
        negative_prompt=config.samples.negative_prompt,
        seed=prompt.seed,
        inference_steps=settings.inference_steps,
        guidance=config.samples.guidance,
        width=size,
        height=size,
    )


def make_key(
    config: RunConfig,
    prompts: Sequence[Prompt],
    settings: EvaluationSettings,
    examples: Sequence[Example],
) -> str:
    """Returns a name for all that images and losses depend on beside the checkpoint."""
    facts = {
        "prompts": [asdict(each) for each in prompts],
        "steps": settings.inference_steps,
        "guidance": config.samples.guidance,
        "negative": config.samples.negative_prompt,
        "base": config.base_model.model_dump(mode="json"),
        "resolution": config.dataset.resolution,
        "examples": [(each.id, each.caption) for each in examples],
        "held_out": config.dataset.held_out,
    }
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:12]
