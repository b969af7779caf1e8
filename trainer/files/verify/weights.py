"""Rules about the weights: kinds, shapes and strengths."""

import re
from collections import Counter
from collections.abc import Iterator

from trainer.files.read.family import measure, read_rank
from trainer.files.read.keys import NEEDED_PARTS, KeyGroup
from trainer.files.read.peft import CONFIG_NAME
from trainer.files.read.recognition import has_size
from trainer.files.verify.facts import FileFacts
from trainer.files.verify.findings import (
    LEAVES_OUT,
    NOTHING,
    PROGRAMS,
    REFUSES,
    WRONG,
    Effect,
    Effects,
    Finding,
    Severity,
    name_some,
)
from trainer.formats.spellings import SPELLINGS

_IGNORES = Effect("no", "these layers ignored")
# Kinds that not every program reads: what they are called, and who does what.
_KINDS: dict[str, tuple[str, Effects]] = {
    "loha": ("LoHa", {"diffusers": REFUSES, "sd-scripts": _IGNORES}),
    "lokr": ("LoKr", {"diffusers": REFUSES, "sd-scripts": _IGNORES}),
    "full": ("full differences", {"diffusers": REFUSES, "sd-scripts": _IGNORES}),
    "norm": ("normalisation layers", {"diffusers": REFUSES, "sd-scripts": _IGNORES}),
    "bias": ("differences of biases alone", {"diffusers": REFUSES, "A1111": REFUSES,
             "InvokeAI": REFUSES, "sd-scripts": _IGNORES}),
    "vera": ("VeRA", dict.fromkeys(PROGRAMS, LEAVES_OUT)),
    "oft": ("OFT", {"diffusers": REFUSES, "InvokeAI": REFUSES, "Forge": REFUSES}),
    "glora": ("GLoRA", {"diffusers": REFUSES, "InvokeAI": REFUSES, "sd-scripts": _IGNORES}),
    "ia3": ("(IA)³", {"diffusers": REFUSES, "ComfyUI": LEAVES_OUT, "Forge": REFUSES,
                      "sd-scripts": LEAVES_OUT}),
    "oft_diag": ("OFT in the form of before", {"diffusers": REFUSES, "ComfyUI": LEAVES_OUT,
                 "InvokeAI": REFUSES, "Forge": REFUSES}),
    "oft_other": ("OFT in the form of another program", dict.fromkeys(PROGRAMS, LEAVES_OUT)),
    "ia3_other": ("(IA)³ of PEFT", dict.fromkeys(PROGRAMS, LEAVES_OUT)),
    "": ("an unknown kind", dict.fromkeys(PROGRAMS, LEAVES_OUT)),
    "set": ("replaced weights", dict.fromkeys(PROGRAMS, LEAVES_OUT)),
}  # fmt: skip
_NO_SCALE = Effect("partly", "lengths of DoRA left out, which is another effect")
_REFUSED = dict.fromkeys(PROGRAMS, REFUSES)
_ATTENTION = re.compile(r"\.attn[12]\.to_")


def check_kinds(facts: FileFacts) -> Iterator[Finding]:
    """Every layer is a plain LoRA."""
    for kind, (title, effects) in _KINDS.items():
        layers = [spelling for spelling, group in facts.groups.items() if group.kind == kind]
        if layers:
            usual = kind in {"loha", "lokr", "full"}
            if len(layers) == len(facts.groups):  # then what is left out is everything
                effects = {p: NOTHING if e == LEAVES_OUT else e for p, e in effects.items()}
            readers = ", ".join(program for program in PROGRAMS if program not in effects)
            severity: Severity = "note" if usual else "warning"
            if set(effects.values()) == {NOTHING}:
                severity = "error"
            yield Finding(
                severity,
                "kinds",
                f"{len(layers)} of {len(facts.groups)} layers are {title}: {name_some(layers)}"
                + (f"; read by {readers}." if readers else "."),
                effects,
            )


def check_tucker(facts: FileFacts) -> Iterator[Finding]:
    """No convolution has a Tucker core."""
    cores = {"lora_mid.weight", "hada_t1", "hada_t2", "lokr_t2"}
    layers = [s for s, group in facts.groups.items() if cores & set(group.keys)]
    plain = any("lora_mid.weight" in facts.groups[spelling].keys for spelling in layers)
    if layers:
        yield Finding(
            "warning",
            "tucker",
            f"{len(layers)} convolutions have Tucker cores: {name_some(layers)}.",
            {"diffusers": REFUSES, "sd-scripts": REFUSES if plain else _IGNORES},
        )


