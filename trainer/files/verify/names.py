"""Rules about the names of layers: does every program find the layer that is meant?"""

import re
from collections.abc import Iterator

from trainer.files.read.keys import READABLE_KINDS, VECTOR_KINDS, find_adapters
from trainer.files.verify.facts import FileFacts
from trainer.files.verify.findings import (
    LEAVES_OUT,
    NOTHING,
    PROGRAMS,
    REFUSES,
    Finding,
    Severity,
    forge_on_leftovers,
    join_words,
    name_some,
)
from trainer.files.verify.unread import find_foreign_parts, find_unread
from trainer.formats.architectures import OUTER_LAYERS
from trainer.formats.families import FAMILIES, name_encoder
from trainer.formats.spellings import KOHYA, SPELLINGS, has_grammar

_WITH_DIFFUSERS_BLOCKS = " and ".join(
    each.title for each in FAMILIES.values() if not each.unet.original_blocks
)
_PARTS_OF_ATTENTION = ("q_proj", "k_proj", "v_proj", "out_proj")
_TEXT_ATTENTION = re.compile(r"^(text_encoder.*\.layers\.\d+\.self_attn)\.(\w+)$")


def check_family(facts: FileFacts) -> Iterator[Finding]:
    """The file is for one of the families that these programs know."""
    if facts.guess.unsupported:
        yield Finding("error", "family", f"It was made for {facts.guess.title}.")


def check_unknown_keys(facts: FileFacts) -> Iterator[Finding]:
    """Every tensor belongs to an adapter."""
    if facts.unknown_keys:
        yield Finding(
            "error",
            "strangers",
            f"{len(facts.unknown_keys)} tensors belong to no adapter: "
            f"{name_some(facts.unknown_keys)}.",
            {
                "diffusers": REFUSES,
                "InvokeAI": REFUSES,
                "Forge": forge_on_leftovers(len(facts.unknown_keys)),
            },
        )


def check_format(facts: FileFacts) -> Iterator[Finding]:
    """Names are kohya's, which all programs read, and not a mixture."""
    spelled = {name: each.spelling for name, each in facts.parsed.items()}
    others = {name: each for name, each in spelled.items() if each not in KOHYA}
    if others and facts.kohya:
        spec = facts.guess.spec
        on_invoke = REFUSES if spec and spec.unet.original_blocks else LEAVES_OUT
        yield Finding(
            "error",
            "format",
            f"Names of kohya and of other formats are mixed: {name_some(list(others))}.",
            {"diffusers": REFUSES, "InvokeAI": on_invoke, "A1111": LEAVES_OUT,
             "Forge": forge_on_leftovers(2 * len(others)), "ComfyUI": LEAVES_OUT,
             "sd-scripts": LEAVES_OUT},
        )  # fmt: skip
    elif foreign := find_foreign_parts(facts):
        yield Finding(
            "error",
            "format",
            "Layers have the names of kohya, and parts that are named as in other formats: "
            f"{name_some(foreign)}.",
            {"diffusers": REFUSES, "A1111": REFUSES, "InvokeAI": REFUSES, "sd-scripts": NOTHING},
        )
    elif others:
        effects = find_unread(facts, others)
        readers = [program for program in PROGRAMS if program not in effects]
        used = [each for each in SPELLINGS if each in others.values()]
        titles = " and of ".join(SPELLINGS[each].title for each in used)
        adapters = find_adapters(facts.shapes)
        if adapters:
            titles += f" with the adapter's name in every key ({join_words(adapters)})"
        whose = (
            f"which only {join_words(readers)} {'reads' if len(readers) == 1 else 'read'}"
            if readers
            else f"which none of these programs reads as a whole{_advise_conversion(facts)}"
        )
        severity: Severity = "note" if readers else "error"  # refused or ruined by every program
        yield Finding(severity, "format", f"The names are those of {titles}, {whose}.", effects)


def _advise_conversion(facts: FileFacts) -> str:
    """Returns the end of a sentence that names the remedy, "" where `convert` has none."""
    kinds = {group.kind for group in facts.groups.values()}
    if not kinds <= READABLE_KINDS | VECTOR_KINDS:
        return ""
    return "; `lorasmith convert` gives the layers the names of kohya"


def check_blocks(facts: FileFacts) -> Iterator[Finding]:
    """The UNet's blocks are named as the family's programs expect, and in one way only."""
    spec = facts.guess.spec
    original = [s for s in facts.kohya if re.match(r"lora_unet_(input|middle|output)_", s)]
    if facts.blocks == {"diffusers", "original"}:
        yield Finding(
            "error",
            "blocks",
            f"The UNet's blocks are named in two ways at once, first {original[0]}.",
            {"diffusers": LEAVES_OUT, "sd-scripts": REFUSES, "InvokeAI": REFUSES},
        )
    elif facts.blocks == {"original"} and spec and not spec.unet.original_blocks:
        yield Finding(
            "error",
            "blocks",
            f"The UNet's blocks have their original names, {name_some(original)}, where "
            f"{_WITH_DIFFUSERS_BLOCKS} use those of diffusers.",
            {"diffusers": REFUSES, "sd-scripts": LEAVES_OUT, "InvokeAI": LEAVES_OUT},
        )
    elif facts.blocks == {"diffusers"} and spec and spec.unet.original_blocks:
        upsampler = "lora_unet_up_blocks_0_upsamplers_0_conv"
        if upsampler in facts.groups:
            yield Finding(
                "warning",
                "blocks",
                f"The UNet's blocks have diffusers' names, under which {upsampler} is not found.",
                {"A1111": LEAVES_OUT},
            )


