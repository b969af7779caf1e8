"""Images made during the run, to see what has been learned."""

from pydantic import Field

from trainer.config.section import Section


class SamplesConfig(Section):
    """Samples use the same seeds every time, so that only the learning changes them."""

    every_steps: int = Field(
        default=100, ge=0, le=1_000_000, description="Steps between samples; 0 makes none at all."
    )
    prompts: list[str] = Field(
        default=[],
        max_length=64,
        description="The prompts; the trigger is put first where it is missing. Empty uses the "
        "captions of the first images.",
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
