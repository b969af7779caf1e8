"""The families of base models: one row each, with every fact in which they differ.

Models, files, export, combining, memory and the app read the rows; a new family is a row here and,
where its models are built otherwise, a class in `trainer.models`.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Literal

from trainer.formats.unet_names import SD_NAMES, SDXL_NAMES, UNetNames

FamilyName = Literal["sd15", "sd2", "sdxl"]
# Class names, not classes: no torch here. The values are the parts that have learning rates.
_ADAPTABLE_BLOCKS: Mapping[str, Literal["unet", "conv", "text"]] = {
    "Transformer2DModel": "unet",
    "ResnetBlock2D": "conv",
    "Downsample2D": "conv",
    "Upsample2D": "conv",
    "CLIPAttention": "text",
    "CLIPMLP": "text",
}


@dataclass(frozen=True)
class FamilyLabels:
    """What other programs and sites call a family whose models predict one thing.

    Attributes:
        version: `ss_base_model_version` of kohya's trainer.
        architecture: `modelspec.architecture`.
        implementation: `modelspec.implementation`.
        sidecar: "sd version" of A1111's sidecar file.
        civitai: Base model in Civitai's form; a fine-tuned base may have an entry of its own.
        hub: Tags of the model card.
    """

    version: str
    architecture: str
    implementation: str
    sidecar: str
    civitai: str
    hub: tuple[str, ...]


@dataclass(frozen=True)
class UNetSpec:
    """The public UNet of a family.

    Attributes:
        names: The original names of its blocks.
        original_blocks: Whether kohya files spell its blocks in the original way, not in that of
            diffusers.
        channels: Of each level, the widest resolution first.
        depths: Transformer blocks at each place of a level; 0 where it has no attention. The
            middle is as deep as the deepest level.
        text_width: Of what cross attention reads.
        linear_projection: Whether proj_in and proj_out are linear layers, not convolutions.
    """

    names: UNetNames
    original_blocks: bool
    channels: tuple[int, ...]
    depths: tuple[int, ...]
    text_width: int
    linear_projection: bool


@dataclass(frozen=True)
class TextEncoderSpec:
    """A public text encoder of a family.

    Attributes:
        prefix: Of its layers in kohya files.
        file_prefix: Of its tensors in checkpoints of the original layout.
        naming: How those tensors are named: "clip" or "open_clip".
        width: Of what it gives.
        inner_width: Of its feed-forward layers.
        layers: How many are used.
    """

    prefix: str
    file_prefix: str
    naming: Literal["clip", "open_clip"]
    width: int
    inner_width: int
    layers: int


@dataclass(frozen=True)
class FamilySpec:
    """One family.

    Attributes:
        name: In settings and headers of our own.
        title: In messages.
        long_title: The full title.
        resolution: Side in pixels of the square image that its models are usually made for.
        unet: The UNet.
        text_encoders: One or two.
        prediction: What its models predict by default.
        prediction_hint: How to find out, where both kinds are common; "" where `prediction` is
            certain.
        labels: By what is predicted; see `get_labels`.
        version_prefix: Of all versions of `ss_base_model_version`, also those not written here.
        architecture_prefix: Likewise of `modelspec.architecture`.
        is_v2: `ss_v2` of kohya's trainer.
        known_to_forge: Whether Forge goes by `modelspec.architecture`.
        presets: What the names of the presets begin with that fit its models; those of SD 1.x also
            fit SD 2.x, whose sizes and learning rates are the same.
        named_blocks: "style" and "content" to the block of the UNet that carries it.
        adaptable_blocks: Part of the layers that adapters may sit on, by the class name of the
            block that holds them.
        noise: The noise process of models that predict the noise or v, a key of
            `trainer.diffusion.PROCESSES`.
        v_ends_in_noise: Whether its models that predict v were usually trained on a schedule that
            ends in pure noise.
        flow_shift: Time-step shift of models trained as rectified flow, where they state none.
    """

    name: FamilyName
    title: str
    long_title: str
    resolution: int
    unet: UNetSpec
    text_encoders: tuple[TextEncoderSpec, ...]
    labels: Mapping[str, FamilyLabels]
    version_prefix: str
    architecture_prefix: str
    prediction: str = "epsilon"
    prediction_hint: str = ""
    is_v2: bool = False
    known_to_forge: bool = True
    presets: str = "sd15"
    named_blocks: Mapping[str, str] = field(default_factory=dict)
    adaptable_blocks: Mapping[str, Literal["unet", "conv", "text"]] = field(
        default_factory=lambda: _ADAPTABLE_BLOCKS
    )
    noise: str = "diffusion"
    v_ends_in_noise: bool = True
    flow_shift: float = 1.0

    def get_labels(self, prediction: str) -> FamilyLabels:
        """Returns the labels by what is predicted; no program has labels for rectified flow."""
        return self.labels.get(prediction, self.labels["epsilon"])

    @property
    def has_deep_blocks(self) -> bool:
        """Whether there is more than one transformer block at a place, by which it is known."""
        return max(self.unet.depths) > 1

    @property
    def has_two_encoders(self) -> bool:
        """Whether captions are read by two text encoders."""
        return len(self.text_encoders) > 1


_CLIP_L = TextEncoderSpec("lora_te", "cond_stage_model.transformer.", "clip", 768, 3072, 12)
_SD_TAGS = ("stable-diffusion", "stable-diffusion-diffusers")
_V1 = "stable-diffusion-v1/lora"
SD15 = FamilySpec(
    name="sd15",
    title="SD 1.x",
    long_title="Stable Diffusion 1.x",
    resolution=512,
    unet=UNetSpec(
        SD_NAMES,
        original_blocks=False,
        channels=(320, 640, 1280, 1280),
        depths=(1, 1, 1, 0),
        text_width=768,
        linear_projection=False,
    ),
    text_encoders=(_CLIP_L,),
    labels={
        "epsilon": FamilyLabels("sd_v1", _V1, "diffusers", "SD1", "SD 1.5", _SD_TAGS),
        "v_prediction": FamilyLabels("sd_v1_v", _V1, "diffusers", "SD1", "SD 1.5", _SD_TAGS),
    },
    version_prefix="sd_v1",
    architecture_prefix="stable-diffusion-v1",
)
SD2 = FamilySpec(
    name="sd2",
    title="SD 2.x",
    long_title="Stable Diffusion 2.x",
    resolution=512,
    unet=UNetSpec(
        SD_NAMES,
        original_blocks=False,
        channels=(320, 640, 1280, 1280),
        depths=(1, 1, 1, 0),
        text_width=1024,
        linear_projection=True,
    ),
    text_encoders=(
        TextEncoderSpec("lora_te", "cond_stage_model.model.", "open_clip", 1024, 4096, 23),
    ),
    labels={
        "epsilon": FamilyLabels(
            "sd_v2", "stable-diffusion-v2-512/lora", "diffusers", "SD2", "SD 2.1", _SD_TAGS
        ),
        "v_prediction": FamilyLabels(
            "sd_v2_v", "stable-diffusion-v2-768-v/lora", "diffusers", "SD2", "SD 2.1 768", _SD_TAGS
        ),
    },
    version_prefix="sd_v2",
    architecture_prefix="stable-diffusion-v2",
    # The weights' names do not distinguish SD 2.1 (v) from its 512 pixel base (epsilon).
    prediction="v_prediction",
    prediction_hint="Models from SD 2.1 at 768 pixels predict v, those from its 512 pixel base the "
    "noise. ",
    v_ends_in_noise=False,
    is_v2=True,
    known_to_forge=False,
)
_XL_LABELS = FamilyLabels(
    "sdxl_base_v1-0",
    "stable-diffusion-xl-v1-base/lora",
    "https://github.com/Stability-AI/generative-models",
    "SDXL",
    "SDXL 1.0",
    ("stable-diffusion-xl", "stable-diffusion-xl-diffusers"),
)
SDXL = FamilySpec(
    name="sdxl",
    title="SDXL",
    long_title="SDXL",
    resolution=1024,
    unet=UNetSpec(
        SDXL_NAMES,
        original_blocks=True,
        channels=(320, 640, 1280),
        depths=(0, 2, 10),
        text_width=2048,
        linear_projection=True,
    ),
    text_encoders=(
        TextEncoderSpec("lora_te1", "conditioner.embedders.0.transformer.", "clip", 768, 3072, 12),
        TextEncoderSpec("lora_te2", "conditioner.embedders.1.model.", "open_clip", 1280, 5120, 32),
    ),
    # No program has a label of its own for v; `modelspec.prediction_type` has it.
    labels={"epsilon": _XL_LABELS, "v_prediction": _XL_LABELS},
    version_prefix="sdxl_",
    architecture_prefix="stable-diffusion-xl-v1",
    presets="sdxl",
    flow_shift=3.0,  # found best for 1024 pixels (arXiv:2403.03206, section 5.3.2)
    # Found by training one block at a time (B-LoRA, Frenkel et al. 2024, arXiv:2403.14572).
    named_blocks={
        "style": "unet.up_blocks.0.attentions.1",
        "content": "unet.up_blocks.0.attentions.0",
    },
)
FAMILIES: dict[str, FamilySpec] = {each.name: each for each in (SD15, SD2, SDXL)}


def name_encoder(index: int) -> str:
    """Returns what a model's text encoders are called: "text_encoder", "text_encoder_2" …"""
    return f"text_encoder_{index + 1}" if index else "text_encoder"


def list_titles(names: Iterable[str] = (), word: str = "or") -> str:
    """Returns the titles of families, for a sentence: "A, B or C".

    Args:
        names: Of the families; all without.
        word: Before the last one.
    """
    *first, last = (FAMILIES[name].title for name in names or FAMILIES)
    return f"{', '.join(first)} {word} {last}" if first else last


def match_parts(text_width: int | None, text_encoders: int) -> FamilySpec:
    """Returns the family of a model that is known by its parts alone.

    Args:
        text_width: Of what its UNet's cross attention reads. A width of no public model, or none,
            means the first family with as many text encoders.
        text_encoders: How many it has.
    """
    fitting = [each for each in FAMILIES.values() if len(each.text_encoders) == text_encoders]
    return next((each for each in fitting if each.unet.text_width == text_width), fitting[0])


def read_version(version: str) -> tuple[str, str]:
    """Returns the family and the prediction for a value of `ss_base_model_version`.

    Both are "" where it is unknown; the prediction is where several share the version.
    """
    for spec in FAMILIES.values():
        predictions = [name for name, each in spec.labels.items() if each.version == version]
        if predictions:
            return spec.name, predictions[0] if len(predictions) == 1 else ""
    return "", ""
