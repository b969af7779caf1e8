"""What other programs and sites call the families: one row per family and prediction."""

from collections.abc import Mapping
from dataclasses import dataclass

from trainer.export.errors import ExportError


@dataclass(frozen=True)
class FamilyLabels:
    """The words for one family.

    Attributes:
        version: `ss_base_model_version` of kohya's trainer.
        architecture: `modelspec.architecture`; also what Forge goes by.
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


_STABILITY = "https://github.com/Stability-AI/generative-models"
_SD = ("stable-diffusion", "stable-diffusion-diffusers")
_XL = ("stable-diffusion-xl", "stable-diffusion-xl-diffusers")
_XL_LABELS = FamilyLabels(
    "sdxl_base_v1-0", "stable-diffusion-xl-v1-base/lora", _STABILITY, "SDXL", "SDXL 1.0", _XL
)
FAMILY_LABELS = {
    ("sd15", "epsilon"): FamilyLabels(
        "sd_v1", "stable-diffusion-v1/lora", "diffusers", "SD1", "SD 1.5", _SD
    ),
    ("sd15", "v_prediction"): FamilyLabels(
        "sd_v1_v", "stable-diffusion-v1/lora", "diffusers", "SD1", "SD 1.5", _SD
    ),
    ("sd2", "epsilon"): FamilyLabels(
        "sd_v2", "stable-diffusion-v2-512/lora", "diffusers", "SD2", "SD 2.1", _SD
    ),
    ("sd2", "v_prediction"): FamilyLabels(
        "sd_v2_v", "stable-diffusion-v2-768-v/lora", "diffusers", "SD2", "SD 2.1 768", _SD
    ),
    ("sdxl", "epsilon"): _XL_LABELS,
    # No program has a word of its own for this; `modelspec.prediction_type` tells the difference.
    ("sdxl", "v_prediction"): _XL_LABELS,
}


def recognise_family(metadata: Mapping[str, str]) -> tuple[str, str]:
    """Returns the family and the prediction that a file's header names.

    Raises:
        ExportError: the header names none of them.
    """
    for (family, prediction), labels in FAMILY_LABELS.items():
        if family == "sdxl" and metadata.get("modelspec.prediction_type") == "v":
            prediction = "v_prediction"
        if metadata.get("ss_base_model_version") == labels.version:
            return family, prediction
    for (family, prediction), labels in FAMILY_LABELS.items():
        if metadata.get("modelspec.architecture") == labels.architecture:
            is_v = metadata.get("modelspec.prediction_type") == "v"
            return family, "v_prediction" if is_v else prediction
    msg = (
        "The file's header does not say for which family of base models it was made, so it cannot "
        "be bundled. Bundle the run that made it, or export it again."
    )
    raise ExportError(msg)
