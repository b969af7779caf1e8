"""Images made during the run, to see what has been learned."""

from pydantic import Field, field_validator

from trainer.config.sample_prompts import parse_sample_prompt
from trainer.config.section import Section

MAX_PROMPTS = 64


class SamplesConfig(Section):
    """Samples use the same seeds every time, so that only the learning changes them."""

    every_steps: int = Field(
        default=100, ge=0, le=1_000_000, description="Steps between samples; 0 makes none at all."
    )
    prompts: list[str] = Field(
        default=[],
        max_length=MAX_PROMPTS,
        description="The prompts; the trigger is put first where it is missing. Each may end in "
        "settings of its own: --w and --h pixels, --d seed, --s denoising steps, --l guidance, --n "
        "negative prompt. Empty shows the class word in new situations, and one caption.",
    )
    negative_prompt: str = Field(default="", description="What the samples should avoid.")
    seed: int = Field(
        default=1,
        ge=0,
        le=2**31 - 1,
        description="Seed of the first prompt; the next takes the next.",
    )
    inference_steps: int = Field(
        default=20, ge=1, le=200, description="Denoising steps per sample."
    )
    guidance: float = Field(
        default=7.0, ge=1.0, le=30.0, description="How strongly the prompt is followed; 1 is off."
    )
    weight: float = Field(default=1.0, ge=-4, le=4, description="Weight of the adapter in samples.")

    @field_validator("prompts")
    @classmethod
    def _check_prompts(cls, lines: list[str]) -> list[str]:
        for line in lines:
            parse_sample_prompt(line)
        return lines
