"""Every number of the recipe: `full` for a GPU, `cpu` for patience, `smoke` for tests."""

import dataclasses
import difflib
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any, get_args

from recipe.errors import RecipeError
from trainer.config import ObjectiveConfig

_WEIGHTINGS = get_args(ObjectiveConfig.model_fields["weighting"].annotation)


def _check_weighting(name: str) -> None:
    if name not in _WEIGHTINGS:
        msg = f"There is no weighting {name!r}; known: {', '.join(_WEIGHTINGS)}. Correct weighting."
        raise RecipeError(msg)


@dataclass(frozen=True)
class DataSettings:
    """The images and their captions.

    Attributes:
        styles: Sets that are trained on; keys of `packages.SETS`.
        measured_styles: Sets that are only ever measured on.
        held_out_share: Share of the concepts that no training image shows.
        names: Number of names in the UNet's captions, 0 for all; the VAE sees all drawings.
        pairs: Images of two objects.
        captions_per_example: Wordings of each image.
    """

    styles: tuple[str, ...] = ("noto", "noto-v1", "twemoji", "fluent-emoji-flat", "emojione")
    measured_styles: tuple[str, ...] = ("openmoji", "fxemoji")
    held_out_share: float = 0.05
    names: int = 0
    pairs: int = 48_000
    captions_per_example: int = 4
    merges: int = 6000


@dataclass(frozen=True)
class VaeSettings:
    """The autoencoder and its training.

    Attributes:
        channels: Per resolution, from 128 pixels to 16.
        groups: Of the group normalisation.
        mse_weight: Beside an L1 loss of weight 1.
        gradient_weight: Of the L1 loss on differences of neighbouring pixels: edges.
        kl_weight: On the mean of the divergence per latent value.
        inked_share: Share of images whose edges are drawn over in ink, so that lines survive.
        crop: Edge in pixels of the pieces that three steps in four learn from, the fourth taking
            fewer whole images instead; 0 for whole images only.
        learning_rate: Of AdamW, which trains the outer layers, biases and norms.
        matrix_learning_rate: Of Muon, which trains all else.
    """

    channels: tuple[int, ...] = (32, 64, 96, 128)
    groups: int = 8
    steps: int = 6000
    batch_size: int = 96
    crop: int = 0
    learning_rate: float = 2e-3
    matrix_learning_rate: float = 0.02
    warmup_steps: int = 200
    mse_weight: float = 2.0
    gradient_weight: float = 1.0
    kl_weight: float = 1e-4
    inked_share: float = 0.25
    average_decay: float = 0.995
    checkpoint_every: int = 1000


@dataclass(frozen=True)
class UnetSettings:
    """UNet and text encoder, which are trained together by the diffusion loss.

    Attributes:
        channels: Per resolution, from 16 x 16 latents to 4 x 4.
        heads: Attention heads of every attention layer.
        groups: Of the group normalisation.
        text_width: Of the text encoder, and of the cross-attention.
        average_every: Updates between two of the running average.
        weighting: Of the loss over noise, as in the trainer's `objective.weighting`.
        min_snr_gamma: For the weighting "min_snr".
        empty_captions: Share of images shown without a word, for guidance.
        shares: How much of a batch is of each kind, in the order of `examples.KINDS`.
    """

    channels: tuple[int, ...] = (96, 128, 192)
    heads: int = 8
    groups: int = 16
    text_width: int = 256
    text_layers: int = 4
    text_heads: int = 4
    steps: int = 12_000
    batch_size: int = 512
    learning_rate: float = 1e-3
    matrix_learning_rate: float = 0.02
    warmup_steps: int = 500
    weighting: str = "min_snr"
    min_snr_gamma: float = 5.0
    average_decay: float = 0.995
    average_every: int = 4
    empty_captions: float = 0.1
    shares: tuple[float, ...] = (0.45, 0.25, 0.12, 0.18)
    checkpoint_every: int = 2500

    def __post_init__(self) -> None:
        """Raises RecipeError if the weighting is unknown."""
        _check_weighting(self.weighting)


@dataclass(frozen=True)
class RefineSettings:
    """A second round of the same training, which goes on from the first one's weights.

    Which set's drawing an image becomes is decided in the heaviest noise, where the error of the
    noise is all but nothing whatever the network believes: after the first round it knew the style
    in half of the prompts there (lab log, 2026-11-23). This round makes heavy noise count. Its
    fields are those of `UnetSettings` that it changes.
    """

    steps: int = 4000
    learning_rate: float = 4e-4
    matrix_learning_rate: float = 0.007
    warmup_steps: int = 100
    weighting: str = "debiased"

    def __post_init__(self) -> None:
        """Raises RecipeError if the weighting is unknown."""
        _check_weighting(self.weighting)


@dataclass(frozen=True)
class CaptionerSettings:
    """The captioner, which names what is in an image.

    Attributes:
        widths: Channels per resolution, from 32 x 32 to 4 x 4.
        threshold: How probable a name must be to be used; at 0.4 five in six of the captions
            of OpenMoji's drawings, never seen, is right (lab log, 2026-11-29).
    """

    widths: tuple[int, ...] = (48, 96, 160, 256)
    steps: int = 4500
    batch_size: int = 128
    learning_rate: float = 2e-3
    matrix_learning_rate: float = 0.02
    warmup_steps: int = 100
    average_decay: float = 0.99
    average_every: int = 4
    checkpoint_every: int = 500
    threshold: float = 0.4


