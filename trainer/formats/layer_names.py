"""The grammar of layer names, as diffusers spells them: what a UNet and a CLIP text encoder have.

How many blocks there are depends on the model; the grammar only knows which names can exist.
"""

import re

_TEXT_LEVEL = "text_model."
_INNER = r"norm[123]|attn[12]\.to_[qkv]|attn[12]\.to_out\.0|ff\.net\.0\.proj|ff\.net\.2"
_ENDS = (
    r"resnets\.\d+\.(?:norm[12]|conv[12]|time_emb_proj|conv_shortcut)",
    r"attentions\.\d+\.(?:norm|proj_in|proj_out)",
    rf"attentions\.\d+\.transformer_blocks\.\d+\.(?:{_INNER})",
    r"downsamplers\.0\.conv",
    r"upsamplers\.0\.conv",
)
_UNET = re.compile(
    r"conv_in|conv_out|conv_norm_out|(?:time|add)_embedding\.linear_[12]|"
    rf"(?:down_blocks\.\d+|up_blocks\.\d+|mid_block)\.(?:{'|'.join(_ENDS)})"
)
_TEXT = re.compile(
    r"text_projection|text_model\.(?:final_layer_norm|embeddings\.(?:token|position)_embedding|"
    r"encoder\.layers\.\d+\."
    r"(?:self_attn\.(?:q|k|v|out)_proj|mlp\.fc[12]|layer_norm[12]))"
)
_NORM = re.compile(r"(?:^|\.)(?:norm[123]?|conv_norm_out|layer_norm[12]|final_layer_norm)$")
# The words of a path that hold an underscore themselves; between all others it stands for a dot.
_WORD = re.compile(
    r"(?:down_blocks|up_blocks|mid_block|input_blocks|middle_block|output_blocks|"
    r"transformer_blocks|time_emb_proj|conv_shortcut|skip_connection|in_layers|out_layers|"
    r"emb_layers|proj_in|proj_out|to_q|to_k|to_v|to_out|text_model|self_attn|q_proj|k_proj|v_proj|"
    r"out_proj|conv_in|conv_out|conv_norm_out|time_embedding|add_embedding|linear_1|linear_2|"
    r"time_embed|label_emb|text_projection|final_layer_norm|layer_norm1|layer_norm2|"
    r"token_embedding|position_embedding)(?![^_])|[^_]+"
)


def split_words(path: str) -> str:
    """Returns a path of underscores with dots between its words."""
    return ".".join(_WORD.findall(path))


def is_unet_layer(path: str) -> bool:
    """Returns whether a UNet can have a layer of this name."""
    return bool(_UNET.fullmatch(path))


def is_text_layer(path: str) -> bool:
    """Returns whether a CLIP text encoder can have a layer of this name."""
    return bool(_TEXT.fullmatch(path))


def complete_text(path: str) -> str:
    """Returns a text encoder's path with the level `text_model`, which newer files can lack."""
    outside = path.startswith((_TEXT_LEVEL, "text_projection"))
    return path if outside else f"{_TEXT_LEVEL}{path}"


def is_norm(layer: str) -> bool:
    """Returns whether a layer is a normalisation, whose weight is a vector."""
    return bool(_NORM.search(layer))
