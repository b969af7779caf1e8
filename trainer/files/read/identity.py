"""What a safetensors file is that holds no adapter, known by whole keys."""

import re
from collections.abc import Collection

from trainer.formats.header import TensorFile

_WEIGHT = r"(?:weight|bias)"
_MARKS = (
    (re.compile(rf"(?:model\.diffusion_model|first_stage_model|cond_stage_model|conditioner)\..+"
                rf"\.{_WEIGHT}"),
     "is a base model, not a LoRA. Choose it as base model instead"),
    (re.compile(r"emb_params|string_to_param(?:\..+)?|clip_[lg]|text_encoders_[01]"),
     "is a text embedding, not a LoRA. Choose a LoRA file"),
    (re.compile(r"(?:text_model\.)?embeddings\.token_embedding\.weight"),
     "is the text encoder of a base model, not a LoRA. Choose a LoRA file"),
    (re.compile(rf"(?:encoder|decoder)\.conv_in\.{_WEIGHT}"),
     "is a VAE, not a LoRA. Choose a LoRA file"),
    (re.compile(r"(?:image_proj|ip_adapter)\..+"),
     "is an IP-Adapter, not a LoRA. Choose a LoRA file"),
    (re.compile(r"(?:control_model|controlnet_cond_embedding|controlnet_mid_block)\..+"),
     "is a ControlNet, not a LoRA. Choose a LoRA file"),
    (re.compile(rf"(?:diffusion_model\.)?(?:conv_in|input_blocks\.0\.0)\.{_WEIGHT}"),
     "is the UNet of a base model, not a LoRA. Choose a LoRA file"),
    (re.compile(r"bundle_emb\..+"),
     "holds text embeddings that were bundled with a LoRA, and no LoRA. Choose a LoRA file"),
)  # fmt: skip


def explain_no_adapter(header: TensorFile, groups: Collection[str]) -> str:
    """Returns the sentence for a file without any adapter; "" where it has one.

    Args:
        header: Of the file.
        groups: The names of its layers.
    """
    if groups:
        return ""
    name = header.path.name
    for pattern, what in _MARKS:
        if any(pattern.fullmatch(key) for key in header.tensors):
            return f"{name} {what}."
    return (
        f"{name} contains no adapter: none of its {len(header.tensors)} tensors belongs to one. "
        "Choose a LoRA file."
    )
