"""The tensor names of adapter files, of all known programs.

A key is a layer's name and a part: `lora_unet_mid_block_…` and `.lora_down.weight`. Parts of
different programs that mean the same get one name here, that of kohya and LyCORIS. How layers are
named is in `trainer.formats.spellings`.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

_FACTORS = {"A": "lora_down.weight", "B": "lora_up.weight"}
# PEFT; between the factor and `.weight` there can be an adapter's name.
_PEFT = re.compile(r"(.+)\.lora_([AB])(?:[._](?!weight$)([\w-]+?))?(?:\.weight)?")
_MAGNITUDE = re.compile(r"(.+)\.lora_magnitude_vector(?:\.(?!weight$)([\w-]+?))?(?:\.weight)?")
# Endings of keys and what they are called here; where two fit, the longer one decides.
_ENDINGS = {
    ".lora_down.weight": "lora_down.weight",
    ".lora_up.weight": "lora_up.weight",
    ".lora_mid.weight": "lora_mid.weight",
    ".alpha": "alpha",
    ".dora_scale": "dora_scale",
    ".diff": "diff",
    ".diff_b": "diff_b",
    # diffusers before PEFT
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
    ".w_norm": "w_norm",
    ".b_norm": "b_norm",
    # kinds that need the base weight
    ".oft_blocks": "oft_blocks",
    ".rescale": "rescale",
    **{f".{name}.weight": f"glora_{name}" for name in ("a1", "a2", "b1", "b2", "bm")},
    ".on_input": "on_input",
    # kinds that are named in messages and not read
    ".lora_B.bias": "lora_bias",
    ".oft_diag": "oft_diag",
    ".oft_R.weight": "oft_other",
    ".oft_r": "oft_other",
    ".oft_s": "oft_scale",
    ".boft_R": "oft_other",
    ".boft_s": "oft_scale",
    ".ia3_l": "ia3_other",
    ".vera_lambda_b": "vera",
    ".vera_lambda_d": "vera_d",
    ".reshape_weight": "reshape_weight",
    ".set_weight": "set_weight",
}
# The part that shows a kind; the first row that is there decides.
_SIGNS = {
    "hada_w1_a": "loha",
    "lokr_w1": "lokr",
    "lokr_w1_a": "lokr",
    "glora_a1": "glora",
    "glora_b1": "glora",
    "lora_up.weight": "lora",
    "lora_down.weight": "lora",
    "diff": "full",
    "w_norm": "norm",
    "b_norm": "norm",
    "diff_b": "bias",
    "oft_blocks": "oft",
    "oft_diag": "oft_diag",
    "oft_other": "oft_other",
    "on_input": "ia3",
    "ia3_other": "ia3_other",
    "vera": "vera",
    "set_weight": "set",
}
WEIGHT_KINDS = {"ia3", "glora", "oft"}  # whose delta is a function of the base weight
# How files end the keys of parts that have another name here.
PART_ENDINGS = {"ia3_scale": "weight"} | {
    f"glora_{name}": f"{name}.weight" for name in ("a1", "a2", "b1", "b2")
}
READABLE_KINDS = {"lora", "loha", "lokr", "full", "dora"} | WEIGHT_KINDS
VECTOR_KINDS = {"norm", "bias"}  # differences of vectors, which have no factors
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

# OneTrainer writes textual-inversion embeddings into the LoRA's file: `bundle_emb.WORD.clip_l`.
_BUNDLED = re.compile(
    r"bundle_emb\.(.+?)\.(emb_params|string_to_param(?:\..+)?|clip_[lgh](?:_out)?|[^.]+)"
)


@dataclass(frozen=True)
class KeyGroup:
    """The tensors of one layer in a file.

    Attributes:
        spelling: The layer as the file names it.
        keys: The file's key of each part, by the name that the part has here.
        adapter: The adapter's name that PEFT puts into keys; "" for none.
    """

    spelling: str
    keys: dict[str, str]
    adapter: str = ""

    @property
    def kind(self) -> str:
        """What changes the weight, whether its length learns apart or not; "" for none known."""
        return next((kind for sign, kind in _SIGNS.items() if sign in self.keys), "")

    @property
    def has_magnitude(self) -> bool:
        """Whether it is a DoRA."""
        return bool({"dora_scale", "magnitude"} & set(self.keys))

    @property
    def needs_base(self) -> bool:
        """Whether its delta is computed from the base weight."""
        return self.has_magnitude or self.kind in WEIGHT_KINDS

    @property
    def naming(self) -> str:
        """Whose names: "kohya", "peft" or "" for others."""
        if (
            re.match(r"(?:lora|oft)_[a-z0-9]+_|lycoris_", self.spelling)
            and "." not in self.spelling
        ):
            return "kohya"
        return "peft" if "." in self.spelling else ""

    def is_complete(self) -> bool:
        """Whether all parts are there that its kind needs."""
        return any(needed <= set(self.keys) for needed in NEEDED_PARTS.get(self.kind, [set()]))


def group_keys(
    keys: Iterable[str], shapes: Mapping[str, tuple[int, ...]] | None = None
) -> tuple[dict[str, KeyGroup], list[str]]:
    """Returns the layers of a file by their name, and the keys that are no part of any.

    Bundled embeddings are neither, see `find_words`.

    Args:
        keys: Of all tensors.
        shapes: By key; a full difference of one axis is known as that of a normalisation by it.
    """
    groups: dict[str, KeyGroup] = {}
    unknown_keys, left = [], []
    for key in keys:
        if _BUNDLED.fullmatch(key):
            continue
        parts = _split(key)
        if parts is None:
            left.append(key)
            continue
        spelling, part, adapter = parts
        if part == "diff" and shapes is not None and len(shapes[key]) == 1:
            part = "w_norm"
        own = groups.setdefault(spelling, KeyGroup(spelling, {}, adapter)).keys
        if part in own:
            unknown_keys.append(key)
        own.setdefault(part, key)
    for key in left:
        group = groups.get(key.removesuffix(".weight"))
        if key.endswith(".weight") and group is not None and "on_input" in group.keys:
            group.keys["ia3_scale"] = key
        else:
            unknown_keys.append(key)
    for group in groups.values():
        if "w_norm" in group.keys and "diff_b" in group.keys:
            group.keys["b_norm"] = group.keys.pop("diff_b")
    return groups, unknown_keys


def find_words(keys: Iterable[str]) -> dict[str, dict[str, str]]:
    """Returns the keys of bundled embeddings, by word and by part ("clip_l", "emb_params" …)."""
    words: dict[str, dict[str, str]] = {}
    for key in keys:
        match = _BUNDLED.fullmatch(key)
        if match:
            words.setdefault(match[1], {})[match[2]] = key
    return words


def find_adapters(keys: Iterable[str]) -> list[str]:
    """Returns the names of the adapters in a file of PEFT; one or none in nearly all of them."""
    names = (parts[2] for key in keys if (parts := _split(key)) is not None)
    return list(dict.fromkeys(name for name in names if name))


def _split(key: str) -> tuple[str, str, str] | None:
    """Returns the layer's name, the part and the adapter's name."""
    fitting = [ending for ending in _ENDINGS if key.endswith(ending) and key != ending]
    if fitting:
        ending = max(fitting, key=len)
        return key.removesuffix(ending), _ENDINGS[ending], ""
    if match := _PEFT.fullmatch(key):
        return match[1], _FACTORS[match[2]], match[3] or ""
    if match := _MAGNITUDE.fullmatch(key):
        return match[1], "magnitude", match[2] or ""
    return None
