"""What a single file is, read from its names, shapes and metadata."""

import re
from dataclasses import dataclass

from trainer.formats.families import FAMILIES, FamilySpec, list_titles
from trainer.formats.header import TensorFile
from trainer.formats.predictions import PREDICTIONS, read_prediction_type, suggest_prediction
from trainer.models.errors import ModelError
from trainer.models.shipped import read_config

UNET_PREFIX = "model.diffusion_model."
_COMFY_TEXT = "text_encoders."

_ADAPTER = "an adapter file (LoRA or its kin). Choose the base model that it was made for"
_NOT_TRAINED = f"which is not trained here. Choose an {list_titles()} model"
_QUANTISED = (
    "quantised ({}), whose scales are not read. Choose the same model in fp16 or bf16; "
    "base_model.quantize = fp8 or nf4 makes it small while it is trained"
)
# Marks in tensor names of files that are something else; the first row that is met decides.
_STRANGERS = (
    (r"lora_(down|up|A|B|mid)\b|lora\.(down|up)\.|\bhada_w|\blokr_w|\bdora_scale\b", _ADAPTER),
    (r"\bjoint_blocks\.", f"a Stable Diffusion 3 model, {_NOT_TRAINED}"),
    (r"\bdouble_blocks\.|\bsingle_blocks\.", f"a Flux model or its kin, {_NOT_TRAINED}"),
    (r"\bconditioner\.embedders\.0\.model\.", f"an SDXL refiner, {_NOT_TRAINED}"),
    (r"\bedm_(mean|std|vpred)\b", f"a model with the EDM noise schedule, {_NOT_TRAINED}"),
    (r"\bclip_(txt_)?mapper\.", f"a Stable Cascade model, {_NOT_TRAINED}"),
    (r"\bcontrol_model\.|^controlnet_", "a ControlNet. Choose a base model"),
    (r"\bmotion_modules\.", "an AnimateDiff motion module. Choose a base model"),
    (r"(^|\.)(scaled_fp8|scale_weight|weight_scale|comfy_quant)$", _QUANTISED.format("scaled fp8")),
    (r"\.(absmax|quant_map|quant_state\..*)$", _QUANTISED.format("4 bits (bitsandbytes)")),
    (r"\.(qweight|qzeros|scb|SCB)$", _QUANTISED.format("8 or 4 bits")),
    (r"\b(emb_params|string_to_param)\b|^clip_[lg]$", "a text embedding. Choose a base model"),
)
# Marks of parts of a model, looked for where there is no UNet in the original layout.
_PARTS = (
    (
        r"^(first_stage_model\.|vae\.)?(encoder|decoder)\.conv_in\.",
        "a VAE alone. Give it as base_model.vae, and a whole model as base_model.path",
    ),
    (
        r"^down_blocks\.\d+\.|^(text_model\.)?encoder\.layers\.",
        "one part of a model in the diffusers layout. Give the folder that holds model_index.json",
    ),
    (
        r"^(diffusion_model\.)?(input_blocks|middle_block|output_blocks)\.",
        (
            "a UNet without text encoder and VAE. Choose the whole checkpoint: ComfyUI's node Save "
            "Checkpoint writes one from a UNet, text encoders and a VAE"
        ),
    ),
)


@dataclass(frozen=True)
class Detection:
    """What a file is.

    Attributes:
        family: A key of `FAMILIES`.
        prediction: What it predicts, or most likely does.
        zero_snr: Its schedule ends in pure noise.
        certain: The file records what it predicts, and nothing speaks against it.
        question: What to ask where something speaks for each of two kinds; "" where nothing speaks
            against the usual one.
        recorded: What the file records that it predicts; "" for nothing.
    """

    family: str
    prediction: str
    zero_snr: bool
    certain: bool
    question: str
    recorded: str


def detect_file(file: TensorFile) -> Detection:
    """Returns what a checkpoint in the original layout is.

    Raises:
        ModelError: it is something else, or special, or lacks its text encoder.
    """
    _refuse_unknown_keys(file)
    _check_channels(file)
    _refuse_foreign_text(file)
    family = _find_family(file)
    _refuse_pruned(file, family)
    recorded = _read_prediction(file)
    hint = suggest_prediction(file.path.stem) or suggest_prediction(
        file.metadata.get("modelspec.title", "")
    )
    prediction = recorded or hint or family.prediction
    certain = bool(recorded) and hint in {"", recorded}
    zero_snr = "ztsnr" in file.tensors or file.metadata.get("ss_zero_terminal_snr") == "True"
    asks = not certain and bool(hint or family.prediction_hint)
    question = _ask(file, family, prediction, recorded) if asks else ""
    return Detection(family.name, prediction, zero_snr, certain, question, recorded)


def _refuse_unknown_keys(file: TensorFile) -> None:
    whole = any(name.startswith(UNET_PREFIX) for name in file.tensors)
    if not whole:
        _refuse_unknown_prefix(file)
    for pattern, kind in _STRANGERS if whole else (*_STRANGERS, *_PARTS):
        mark = re.compile(pattern)
        if any(mark.search(name) for name in file.tensors):
            msg = f"{file.path.name} is {kind}."
            raise ModelError(msg)
    if not whole:
        msg = (
            f"{file.path.name} is not a Stable Diffusion checkpoint: none of its tensors is named "
            f"{UNET_PREFIX}… Choose an {list_titles()} model."
        )
        raise ModelError(msg)


