"""How programs spell the names of layers in adapter files: one grammar per spelling.

A name is a tensor's key without its part (`.lora_down.weight`, `.lora_A.weight`, `.alpha` …). Each
is parsed alone, so that one that is not understood never affects the others. The table serves
reading, inspecting, verifying, merging and converting.
"""

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

from trainer.formats.families import FamilySpec, name_encoder
from trainer.formats.layer_names import complete_text, is_text_layer, is_unet_layer, split_words
from trainer.formats.unet_names import SD_NAMES, SDXL_NAMES, UNetNames

_ORIGINAL = re.compile(r"(?:input_blocks|middle_block|output_blocks|time_embed|label_emb|out)\b")
_PROCESSOR = re.compile(r"\.processor(?=\.to_(?:q|k|v|out)(?:\.0)?$)")
_TEXT_PROCESSOR = re.compile(r"(?<=self_attn\.)to_(q|k|v|out)$")
_MODELS = {
    "unet": "unet", "te": "text_encoder", "te1": "text_encoder", "te2": "text_encoder_2",
    "clip_l": "text_encoder", "clip_h": "text_encoder", "clip_g": "text_encoder_2",
}  # fmt: skip
ALL = ".*"


@dataclass(frozen=True)
class Spelling:
    """One way to spell layers.

    Attributes:
        name: In commands.
        title: In messages, "the names are those of …".
        pattern: Of a whole name; `model` is the model where it is written, `path` the rest.
        flat: Whether underscores stand where the path has dots.
        original: Whether the UNet's blocks have the original names of LDM files.
        peft: Whether parts are called lora_A and lora_B, and strengths are in the header.
        unread: By program, the pattern of names that it does not find; others are found.
        write: Returns a name of a model and a path; None where the spelling has none.
    """

    name: str
    title: str
    pattern: re.Pattern[str]
    write: Callable[[str, str, FamilySpec], str | None]
    flat: bool = False
    original: bool = False
    peft: bool = False
    unread: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class ParsedName:
    """What a name stands for.

    Attributes:
        spelling: Whose grammar it follows, a key of `SPELLINGS`.
        layer: With the model in front, as diffusers names it: `unet.mid_block.resnets.0.conv1`.
    """

    spelling: str
    layer: str


def parse_name(name: str, unet_names: UNetNames) -> ParsedName | None:
    """Returns what a name stands for, by grammar alone; None where it follows none.

    Args:
        name: In a file.
        unet_names: The original names of the blocks of the family's UNet.
    """
    for spelling in SPELLINGS.values():
        match = spelling.pattern.fullmatch(name)
        layer = match and _parse(spelling, match, unet_names)
        if layer:
            return ParsedName(spelling.name, layer)
    return None


def has_grammar(name: str) -> bool:
    """Returns whether a name follows the grammar of some public model."""
    return any(parse_name(name, names) for names in (SD_NAMES, SDXL_NAMES))


def parse_names(names: Iterable[str], unet_names: UNetNames) -> dict[str, ParsedName]:
    """Returns what each name stands for, without those that follow no grammar."""
    parsed = {name: parse_name(name, unet_names) for name in names}
    return {name: each for name, each in parsed.items() if each is not None}


def write_name(
    layer: str, spelling: Spelling, family: FamilySpec, unet_names: UNetNames
) -> str | None:
    """Returns a layer's name in a spelling; None where the spelling has no such name.

    Args:
        layer: With the model in front.
        spelling: A value of `SPELLINGS`.
        family: Of the base model.
        unet_names: The original names of its UNet's blocks.
    """
    model, _, path = layer.partition(".")
    if spelling.original and model == "unet":
        try:
            path = unet_names.to_original(path)
        except KeyError:  # a UNet of no public size has blocks that the original layout lacks
            return None
    return spelling.write(model, path.replace(".", "_") if spelling.flat else path, family)


def _parse(spelling: Spelling, match: re.Match[str], unet_names: UNetNames) -> str | None:
    groups = match.groupdict()
    path, model = groups["path"], groups.get("inner") or groups.get("model")
    model = _MODELS.get(model or "", model)
    if spelling.flat:
        path = split_words(path)
    path = _PROCESSOR.sub("", path)
    path = _TEXT_PROCESSOR.sub(r"\1_proj", path)
    if path.endswith(("attn1.to_out", "attn2.to_out")):
        path += ".0"
    if model in {None, "unet"}:
        if bool(_ORIGINAL.match(path)) != spelling.original:
            unet_path = None
        else:
            unet_path = _read_original(path, unet_names) if spelling.original else path
        if unet_path and is_unet_layer(unet_path):
            return f"unet.{unet_path}"
    if model != "unet" and (model or not spelling.original):
        path = complete_text(path)
        if is_text_layer(path):
            return f"{model or 'text_encoder'}.{path}"
    return None


def _read_original(path: str, unet_names: UNetNames) -> str | None:
    try:
        return unet_names.from_original(path)
    except KeyError:
        return None


def _write_kohya(model: str, path: str, family: FamilySpec) -> str:
    prefixes = {name_encoder(n): each.prefix for n, each in enumerate(family.text_encoders)}
    return f"{prefixes.get(model, 'lora_unet')}_{path}"


def _write_lycoris(model: str, path: str, family: FamilySpec) -> str | None:
    return _write_alone(model, f"lycoris_{path}", family)


