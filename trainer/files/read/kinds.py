"""What the layers of a file are made of, and whether that can be read."""

from collections.abc import Collection, Mapping
from pathlib import Path

from trainer.export.errors import ExportError
from trainer.files.read.keys import KeyGroup

_WORDS = {
    "lora": "LoRA",
    "loha": "LoHa",
    "lokr": "LoKr",
    "full": "full differences (diff)",
    "norm": "normalisation layers (w_norm)",
    "oft": "OFT",
    "glora": "GLoRA",
    "ia3": "(IA)³",
    "oft_diag": "OFT in the form of before (oft_diag)",
    "oft_other": "OFT in the form of another program (oft_R or boft_R)",
    "ia3_other": "(IA)³ of PEFT (ia3_l)",
    "vera": "VeRA of PEFT",
    "bias": "bias differences (diff_b)",
    "set": "replaced weights (set_weight)",
}
# Programs that apply a kind that not every command here reads.
READERS = {
    "oft": "A1111 and ComfyUI",
    "glora": "A1111, ComfyUI and Forge",
    "ia3": "A1111 and InvokeAI",
    "oft_diag": "A1111",
    "norm": "A1111, ComfyUI, Forge and InvokeAI",
    "bias": "ComfyUI and Forge",
}
# Parts that change more than the factors beside them.
_UNREADABLE = {
    "lora_bias": "a bias of lora_B (lora_bias of PEFT)",
    "reshape_weight": "another shape of its weight (reshape_weight of ComfyUI)",
}


def name_kind(kind: str) -> str:
    """Returns a kind's name in a sentence."""
    return "DoRA" if kind == "dora" else _WORDS.get(kind, kind)


def describe_kind(kind: str, groups: Collection[KeyGroup]) -> str:
    """Returns how many layers of a file have a kind that is not plain, and which is the first."""
    same = [group.spelling for group in groups if group.kind == kind]
    word = _WORDS.get(kind, "parts of an unknown kind")
    return f"changes {len(same)} of {len(groups)} layers by {word}, first {same[0]}"


def check_kinds(path: Path, groups: Mapping[str, KeyGroup], readable: Collection[str]) -> None:
    """Rejects a file with layers of kinds that are not read, or of which tensors are missing.

    Args:
        path: The file.
        groups: Its layers.
        readable: The kinds that are read.

    Raises:
        ExportError: with the kind and the first layer.
    """
    for group in groups.values():
        if group.kind not in readable:
            what = describe_kind(group.kind, groups.values())
            others = READERS.get(group.kind)
            hint = f" It works in {others}." if others else ""
            msg = f"{path.name} {what}, which cannot be read here.{hint}"
            raise ExportError(msg)
        part = next((each for each in _UNREADABLE if each in group.keys), "")
        if part:
            msg = (
                f"{path.name} changes {group.spelling} by {_UNREADABLE[part]} too, which cannot be "
                "read here."
            )
            raise ExportError(msg)
        if not group.is_complete():
            msg = (
                f"{path.name} is damaged: {group.spelling} holds only "
                f"{', '.join(sorted(group.keys))}. Download or export the file again."
            )
            raise ExportError(msg)
