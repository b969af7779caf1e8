"""Looking at a base model before anything of it is loaded: its small files and headers only."""

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from datasets_tools.files import explain_os_error
from trainer.formats.families import FAMILIES, match_parts, name_encoder
from trainer.formats.header import FormatError, TensorFile, read_header
from trainer.formats.predictions import PREDICTIONS, read_prediction_type
from trainer.models.detect import UNET_PREFIX, detect_file
from trainer.models.errors import ModelError
from trainer.models.folder import find_weights, read_folder, read_json
from trainer.models.parts import Part
from trainer.models.shipped import read_config

_PICKLES = {".ckpt", ".pt", ".pth", ".bin", ".pkl"}
_VAE_PREFIXES = ("first_stage_model.", "vae.", "")


@dataclass(frozen=True)
class BaseModelInfo:
    """What a base model is.

    Attributes:
        path: Its folder or file.
        layout: "folder" in the diffusers layout, or a "file" in the original one.
        family: A key of `FAMILIES`.
        prediction: A key of `PREDICTIONS`.
        zero_snr: Its noise schedule ends in pure noise.
        scheduler: The scheduler's config.
        parts: "unet", "vae", "text_encoder" and, for some families, "text_encoder_2".
        tokenizers: One per text encoder: a folder, or the padding of CLIP's own tokenizer.
        certain: The prediction type is known from the base model or the caller; otherwise it is
            assumed, and can be measured.
        recorded: What the base model itself states that it predicts; "" for nothing.
        flow_shift: Time-step shift of rectified flow; 0 where something else is predicted.
        notes: What a person should know before training on it, one sentence each.
        question: What to ask a person where it is not certain.
    """

    path: Path
    layout: Literal["folder", "file"]
    family: str
    prediction: str
    zero_snr: bool
    scheduler: dict[str, Any]
    parts: dict[str, Part] = field(repr=False)
    tokenizers: tuple[Path | str, ...] = ()
    certain: bool = True
    question: str = ""
    recorded: str = ""
    flow_shift: float = 0.0
    notes: tuple[str, ...] = ()

    @property
    def unet(self) -> dict[str, Any]:
        """The UNet's config."""
        return self.parts["unet"].config

    @property
    def vae(self) -> dict[str, Any]:
        """The VAE's config."""
        return self.parts["vae"].config

    @property
    def text_encoders(self) -> list[dict[str, Any]]:
        """The text encoders' configs."""
        return [part.config for name, part in self.parts.items() if name.startswith("text")]

    @property
    def latent_factor(self) -> int:
        """Image pixels per latent pixel, along one side."""
        return int(2 ** (len(self.vae["block_out_channels"]) - 1))

    @property
    def size_step(self) -> int:
        """Image sides must be multiples of this."""
        return int(self.latent_factor * 2 ** (len(self.unet["block_out_channels"]) - 1))

    @property
    def is_public(self) -> bool:
        """Whether its UNet has the sizes of the family's public one, which other programs know."""
        spec = FAMILIES[self.family].unet
        channels = tuple(self.unet["block_out_channels"])
        return (channels, self.unet["cross_attention_dim"]) == (spec.channels, spec.text_width)

    @property
    def default_resolution(self) -> int:
        """Side in pixels of the square image that the model was made for."""
        return int(self.unet["sample_size"]) * self.latent_factor


def check_base_model(
    path: Path, family: str = "auto", prediction: str = "auto", vae: Path | None = None
) -> BaseModelInfo:
    """Returns what a base model is.

    Args:
        path: Its folder in the diffusers layout, or a file in the original layout.
        family: "auto", or the family to take it for.
        prediction: "auto", or what it predicts.
        vae: Another VAE than its own: a file or a folder.

    Raises:
        ModelError: it or a part of it is missing or damaged, or it is no model we can train.
    """
    if not str(path) or str(path) == ".":
        msg = "No base model is set. Give its file or folder with base_model.path."
        raise ModelError(msg)
    if not path.exists():
        msg = (
            f"There is no base model at {path}. Give a .safetensors file, or the folder that holds "
            "model_index.json."
        )
        raise ModelError(msg)
    check = _check_folder if path.is_dir() else _check_file
    info = check(path, family, prediction)
    if vae is not None:
        own = info.parts.get("vae")
        named = _find_vae(vae, own.config if own else read_config(info.family)["vae"])
        info = replace(info, parts=info.parts | {"vae": named})
    if "vae" not in info.parts:
        msg = f"{path.name} contains no VAE. Give one as base_model.vae."
        raise ModelError(msg)
    if prediction != "auto":
        info = replace(info, certain=True, question="")
    if info.prediction not in PREDICTIONS:
        msg = (
            f"{path} predicts {info.prediction!r}, which is not trained here; what is: "
            f"{', '.join(PREDICTIONS)}. Choose another base model."
        )
        raise ModelError(msg)
    # A schedule that ends in pure noise is only of use to models that predict v.
    return replace(
        info,
        zero_snr=info.zero_snr and info.prediction == "v_prediction",
        flow_shift=_find_flow_shift(info),
    )


def _find_flow_shift(info: BaseModelInfo) -> float:
    if info.prediction != "flow":
        return 0.0
    return float(info.scheduler.get("shift") or FAMILIES[info.family].flow_shift)