def check_dora(facts: FileFacts) -> Iterator[Finding]:
    """The lengths of DoRA stand per input channel, which is read exactly where DoRA is read."""
    scales = {
        spelling: facts.shapes[group.keys["dora_scale"]]
        for spelling, group in facts.groups.items()
        if "dora_scale" in group.keys
    }
    flat = [spelling for spelling, shape in scales.items() if len(shape) < 2]
    output = [s for s, shape in scales.items() if len(shape) >= 2 and shape[0] != 1]
    if flat:
        broken = dict.fromkeys(("ComfyUI", "Forge", "A1111", "InvokeAI"), WRONG)
        yield Finding(
            "error", "dora", f"dora_scale has one axis only: {name_some(flat)}.",
            {**broken, "diffusers": _NO_SCALE, "sd-scripts": _NO_SCALE},
        )  # fmt: skip
    if output:
        off = Effect("partly", "off by some percent")
        yield Finding(
            "error",
            "dora",
            f"The lengths of DoRA stand per output channel: {name_some(output)}.",
            {"A1111": WRONG, "InvokeAI": WRONG, "ComfyUI": off, "Forge": off,
             "diffusers": _NO_SCALE, "sd-scripts": _NO_SCALE},
        )  # fmt: skip
    if scales and not flat and not output:
        yield Finding(
            "note",
            "dora",
            f"{len(scales)} of {len(facts.groups)} layers are DoRA.",
            {"diffusers": _NO_SCALE, "sd-scripts": _NO_SCALE},
        )


def check_parts(facts: FileFacts) -> Iterator[Finding]:
    """Every layer has all the tensors that its kind needs, and their ranks meet."""
    bad = [s for s, group in facts.groups.items() if not group.is_complete()]
    if bad:
        parts = ", ".join(sorted(facts.groups[bad[0]].keys))
        yield Finding(
            "error",
            "parts",
            f"{len(bad)} layers are incomplete: {name_some(bad)} has only {parts}.",
            _REFUSED | {"ComfyUI": LEAVES_OUT, "sd-scripts": LEAVES_OUT},
        )
    torn = [s for s, group in facts.groups.items() if not _ranks_meet(facts, group)]
    if torn:
        yield Finding(
            "error",
            "parts",
            f"Up and down have different ranks: {name_some(torn)}.",
            _REFUSED | {"ComfyUI": LEAVES_OUT},
        )


def _ranks_meet(facts: FileFacts, group: KeyGroup) -> bool:
    if "lora_up.weight" not in group.keys or "lora_down.weight" not in group.keys:
        return True
    up = facts.shapes[group.keys["lora_up.weight"]]
    down = facts.shapes[group.keys["lora_down.weight"]]
    return len(up) > 1 and len(down) > 1 and up[1] == down[0]


def check_shapes(facts: FileFacts) -> Iterator[Finding]:
    """Every layer has the shape that it has in the family's model."""
    wrong, flattened = [], []
    for spelling, layer in facts.layers.items():
        shape = facts.expected.get(layer)
        group = facts.groups[spelling]
        if shape is None or group.kind not in NEEDED_PARTS or not group.is_complete():
            continue
        if not has_size(measure(group, facts.shapes), shape):
            wrong.append(spelling)
        elif "lora_down.weight" in group.keys:
            axes = len(facts.shapes[group.keys["lora_down.weight"]])
            flattened += [spelling] * (axes != len(shape))
    if wrong:
        rows, row = measure(facts.groups[wrong[0]], facts.shapes)
        expected = " × ".join(str(size) for size in facts.expected[facts.layers[wrong[0]]])
        yield Finding(
            "error",
            "shapes",
            f"{len(wrong)} layers do not have the size of {facts.guess.title}: "
            f"{name_some(wrong)} changes a weight of {rows} × {row} instead of {expected}.",
            {"diffusers": REFUSES, "sd-scripts": REFUSES, "Forge": REFUSES, "A1111": REFUSES,
             "ComfyUI": LEAVES_OUT, "InvokeAI": LEAVES_OUT},
        )  # fmt: skip
    if flattened:
        yield Finding(
            "error",
            "shapes",
            "1 × 1 convolutions must have four axes and linear layers two: "
            f"{name_some(flattened)}.",
            {"diffusers": REFUSES, "sd-scripts": REFUSES},
        )