def check_text_prefix(facts: FileFacts) -> Iterator[Finding]:
    """Text encoders are called lora_te in SD 1.x and 2.x, lora_te1 and lora_te2 in SDXL."""
    spec = facts.guess.spec
    if spec is None:
        return
    right = spec.text_encoders[0].prefix
    wrong = [
        each
        for each in facts.kohya
        if each.startswith(("lora_te_", "lora_te1_")) and not each.startswith(f"{right}_")
    ]
    if wrong and spec.has_two_encoders:
        yield Finding(
            "error",
            "text_prefix",
            f"The first text encoder is named lora_te instead of lora_te1: {name_some(wrong)}.",
            {"A1111": LEAVES_OUT, "sd-scripts": LEAVES_OUT, "InvokeAI": REFUSES},
        )
    elif wrong:
        yield Finding(
            "error",
            "text_prefix",
            f"The text encoder is named lora_te1 instead of lora_te: {name_some(wrong)}.",
            {"sd-scripts": LEAVES_OUT, "InvokeAI": LEAVES_OUT},
        )


def check_text_level(facts: FileFacts) -> Iterator[Finding]:
    """Names in text encoders hold the level text_model, whatever version of transformers runs."""
    lacking = [each for each in facts.kohya if re.match(r"lora_te[12]?_encoder_layers_", each)]
    if lacking:
        keys = sum(len(facts.groups[each].keys) for each in lacking)
        yield Finding(
            "error",
            "text_level",
            f"The text encoder's names lack text_model: {name_some(lacking)}.",
            {"diffusers": LEAVES_OUT, "A1111": LEAVES_OUT, "ComfyUI": LEAVES_OUT,
             "InvokeAI": LEAVES_OUT, "sd-scripts": LEAVES_OUT, "Forge": forge_on_leftovers(keys)},
        )  # fmt: skip


def check_known_layers(facts: FileFacts) -> Iterator[Finding]:
    """Every layer is one that the family has, under a name that programs understand."""
    if facts.guess.unsupported:
        return
    count = len(facts.groups)
    unparsed = [each for each in facts.groups if each not in facts.parsed]
    unnamed = [each for each in unparsed if not has_grammar(each)]
    missing = [each for each in facts.groups if each not in facts.layers and each not in unnamed]
    if len(unnamed) == count:
        yield Finding(
            "error",
            "known_layers",
            f"Nothing was recognised: none of the {count} layer names follows a known spelling, "
            f"first {unnamed[0]}.",
            dict.fromkeys(PROGRAMS, NOTHING),
        )
        return
    for names, what in (
        (unnamed, "have names of no known spelling"),
        (missing, f"do not exist in {facts.guess.title}"),
    ):
        if names:
            keys = sum(len(facts.groups[each].keys) for each in names)
            yield Finding(
                "error",
                "known_layers",
                f"{len(names)} of {count} layers {what}: {name_some(names)}.",
                {"diffusers": REFUSES, "A1111": LEAVES_OUT, "Forge": forge_on_leftovers(keys),
                 "ComfyUI": LEAVES_OUT, "InvokeAI": LEAVES_OUT, "sd-scripts": LEAVES_OUT},
            )  # fmt: skip


def check_outer_layers(facts: FileFacts) -> Iterator[Finding]:
    """No layer outside the transformer and resnet blocks is changed."""
    outer = {s: layer for s, layer in facts.layers.items() if layer in OUTER_LAYERS}
    projection = [s for s, layer in outer.items() if layer.endswith("text_projection")]
    others = [spelling for spelling in outer if spelling not in projection]
    if others:
        yield Finding(
            "warning",
            "outer_layers",
            f"Layers outside the UNet's blocks are changed: {name_some(others)}.",
            {"sd-scripts": LEAVES_OUT},
        )
    if projection:
        yield Finding(
            "warning",
            "outer_layers",
            f"The projection of the second text encoder is changed: {projection[0]}.",
            {"A1111": LEAVES_OUT, "sd-scripts": LEAVES_OUT},
        )


def check_twins(facts: FileFacts) -> Iterator[Finding]:
    """No layer is there under two spellings."""
    first_keys: dict[str, str] = {}
    for spelling, layer in facts.layers.items():
        if layer in first_keys:
            yield Finding(
                "error",
                "twins",
                f"{layer} occurs twice, as {first_keys[layer]} and as {spelling}: which one is "
                "used differs "
                "between programs.",
            )
            return
        first_keys[layer] = spelling


def check_text_sets(facts: FileFacts) -> Iterator[Finding]:
    """Text encoder attention is adapted as a whole: q, k, v and out together."""
    sets: dict[str, set[str]] = {}
    for layer in facts.layers.values():
        match = _TEXT_ATTENTION.match(layer)
        if match:
            sets.setdefault(match[1], set()).add(match[2])
    partial = [name for name, parts in sets.items() if not parts >= set(_PARTS_OF_ATTENTION)]
    if not partial:
        return
    effects = {}
    # A1111 holds the attention of OpenCLIP's text encoders in one weight.
    spec = facts.guess.spec
    encoders = enumerate(spec.text_encoders) if spec else ()
    fused = {name_encoder(n) for n, each in encoders if each.naming == "open_clip"}
    if any(name.partition(".")[0] in fused for name in partial):
        effects["A1111"] = LEAVES_OUT
    without_out = [name for name in partial if "out_proj" not in sets[name]]
    if without_out:
        others = any(".mlp." in layer for layer in facts.layers.values())
        effects["diffusers"] = LEAVES_OUT if others else REFUSES
    yield Finding(
        "error" if effects else "warning",
        "text_sets",
        f"Attention of the text encoder is adapted in part, in {len(partial)} layers: "
        f"{partial[0]} has only {', '.join(sorted(sets[partial[0]]))}.",
        effects,
    )