def _refuse_unknown_prefix(file: TensorFile) -> None:
    """Refuses a checkpoint whose names have something in front: it is whole, but not readable."""
    inside = re.compile(r"(.+\.)?(model\.)?diffusion_model\.input_blocks\.0\.0\.weight")
    for name in file.tensors:
        match = inside.fullmatch(name)
        if match and match[1]:
            msg = (
                f"{file.path.name} names its UNet {name.partition('diffusion_model.')[0]}"
                f"diffusion_model.…, and programs read {UNET_PREFIX}… Load it in the program "
                "that wrote it and save it as a checkpoint, or choose another copy."
            )
            raise ModelError(msg)


def _refuse_foreign_text(file: TensorFile) -> None:
    """Refuses text encoders under the names that ComfyUI gives them in memory."""
    usual = [spec.text_encoders[0].file_prefix for spec in FAMILIES.values()]
    foreign = [name for name in file.tensors if name.startswith(_COMFY_TEXT)]
    if foreign and not any(name.startswith(tuple(usual)) for name in file.tensors):
        msg = (
            f"{file.path.name} names its text encoder {_COMFY_TEXT}…, as ComfyUI does in memory, "
            f"and programs read {' or '.join(dict.fromkeys(usual))}… Load it in ComfyUI and save "
            "it with the node Save Checkpoint, or choose another copy."
        )
        raise ModelError(msg)


def _check_channels(file: TensorFile) -> None:
    entry = file.tensors.get(f"{UNET_PREFIX}input_blocks.0.0.weight")
    if entry is not None and len(entry.shape) == 4 and entry.shape[1] != 4:
        msg = (
            f"The UNet of {file.path.name} takes {entry.shape[1]} channels (an inpainting or other "
            "special model). Train on the ordinary model of the same family instead."
        )
        raise ModelError(msg)


def _find_family(file: TensorFile) -> FamilySpec:
    """Returns the family that the UNet's and the text encoder's tensors agree upon."""
    width = _find_text_width(file)
    widths = {
        read_config(each.name)["unet"]["cross_attention_dim"]: each for each in FAMILIES.values()
    }
    if width not in widths:
        known = ", ".join(f"{spec.title} {each}" for each, spec in widths.items())
        msg = (
            f"{file.path.name} belongs to no supported family: its UNet reads texts of "
            f"width {width} ({known}). Choose another base model."
        )
        raise ModelError(msg)
    family = widths[width]
    candidates = [
        spec
        for spec in FAMILIES.values()
        if any(key.startswith(spec.text_encoders[-1].file_prefix) for key in file.tensors)
    ]
    if not candidates:
        first = family.text_encoders[0].file_prefix
        has_first = any(key.startswith(first) for key in file.tensors)
        lack = "lacks its second text encoder" if has_first else "no text encoder"
        msg = (
            f"{file.path.name} holds a UNet of {family.title} and {lack}. Choose the whole "
            "checkpoint: ComfyUI's node Save Checkpoint writes one from its parts."
        )
        raise ModelError(msg)
    if family not in candidates:
        msg = (
            f"{file.path.name} mixes families: its UNet is of {family.title}, its text "
            f"encoder of {candidates[0].title}. Choose another base model."
        )
        raise ModelError(msg)
    return family


def _refuse_pruned(file: TensorFile, family: FamilySpec) -> None:
    """Refuses an SDXL without its middle, such as SSD-1B and Segmind-Vega, by what it is."""
    middle = f"{UNET_PREFIX}middle_block."
    numbers = {key[len(middle) :][0] for key in file.tensors if key.startswith(middle)}
    if family.has_deep_blocks and numbers and "1" not in numbers:  # no attention in the middle
        msg = (
            f"{file.path.name} is a pruned {family.title} (SSD-1B, Segmind-Vega or their kin), "
            f"which is not trained here. Train on an {family.title} model."
        )
        raise ModelError(msg)


def _find_text_width(file: TensorFile) -> int:
    """Returns how wide the texts are that the UNet reads, 0 where it reads none."""
    for name, entry in file.tensors.items():
        if name.startswith(UNET_PREFIX) and name.endswith("attn2.to_k.weight"):
            return entry.shape[-1] if entry.shape else 0
    return 0


def _read_prediction(file: TensorFile) -> str:
    """Returns the prediction type of marker tensors or metadata, or ""."""
    recorded = read_prediction_type(file.metadata.get("modelspec.prediction_type", ""))
    architecture = file.metadata.get("modelspec.architecture", "").lower()
    v_parameterization = file.metadata.get("ss_v_parameterization", "").lower()
    if "v_pred" in file.tensors or v_parameterization == "true":
        return "v_prediction"
    if recorded:
        return recorded
    if "v2-768-v" in architecture:
        return "v_prediction"
    return "epsilon" if "v2-512" in architecture else ""


def _ask(file: TensorFile, family: FamilySpec, prediction: str, recorded: str) -> str:
    likely = f"{PREDICTIONS[prediction].title} (likely)"
    others = [each.title for each in PREDICTIONS.values() if each.name != prediction]
    states = (
        f"records that it predicts {PREDICTIONS[recorded].title}, and its name suggests otherwise"
        if recorded
        else "does not record what it predicts"
    )
    return (
        f"{file.path.name} {states}: {likely}, {' or '.join(others)}? {family.prediction_hint}"
        f"Set base_model.prediction to {', '.join(PREDICTIONS)}, or to auto, and it is measured "
        "before the first step."
    )