def _write_alone(model: str, path: str, family: FamilySpec) -> str | None:
    """A name without its model can be that of one text encoder only."""
    return path if model == "unet" or not family.has_two_encoders else None


def _write_clip(model: str, family: FamilySpec) -> str:
    return "clip_g" if model == "text_encoder_2" else "clip_h" if family.is_v2 else "clip_l"


def _write_processor(model: str, path: str, _family: FamilySpec) -> str:
    if model == "unet":
        path = re.sub(r"(attn[12])\.(to_[qkv]|to_out)(?:\.0)?$", r"\1.processor.\2", path)
    else:
        path = re.sub(r"self_attn\.(q|k|v|out)_proj$", r"self_attn.to_\1", path)
    return f"{model}.{path}"


_DOTTED = r"(?P<model>unet|text_encoder|text_encoder_2)\."
_NO_DIFFUSERS = {"A1111": ALL, "InvokeAI": ALL, "sd-scripts": ALL}
_NOBODY = {"diffusers": ALL, "ComfyUI": ALL, "Forge": ALL, **_NO_DIFFUSERS}
# ComfyUI's and Forge's table has the attention of diffusers under the name of its processor only.
_NO_PLAIN_ATTENTION = (
    r"unet\..*attn[12]\.to_(?:q|k|v|out\.0)|text_encoder(?:_2)?\.(?!text_model\.encoder\.).*"
)
_NO_TEXT_PROCESSOR = r"text_encoder(?:_2)?\..*self_attn\.to_.*"
_BARE_UNREAD = r".*attn[12]\.to_(?:q|k|v|out\.0)|(?:text_model|encoder)\..*"
_ROWS = (
    Spelling(
        "kohya", "kohya", re.compile(r"(?:lora|oft)_(?P<model>unet|te1?|te2)_(?P<path>.+)"),
        _write_kohya, flat=True,
    ),
    Spelling(
        "kohya-original", "kohya with the original blocks",
        re.compile(r"(?:lora|oft)_(?P<model>unet)_(?P<path>.+)"), _write_kohya, flat=True,
        original=True,
    ),
    Spelling(
        "lycoris", "LyCORIS", re.compile(r"lycoris_(?P<path>.+)"), _write_lycoris, flat=True,
        unread={**_NOBODY, "ComfyUI": r"lycoris_(?:text_model|encoder)_.*"},
    ),
    Spelling(
        "diffusers-old", "diffusers before 0.22 (attention processors)",
        re.compile(_DOTTED + r"(?P<path>.+\.(?:processor\.|self_attn\.)to_(?:q|k|v|out)(?:\.0)?)"),
        _write_processor, peft=True,
        unread={**_NO_DIFFUSERS, "ComfyUI": _NO_TEXT_PROCESSOR, "Forge": _NO_TEXT_PROCESSOR},
    ),
    Spelling(
        "diffusers", "diffusers and PEFT", re.compile(_DOTTED + r"(?P<path>.+)"),
        lambda model, path, _: f"{model}.{path}", peft=True,
        unread={**_NO_DIFFUSERS, "ComfyUI": _NO_PLAIN_ATTENTION, "Forge": _NO_PLAIN_ATTENTION},
    ),
    Spelling(
        "peft", "PEFT's own save function",
        re.compile(
            r"(?:(?P<model>unet|text_encoder|text_encoder_2)\.)?base_model\.model\."
            r"(?:(?P<inner>unet|text_encoder|text_encoder_2)\.)?(?P<path>.+)"
        ),
        lambda model, path, family: _write_alone(model, f"base_model.model.{path}", family),
        peft=True, unread=_NOBODY,
    ),
    Spelling(
        "omi", "OneTrainer's OMI format", re.compile(r"(?P<model>unet|clip_[lgh])\.(?P<path>.+)"),
        lambda m, path, family: f"{'unet' if m == 'unet' else _write_clip(m, family)}.{path}",
        original=True, unread=_NOBODY,
    ),
    Spelling(
        "comfyui", "ComfyUI",
        re.compile(r"(?:diffusion_model|text_encoders\.(?P<model>clip_[lgh])\.transformer)\."
                   r"(?P<path>.+)"),
        lambda m, path, family: f"diffusion_model.{path}" if m == "unet"
        else f"text_encoders.{_write_clip(m, family)}.transformer.{path}",
        original=True,
        unread={**_NO_DIFFUSERS, "diffusers": ALL, "Forge": r"text_encoders\..*"},
    ),
    Spelling(
        "checkpoint", "checkpoints in the original layout",
        re.compile(r"model\.diffusion_model\.(?P<path>.+)"),
        lambda model, path, _: f"model.diffusion_model.{path}" if model == "unet" else None,
        original=True, unread=_NOBODY,
    ),
    Spelling(
        "bare", "diffusers without the model in front", re.compile(r"(?P<path>[a-z].+)"),
        _write_alone, peft=True,
        unread={**_NO_DIFFUSERS, "diffusers": ALL, "ComfyUI": _BARE_UNREAD, "Forge": _BARE_UNREAD},
    ),
)  # fmt: skip
SPELLINGS: dict[str, Spelling] = {each.name: each for each in _ROWS}
KOHYA = frozenset({"kohya", "kohya-original"})
