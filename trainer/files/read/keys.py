"""The tensor names of adapter files, of all known programs.

A key is a layer's spelling and a part: `lora_unet_mid_block_…` and `.lora_down.weight`. Parts of
different programs that mean the same get one name here, that of kohya and LyCORIS.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass

# Endings of keys and what they are called here; where two fit, the longer one decides.
_ENDINGS = {
    ".lora_down.weight": "lora_down.weight",
    ".lora_up.weight": "lora_up.weight",
    ".lora_mid.weight": "lora_mid.weight",
    ".alpha": "alpha",
    ".dora_scale": "dora_scale",
    ".diff": "diff",
    ".diff_b": "diff_b",
    # PEFT; `default` is the adapter's name in files of its own save function
    ".lora_A.weight": "lora_down.weight",
    ".lora_B.weight": "lora_up.weight",
    ".lora_A.default.weight": "lora_down.weight",
    ".lora_B.default.weight": "lora_up.weight",
    ".lora_magnitude_vector": "magnitude",
    ".lora_magnitude_vector.weight": "magnitude",
    ".lora_magnitude_vector.default.weight": "magnitude",
    # diffusers before PEFT; the processor's own ending is a part of the layer's spelling
    ".lora.down.weight": "lora_down.weight",
    ".lora.up.weight": "lora_up.weight",
    ".lora_linear_layer.down.weight": "lora_down.weight",
    ".lora_linear_layer.up.weight": "lora_up.weight",
    "_lora.down.weight": "lora_down.weight",
    "_lora.up.weight": "lora_up.weight",
    **{f".hada_{name}": f"hada_{name}" for name in ("w1_a", "w1_b", "w2_a", "w2_b", "t1", "t2")},
    **{
        f".lokr_{name}": f"lokr_{name}"
        for name in ("w1", "w1_a", "w1_b", "w2", "w2_a", "w2_b", "t1", "t2")
    },
    # kinds that are named in messages and not read
    ".w_norm": "w_norm",
    ".b_norm": "b_norm",
    ".oft_blocks": "oft_blocks",
    ".oft_diag": "oft_blocks",
    ".rescale": "rescale",
    ".a1.weight": "glora",
    ".a2.weight": "glora",
    ".b1.weight": "glora",
    ".b2.weight": "glora",
    ".on_input": "on_input",
    ".reshape_weight": "reshape_weight",
    ".set_weight": "set_weight",
}
# The part that shows a kind; the first row that is there decides.
_SIGNS = {
    "hada_w1_a": "loha",
    "lokr_w1": "lokr",
    "lokr_w1_a": "lokr",
    "lora_up.weight": "lora",
    "lora_down.weight": "lora",
    "diff": "full",
    "diff_b": "full",
    "w_norm": "norm",
    "b_norm": "norm",
    "oft_blocks": "oft",
    "glora": "glora",
    "on_input": "ia3",
    "set_weight": "set",
}
READABLE_KINDS = {"lora", "loha", "lokr", "full", "dora"}
# What each kind cannot do without: one of the lists has to be there as a whole.
NEEDED_PARTS = {
    "lora": [{"lora_down.weight", "lora_up.weight"}],
    "loha": [{"hada_w1_a", "hada_w1_b", "hada_w2_a", "hada_w2_b"}],
    "lokr": [
        {"lokr_w1", "lokr_w2"},
        {"lokr_w1", "lokr_w2_a", "lokr_w2_b"},
        {"lokr_w1_a", "lokr_w1_b", "lokr_w2"},
        {"lokr_w1_a", "lokr_w1_b", "lokr_w2_a", "lokr_w2_b"},
    ],
    "full": [{"diff"}],
}

# What some programs leave out in front of a layer.
_PEFT_MODEL = "base_model.model."
_IMPLIED = (
    (re.compile(r"(down_blocks|up_blocks)\.\d+\.|mid_block\."), "unet."),
    (re.compile(r"text_model\."), "text_encoder."),
)
_PROCESSOR = re.compile(r"\.processor\.to_(q|k|v|out)$")


@dataclass(frozen=True)
class KeyGroup:
    """The tensors of one layer in a file.

    Attributes:
        spelling: The layer as the file spells it, without what is only packaging.
        keys: The file's key of each part, by the name that the part has here.
    """

    spelling: str
    keys: dict[str, str]

    @property
    def kind(self) -> str:
        """What changes the weight, whether its length learns apart or not; "" for none known."""
        return next((kind for sign, kind in _SIGNS.items() if sign in self.keys), "")

    @property
    def has_magnitude(self) -> bool:
        """Whether it is a DoRA."""
        return bool({"dora_scale", "magnitude"} & set(self.keys))

    @property
    def naming(self) -> str:
        """Whose names: "kohya", "peft" or "" for others."""
        if re.match(r"lora_[a-z0-9]+_|lycoris_", self.spelling) and "." not in self.spelling:
            return "kohya"
        return "peft" if "." in self.spelling else ""

    def is_complete(self) -> bool:
        """Whether all parts are there that its kind needs."""
        return any(needed <= set(self.keys) for needed in NEEDED_PARTS.get(self.kind, [set()]))


def group_keys(keys: Iterable[str]) -> tuple[dict[str, KeyGroup], list[str]]:
    """Returns the layers of a file by their spelling, and the keys that are no part of any."""
    groups: dict[str, KeyGroup] = {}
    unknown_keys = []
    for key in keys:
        parts = _split(key)
        if parts is None:
            unknown_keys.append(key)
            continue
        spelling, part = parts
        groups.setdefault(spelling, KeyGroup(spelling, {})).keys[part] = key
    return groups, unknown_keys


def _split(key: str) -> tuple[str, str] | None:
    """Returns the layer's spelling and the part."""
    fitting = [ending for ending in _ENDINGS if key.endswith(ending)]
    if not fitting:
        return None
    ending = max(fitting, key=len)
    spelling = key.removesuffix(ending).removeprefix(_PEFT_MODEL)
    for pattern, prefix in _IMPLIED:
        if pattern.match(spelling):
            spelling = prefix + spelling
    if _PROCESSOR.search(spelling):
        spelling += "_lora"
    return (spelling, _ENDINGS[ending]) if spelling else None
