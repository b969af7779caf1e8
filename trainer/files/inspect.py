"""What an adapter file is, and which programs read it, without a base model."""

import json
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path

from trainer.export.errors import ExportError
from trainer.files.inspection import Component, Inspection, Verdict
from trainer.files.read.family import read_rank
from trainer.files.read.identity import explain_no_adapter
from trainer.files.verify import judge
from trainer.files.verify.facts import FileFacts, collect_facts
from trainer.files.verify.findings import PROGRAMS, Finding
from trainer.formats.architectures import list_layers
from trainer.formats.precision import name_precision
from trainer.formats.predictions import read_stated_prediction
from trainer.formats.spellings import KOHYA, SPELLINGS

_COMPONENTS = {
    "unet": "UNet",
    "text_encoder": "text encoder",
    "text_encoder_2": "second text encoder",
    "": "unknown layers",
}
_KIND_TITLES = {
    "lora": "LoRA",
    "loha": "LoHa",
    "lokr": "LoKr",
    "full": "full difference",
    "norm": "normalisation",
    "oft": "OFT",
    "glora": "GLoRA",
    "ia3": "(IA)³",
    "oft_diag": "OFT",
    "oft_other": "OFT",
    "ia3_other": "(IA)³",
    "vera": "VeRA",
    "bias": "bias difference",
    "set": "replaced weight",
    "": "unknown",
}
# Header keys about the training, and their names here.
_TRAINING = {
    "ss_steps": "steps",
    "ss_max_train_steps": "planned steps",
    "ss_epoch": "epochs",
    "ss_num_train_images": "images",
    "ss_resolution": "resolution",
    "ss_total_batch_size": "batch size",
    "ss_optimizer": "optimiser",
    "ss_unet_lr": "learning rate",
    "ss_text_encoder_lr": "learning rate of the text encoder",
    "ss_lr_scheduler": "schedule",
    "ss_noise_offset": "noise offset",
    "ss_min_snr_gamma": "min-SNR gamma",
    "ss_clip_skip": "clip skip",
    "ss_seed": "seed",
    "modelspec.implementation_version": "made by",
    "ss_network_module": "network module",
    "modelspec.date": "date",
    "modelspec.author": "author",
    "modelspec.license": "licence",
}


def inspect_file(path: Path) -> Inspection:
    """Returns what an adapter file is.

    Raises:
        ExportError: the file is missing, damaged or no adapter.
    """
    facts = collect_facts(path)
    message = explain_no_adapter(facts.header, facts.groups)
    if message:
        raise ExportError(message)
    findings = judge(facts)
    text = facts.metadata
    kinds = Counter(_name_kind(facts, spelling) for spelling in facts.groups)
    return Inspection(
        name=path.name,
        bytes=path.stat().st_size,
        title=text.get("modelspec.title") or text.get("ss_output_name", ""),
        family=facts.guess.title,
        certain=facts.guess.certain,
        by_header=facts.guess.by_header,
        words=list(facts.words),
        kinds=[kind for kind, _ in kinds.most_common()],
        naming=_name_naming(facts),
        precision=_find_precision(facts),
        components=list(_describe_components(facts)),
        trigger=text.get("modelspec.trigger_phrase", ""),
        tags=_list_tags(text),
        prediction=read_stated_prediction(text),
        base_model=text.get("ss_sd_model_name", ""),
        training={name: text[key] for key, name in _TRAINING.items() if _matches(text, key)},
        settings="lorasmith.config" in text,
        digest=facts.digest,
        stated_digest=text.get("sshs_model_hash", ""),
        programs=[] if facts.guess.unsupported else [_judge_program(p, findings) for p in PROGRAMS],
        findings=[finding.to_line() for finding in findings],
    )


def _judge_program(program: str, findings: list[Finding]) -> Verdict:
    effects = [(each, each.effects[program]) for each in findings if program in each.effects]
    loads = "no" if any(effect.loads == "no" for _, effect in effects) else "partly"
    reasons = [
        f"{effect.text[0].upper()}{effect.text[1:]}: {finding.message}"
        for finding, effect in effects
    ]
    return Verdict(program, loads if effects else "yes", reasons)


def _describe_components(facts: FileFacts) -> Iterator[Component]:
    family = facts.guess.family
    sizes = Counter(layer.partition(".")[0] for layer in list_layers(family)) if family else {}
    for model, title in _COMPONENTS.items():
        spellings = [s for s in facts.groups if facts.layers.get(s, "").partition(".")[0] == model]
        if not spellings:
            continue
        ranks = Counter(read_rank(facts.groups[s], facts.shapes) for s in spellings)
        alphas = Counter(a for s in spellings if (a := facts.alphas.get(s)) is not None)
        yield Component(
            name=title,
            modules=len(spellings),
            of=sizes.get(model, 0) if facts.expected else 0,
            kinds=dict(Counter(_name_kind(facts, s) for s in spellings).most_common()),
            ranks=dict(sorted(ranks.items())),
            alphas=dict(sorted(alphas.items())),
        )


def _name_kind(facts: FileFacts, spelling: str) -> str:
    group = facts.groups[spelling]
    title = _KIND_TITLES[group.kind]
    if group.has_magnitude:
        return "DoRA" if group.kind == "lora" else f"DoRA of {title}"
    return title


def _name_naming(facts: FileFacts) -> str:
    """Returns whose names: the title of a spelling, "mixed" or "unknown"."""
    used = {each.spelling for each in facts.parsed.values()}
    if not used:
        return "unknown"
    if used <= KOHYA:
        return "kohya" + (" (original blocks)" if facts.blocks == {"original"} else "")
    if used & KOHYA:
        return "mixed"
    first = min(used, key=list(SPELLINGS).index)
    return "diffusers" if used == {"diffusers"} else SPELLINGS[first].title


def _find_precision(facts: FileFacts) -> str:
    """Returns the number format of most bytes, as sites do."""
    sizes: Counter[str] = Counter()
    for entry in facts.header.tensors.values():
        sizes[entry.dtype] += entry.end - entry.start
    return name_precision(sizes.most_common(1)[0][0])


def _list_tags(metadata: Mapping[str, str]) -> list[str]:
    """Returns the five commonest tags, whatever form the table has."""
    try:
        folders = json.loads(metadata.get("ss_tag_frequency", "{}"))
    except (ValueError, RecursionError):
        return []
    counts: Counter[str] = Counter()
    for tags in folders.values() if isinstance(folders, dict) else []:
        for tag, count in tags.items() if isinstance(tags, dict) else []:
            counts[str(tag)] += count if isinstance(count, int) else 0
    return [tag for tag, _ in counts.most_common(5)]


def _matches(metadata: Mapping[str, str], key: str) -> bool:
    return metadata.get(key, "None") not in {"", "None"}
