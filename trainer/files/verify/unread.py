"""Which layers of a file other programs do not find, because of how they are named."""

import re
from collections.abc import Mapping

from trainer.files.read.keys import find_adapters
from trainer.files.verify.facts import FileFacts
from trainer.files.verify.findings import (
    LEAVES_OUT,
    NOTHING,
    PROGRAMS,
    REFUSES,
    Effect,
    forge_on_leftovers,
)
from trainer.formats.families import SDXL
from trainer.formats.spellings import SPELLINGS

# What diffusers looks for in every key of a file that is not kohya's.
_LORA = "lora"
_DIFFUSERS_PARTS = re.compile(r"\.lora_A(?:\.weight)?$|[._]lora\.down\.weight$")
_OF_DIFFUSERS = ("unet.", "text_encoder.", "text_encoder_2.")


def find_unread(facts: FileFacts, spelled: Mapping[str, str]) -> dict[str, Effect]:
    """Returns what each program does with names that are not kohya's.

    Programs that find all layers are left out.

    Args:
        facts: About the file.
        spelled: The spelling of each name.
    """
    effects = {}
    adapters = find_adapters(facts.shapes)
    for program in PROGRAMS:
        unread = [name for name, each in spelled.items() if _is_unread(program, name, each)]
        if program == "diffusers":
            unread += [n for n in spelled if n not in unread and not _has_own_parts(facts, n)]
        if adapters and not (program == "ComfyUI" and adapters == ["default"]):
            unread = list(spelled)
        if program == "InvokeAI" and _is_omi(facts):
            continue
        effect = _judge(facts, program, unread, len(spelled))
        if effect is not None:
            effects[program] = effect
    return effects


def _is_unread(program: str, name: str, spelling: str) -> bool:
    pattern = SPELLINGS[spelling].unread.get(program)
    return pattern is not None and re.fullmatch(pattern, name) is not None


def _has_own_parts(facts: FileFacts, name: str) -> bool:
    """Whether the factors of a layer are called as diffusers knows them behind dotted names."""
    key = facts.groups[name].keys.get("lora_down.weight", "")
    return _DIFFUSERS_PARTS.search(key) is not None or (
        name.startswith("text_encoder") and key.endswith(".lora_linear_layer.down.weight")
    )


def find_foreign_parts(facts: FileFacts) -> list[str]:
    """Returns the layers with a kohya name whose factors are not called lora_down and lora_up."""
    downs = {name: facts.groups[name].keys.get("lora_down.weight") for name in facts.kohya}
    return [name for name, key in downs.items() if key and not key.endswith(".lora_down.weight")]


def _judge(facts: FileFacts, program: str, unread: list[str], count: int) -> Effect | None:
    if program == "diffusers" and not all(_LORA in key for key in facts.shapes):
        return REFUSES
    if not unread:
        return None
    # Without its own prefix diffusers sees no layers of a model at all.
    as_own = program == "diffusers" and any(name.startswith(_OF_DIFFUSERS) for name in unread)
    if program == "InvokeAI" or as_own:
        return REFUSES
    if program == "Forge":
        return forge_on_leftovers(sum(len(facts.groups[name].keys) for name in unread))
    return NOTHING if len(unread) == count else LEAVES_OUT


def _is_omi(facts: FileFacts) -> bool:
    """Whether InvokeAI knows a file of OneTrainer as one, by its header."""
    text = facts.metadata
    return (
        facts.guess.family == SDXL.name
        and text.get("ot_branch") == "omi_format"
        and bool(text.get("modelspec.sai_model_spec"))
        and text.get("modelspec.architecture") == SDXL.labels["epsilon"].architecture
    )