def _check_folder(path: Path, family: str, prediction: str) -> BaseModelInfo:
    folder = read_folder(path)
    count = sum(name.startswith("text_encoder") for name in folder.parts)
    width = folder.parts["unet"].config.get("cross_attention_dim")
    if family == "auto":
        family = match_parts(width, count).name
    if len(FAMILIES[family].text_encoders) != count:
        encoders = "two text encoders" if count > 1 else "one text encoder"
        msg = (
            f"{path} is not of the family {family}: it has {encoders}. Set base_model.family to "
            "auto."
        )
        raise ModelError(msg)
    recorded = _read_scheduler(folder.scheduler)
    if prediction == "auto":
        prediction = recorded or "epsilon"
    return BaseModelInfo(
        path,
        "folder",
        family,
        prediction,
        zero_snr=bool(folder.scheduler.get("rescale_betas_zero_snr", False)),
        scheduler=folder.scheduler,
        parts=folder.parts,
        tokenizers=folder.tokenizers,
        certain=bool(recorded),
        recorded=recorded,
    )


def _read_scheduler(scheduler: dict[str, Any]) -> str:
    """Returns what a folder's scheduler states, in its own words where they are unknown."""
    is_flow = "FlowMatch" in str(scheduler.get("_class_name")) or scheduler.get("use_flow_sigmas")
    stated = str(scheduler.get("prediction_type", ""))
    return "flow" if is_flow else read_prediction_type(stated) or stated


def _check_file(path: Path, family: str, prediction: str) -> BaseModelInfo:
    file = _read_file(path)
    detected = detect_file(file)
    if family not in {"auto", detected.family}:
        msg = (
            f"{path.name} is an {FAMILIES[detected.family].title} model, and base_model.family is "
            f"{family}. Set it to auto."
        )
        raise ModelError(msg)
    prediction = detected.prediction if prediction == "auto" else prediction
    config = read_config(detected.family)
    # SD 2.1 and its base are one architecture: the prediction type determines their size.
    size = config.get("sample_sizes", {}).get(prediction, config["unet"]["sample_size"])
    unet = config["unet"] | {"sample_size": size}
    parts = {"unet": Part(unet, (file,), UNET_PREFIX, "unet")}
    if any(name.startswith("first_stage_model.") for name in file.tensors):
        parts["vae"] = Part(config["vae"], (file,), "first_stage_model.", "vae")
    rows = zip(config["text_encoders"], FAMILIES[detected.family].text_encoders, strict=True)
    for index, (encoder, spec) in enumerate(rows):
        parts[name_encoder(index)] = Part(encoder, (file,), spec.file_prefix, spec.naming)
    return BaseModelInfo(
        path,
        "file",
        detected.family,
        prediction,
        detected.zero_snr,
        config["scheduler"] | {"prediction_type": prediction},
        parts,
        tuple(config["pad_tokens"]),
        detected.certain,
        detected.question,
        detected.recorded,
    )


def _find_vae(path: Path, config: dict[str, Any]) -> Part:
    """Returns a VAE that was named beside the base model, whose config is used for bare files."""
    if not path.exists():
        msg = f"There is no VAE at {path}. Give a .safetensors file or a folder as base_model.vae."
        raise ModelError(msg)
    if path.is_file():
        file = _read_file(path)
        for prefix in _VAE_PREFIXES:
            if f"{prefix}decoder.conv_in.weight" in file.tensors:
                original = f"{prefix}decoder.mid.block_1.conv1.weight" in file.tensors
                return Part(config, (file,), prefix, "vae" if original else "diffusers")
        msg = (
            f"{path.name} contains no VAE of Stable Diffusion. Give another file as base_model.vae."
        )
        raise ModelError(msg)
    folder = path if (path / "config.json").is_file() else path / "vae"
    if not (folder / "config.json").is_file():
        msg = (
            f"The folder {path} contains no VAE: it lacks config.json. Give another as "
            f"base_model.vae."
        )
        raise ModelError(msg)
    own = read_json(folder / "config.json")
    _compare_scaling(path, own, config)
    try:
        files = find_weights(folder, "diffusion_pytorch_model")
    except FormatError as error:
        msg = f"The VAE {path} cannot be loaded: {error}"
        raise ModelError(msg) from None
    if not files:
        msg = f"The VAE {path} lacks diffusion_pytorch_model.safetensors. Download it again."
        raise ModelError(msg)
    return Part(own, files)


def _compare_scaling(path: Path, vae: dict[str, Any], base: dict[str, Any]) -> None:
    """Latents of two VAEs are only alike where both scale them alike."""
    ours, theirs = (float(each.get("scaling_factor", 0.18215)) for each in (base, vae))
    if abs(ours - theirs) > 1e-6:
        msg = (
            f"The VAE {path} belongs to another family: it scales latents by {theirs}, the base "
            f"model by {ours}. Choose a VAE that was made for the base model's family."
        )
        raise ModelError(msg)


def _read_file(path: Path) -> TensorFile:
    """Returns the header of a file that may be anything."""
    if path.suffix.lower() in _PICKLES or _begins_like_a_pickle(path):
        msg = (
            f"{path.name} is a pickle, which can run code when it is read. Convert it to "
            "safetensors first: load it in a program that you trust and save it again, with "
            "ComfyUI's node Save Checkpoint, or A1111's Checkpoint Merger with one model."
        )
        raise ModelError(msg)
    try:
        return read_header(path)
    except FormatError as error:
        raise ModelError(str(error)) from None


def _begins_like_a_pickle(path: Path) -> bool:
    """Whether a file is a zip or a bare pickle, whatever its name is."""
    try:
        with path.open("rb") as file:
            return file.read(2) in {b"PK", b"\x80\x02"}
    except OSError as error:
        msg = f"{path} cannot be read: {explain_os_error(error)}"
        raise ModelError(msg) from None
