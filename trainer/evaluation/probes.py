"""The images that an evaluation measures losses on."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from trainer.evaluation.images import choose_side, encode
from trainer.evaluation.losses import Probe
from trainer.evaluation.plan import Prompt
from trainer.evaluation.subject import Subject
from trainer.models import Geometry


@dataclass(frozen=True)
class Probes:
    """Images by what their losses show.

    Attributes:
        training: Trained on: what was learned.
        held_out: Not trained on, may be empty: what of that is not memorised.
        base: The base model's own, with the class word or nothing as caption: what is forgotten.
    """

    training: list[Probe]
    held_out: list[Probe]
    base: list[Probe]


def make_probes(
    subject: Subject, cache: Path, base: Sequence[Image.Image], prompts: Sequence[Prompt]
) -> Probes:
    """Returns the probes of a run.

    Args:
        subject: The run in memory.
        cache: Folder of encoded images.
        base: The base model's images of the prompts.
        prompts: Their prompts; the seeds name the noise.
    """
    side = choose_side(subject.family)
    geometry = Geometry((side, side), (0, 0), (side, side))
    device, caption = subject.context.device, subject.config.dataset.class_word
    own = [
        Probe(f"base-{prompt.seed}", latents.to(device), caption, geometry)
        for latents, prompt in zip(encode(subject.family, base), prompts, strict=True)
    ]
    return Probes(
        subject.make_probes(subject.training, cache),
        subject.make_probes(subject.held_out, cache),
        own,
    )