def check_finite(facts: FileFacts) -> Iterator[Finding]:
    """Every weight is a number."""
    if facts.broken:
        yield Finding(
            "error",
            "finite",
            f"{len(facts.broken)} tensors hold NaN or infinity: {name_some(facts.broken)}.",
            dict.fromkeys(PROGRAMS, Effect("partly", "black or broken images")),
        )


def check_alphas(facts: FileFacts) -> Iterator[Finding]:
    """Every layer has one alpha, which is not 0."""
    bad = [spelling for spelling, alpha in facts.alphas.items() if alpha is None]
    if bad:
        yield Finding(
            "error", "alphas", f"alpha is not a single number: {name_some(bad)}.", _REFUSED,
        )  # fmt: skip
    # OFT has a limit there, and 0 is none.
    zero = [s for s, alpha in facts.alphas.items() if alpha == 0 and facts.groups[s].kind != "oft"]
    if zero:
        whole = Effect("partly", "the rank taken for it, so that these layers have an effect")
        yield Finding(
            "warning",
            "alphas",
            f"alpha is 0, which switches these layers off: {name_some(zero)}.",
            {"sd-scripts": whole},
        )
    needing = [s for s in facts.kohya if facts.groups[s].kind in {"lora", "loha"}]
    lacking = [spelling for spelling in needing if spelling not in facts.alphas]
    if lacking:
        yield Finding(
            "note",
            "alphas",
            f"{len(lacking)} layers have no alpha, and every program takes the rank for it: "
            f"{name_some(lacking)}.",
        )


def check_even_alphas(facts: FileFacts) -> Iterator[Finding]:
    """Attention of one model has one alpha: diffusers takes the commonest for all."""
    models: dict[str, dict[str, float]] = {}
    for spelling, alpha in facts.alphas.items():
        layer = facts.layers.get(spelling)
        if layer and alpha is not None and facts.groups[spelling].kind == "lora":
            models.setdefault(layer.partition(".")[0], {})[layer] = alpha
    uneven = []
    for alphas in models.values():
        common = Counter(alphas.values()).most_common(1)[0][0]
        uneven += [
            layer
            for layer, alpha in alphas.items()
            if alpha != common and (layer.startswith("text_") or _ATTENTION.search(layer))
        ]
    if uneven:
        yield Finding(
            "warning",
            "even_alphas",
            f"{len(uneven)} layers of attention have another alpha than most: {name_some(uneven)}.",
            {"diffusers": Effect("partly", "these layers at a wrong strength")},
        )


def check_peft_alphas(facts: FileFacts) -> Iterator[Finding]:
    """A diffusers file has its strengths in the header, and a kohya file does not."""
    has_peft_metadata = "lora_adapter_metadata" in facts.metadata
    if facts.alphas and has_peft_metadata:
        yield Finding(
            "error",
            "peft_alphas",
            "Both alpha tensors and lora_adapter_metadata are there.",
            {"diffusers": REFUSES},
        )
    peft = [name for name, each in facts.parsed.items() if SPELLINGS[each.spelling].peft]
    own = [name for name in peft if facts.parsed[name].spelling == "peft"]
    if own and not has_peft_metadata and not facts.header.path.with_name(CONFIG_NAME).is_file():
        yield Finding(
            "warning",
            "peft_alphas",
            f"The strengths of PEFT's own files are in {CONFIG_NAME}, which is not beside this "
            "one: alpha is taken to be the rank.",
        )
    ranks = {read_rank(facts.groups[name], facts.shapes) for name in peft} - {0}
    if not facts.kohya and not has_peft_metadata and len(ranks) > 1:
        yield Finding(
            "warning",
            "peft_alphas",
            "Ranks differ and lora_adapter_metadata is missing.",
            {
                "diffusers": Effect(
                    "partly", "one rank taken for all, in versions before the middle of 2026"
                )
            },
        )
