"""Layer names in the kohya format.

`<prefix>_<path with every dot turned into _>`, where the prefix names the model. The text
encoder's level `text_model` is always written (see `trainer.adapters.targets.name_layer`).
"""

_PREFIXES = {"unet": "lora_unet", "text_encoder": "lora_te"}


def to_kohya_name(layer: str) -> str:
    """Returns the kohya name of a layer, `unet.mid_block…` → `lora_unet_mid_block_…`."""
    model, _, path = layer.partition(".")
    return f"{_PREFIXES[model]}_{path.replace('.', '_')}"