@dataclass(frozen=True)
class EvaluationSettings:
    """How the finished model is measured.

    Attributes:
        prompts: Trained (name, style) pairs that are prompted for.
        psnr_images: At most so many images per group.
        classifier_rate: Learning rate of the style classifier's matrices, by Muon.
        classifier_steps: Updates of the style classifier.
    """

    prompts: int = 200
    inference_steps: int = 25
    guidance: float = 4.0
    batch_size: int = 100
    psnr_images: int = 500
    classifier_steps: int = 3000
    classifier_batch_size: int = 60
    classifier_rate: float = 0.02


@dataclass(frozen=True)
class Settings:
    """The whole recipe."""

    seed: int = 0
    data: DataSettings = field(default_factory=DataSettings)
    vae: VaeSettings = field(default_factory=VaeSettings)
    unet: UnetSettings = field(default_factory=UnetSettings)
    refine: RefineSettings = field(default_factory=RefineSettings)
    captioner: CaptionerSettings = field(default_factory=CaptionerSettings)
    evaluation: EvaluationSettings = field(default_factory=EvaluationSettings)


# Fewer names and smaller networks: hours on two processor cores, where `full` is days.
CPU = Settings(
    data=DataSettings(names=200, pairs=4000),
    vae=VaeSettings(
        (16, 48, 96, 160),
        steps=6000,
        batch_size=32,
        crop=64,
        matrix_learning_rate=0.04,
        kl_weight=3e-4,
        average_decay=0.999,
        checkpoint_every=100,
    ),
    unet=UnetSettings(
        (64, 128, 192),
        groups=32,
        text_width=192,
        steps=5000,
        batch_size=64,
        matrix_learning_rate=0.015,
        warmup_steps=100,
        checkpoint_every=100,
    ),
    refine=RefineSettings(steps=2200, matrix_learning_rate=0.005),
    evaluation=EvaluationSettings(psnr_images=100),
)

SMOKE = Settings(
    data=DataSettings(
        ("noto", "twemoji"), ("openmoji",), held_out_share=0.2, names=20, pairs=24, merges=600
    ),
    vae=VaeSettings(
        (4, 8, 8, 8), groups=4, steps=3, batch_size=4, crop=64, warmup_steps=1, checkpoint_every=2
    ),
    unet=UnetSettings(
        (16, 16, 32),
        heads=2,
        groups=8,
        text_width=32,
        text_layers=1,
        text_heads=2,
        steps=4,
        batch_size=8,
        warmup_steps=1,
        average_every=2,
        checkpoint_every=2,
    ),
    refine=RefineSettings(steps=2, warmup_steps=1),
    captioner=CaptionerSettings(
        (8, 8), steps=3, batch_size=8, warmup_steps=1, average_every=2, checkpoint_every=2
    ),
    evaluation=EvaluationSettings(
        prompts=6,
        inference_steps=2,
        batch_size=8,
        psnr_images=6,
        classifier_steps=2,
        classifier_batch_size=8,
    ),
)

PRESETS: dict[str, Settings] = {"full": Settings(), "cpu": CPU, "smoke": SMOKE}


def assign(settings: Settings, assignments: Sequence[str]) -> Settings:
    """Returns the settings with `section.name=value` texts applied.

    Raises:
        RecipeError: a name is unknown or a value is of the wrong type.
    """
    for text in assignments:
        name, separator, value = text.partition("=")
        section, _, knob = name.strip().rpartition(".")
        holder: Any = getattr(settings, section, None) if section else settings
        known = {f.name for f in dataclasses.fields(holder)} if holder is not None else set()
        if not separator or knob not in known or dataclasses.is_dataclass(getattr(holder, knob)):
            raise RecipeError(_explain_unknown(settings, text, name.strip()))
        changed = replace(holder, **{knob: _convert(getattr(holder, knob), value.strip(), text)})
        settings = replace(settings, **{section: changed}) if section else changed
    return settings


def list_names(settings: Settings) -> list[str]:
    """Returns every name that can be assigned."""
    names = []
    for each in dataclasses.fields(settings):
        value = getattr(settings, each.name)
        inner = dataclasses.fields(value) if dataclasses.is_dataclass(value) else ()
        names += [f"{each.name}.{f.name}" for f in inner] or [each.name]
    return names


def _explain_unknown(settings: Settings, text: str, name: str) -> str:
    near = difflib.get_close_matches(name, list_names(settings), n=1)
    hint = f"did you mean {near[0]}?" if near else "write it as section.name=value."
    return f"--set {text}: there is no setting {name!r}; {hint}"


def _convert(old: Any, value: str, text: str) -> Any:
    try:
        if isinstance(old, tuple):
            kind = type(old[0]) if old else str
            return tuple(kind(part) for part in value.split(",") if part)
        return type(old)(value)
    except ValueError as error:
        form = "numbers with commas between" if isinstance(old, tuple) else type(old).__name__
        msg = f"--set {text}: {value!r} does not fit; it takes {form}, as in {old!r}."
        raise RecipeError(msg) from error
