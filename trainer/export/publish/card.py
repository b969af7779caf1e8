"""What is written about a file for people: a model card for the Hub, a form to fill for Civitai."""

import json
import re
from collections.abc import Collection, Sequence
from urllib.parse import quote

from trainer.export.publish.publication import Publication
from trainer.formats.families import FAMILIES

PEFT_NAME = "pytorch_lora_weights.safetensors"  # the name that diffusers looks for
_HUB_LICENSE = re.compile(r"^[a-z0-9][a-z0-9.-]*$")


def write_model_card(
    publication: Publication, prompts: Sequence[tuple[str, str]], formats: Collection[str]
) -> str:
    """Returns a README for the Hub: front matter that it reads, and a page for people.

    Args:
        publication: The file.
        prompts: For each image, its place in the repository and its prompt.
        formats: Those that the weights are there in: "kohya" and "peft", which is diffusers'.
    """
    sections = [
        f"# {_flatten(publication.title)}",
        "<Gallery />" if prompts else "",
        publication.description,
        _write_trigger(publication),
        _write_downloads(publication, formats),
        _write_example(publication) if "peft" in formats else "",
        _write_facts(publication),
    ]
    page = "\n\n".join(section for section in sections if section)
    return f"{_write_front_matter(publication, prompts)}\n{page}\n"


def write_civitai_form(publication: Publication, digest: str) -> str:
    """Returns what a person pastes into Civitai's form, field by field.

    Args:
        publication: The file.
        digest: sha256 over the file's tensors, which is Civitai's AutoV3 when cut.
    """
    answers = {
        "Name": _flatten(publication.title),
        "Type": "LoRA",
        "Base model": f"{publication.labels.civitai} (choose the entry of your base model if it "
        "has one)",
        "Trigger words": publication.trigger or "none",
        "Recommended strength": f"{publication.weight:g}",
        "Creator": publication.author,
        "Licence": publication.license,
        "Usage": publication.usage_hint,
        "Negative prompt": publication.negative_prompt,
        **publication.facts,
        "AutoV3": digest[:12].upper(),
    }
    lines = [f"{label}: {value}" for label, value in answers.items() if value]
    about = ["", "About your version / description:", publication.description]
    return "\n".join(lines + (about if publication.description else [])) + "\n"


def _write_front_matter(publication: Publication, prompts: Sequence[tuple[str, str]]) -> str:
    """Returns YAML whose texts are JSON strings, which YAML reads as they are."""
    tags = ["text-to-image", "diffusers", "lora", "template:sd-lora", *publication.labels.hub]
    lines = ["---", *_name_license(publication.license)]
    if publication.base_model:
        lines += [f"base_model: {_quote(publication.base_model)}", "base_model_relation: adapter"]
    lines += ["library_name: diffusers", "pipeline_tag: text-to-image"]
    if publication.trigger:
        lines.append(f"instance_prompt: {_quote(publication.trigger)}")
    lines += ["tags:", *(f"- {tag}" for tag in tags)]
    if prompts:
        lines.append("widget:")
    for url, prompt in prompts:
        lines += [f"- text: {_quote(prompt or ' ')}", "  output:", f"    url: {_quote(url)}"]
    return "\n".join([*lines, "---", ""])


def _name_license(text: str) -> list[str]:
    """The Hub knows licences by short words; any other text is the name of an "other" licence."""
    if not text:
        return []
    if _HUB_LICENSE.match(text):
        return [f"license: {text}"]
    return ["license: other", f"license_name: {_quote(text)}"]


def _write_trigger(publication: Publication) -> str:
    hint = publication.usage_hint
    if not publication.trigger and not hint:
        return ""
    word = f"Use `{publication.trigger}` in the prompt." if publication.trigger else ""
    own = hint if publication.trigger not in hint or not publication.trigger else ""
    weight = "" if "Recommended weight" in own else f"Recommended weight: {publication.weight:g}."
    heading = "Trigger words" if publication.trigger else "Use"
    return f"## {heading}\n\n" + " ".join(part for part in (word, own, weight) if part)


def _write_downloads(publication: Publication, formats: Collection[str]) -> str:
    name = f"{publication.file.stem}.safetensors"
    rows = []
    if "kohya" in formats:
        rows.append(
            f"- [{name}](./{quote(name)}) for A1111, Forge, ComfyUI, InvokeAI and other programs "
            "(kohya format)"
        )
    if "peft" in formats:
        rows.append(f"- [{PEFT_NAME}](./{PEFT_NAME}) for diffusers")
    if publication.embedding:
        word = publication.embedding.name
        rows.append(f"- [{word}](./{quote(word)}), the embedding of the trigger word: needed, too")
    return "## Download model\n\n" + "\n".join(rows)


def _write_example(publication: Publication) -> str:
    base = publication.base_model or "your base model"
    prompt = f"{publication.trigger}, a landscape" if publication.trigger else "a landscape"
    word = _write_word_loading(publication)
    return (
        "## Use with diffusers\n\n"
        "```python\n"
        "from diffusers import AutoPipelineForText2Image\n\n"
        f"pipeline = AutoPipelineForText2Image.from_pretrained({_quote(base)})\n"
        'pipeline.load_lora_weights("this repository", '
        f"weight_name={_quote(PEFT_NAME)})\n"
        f"{word}"
        f"image = pipeline({_quote(prompt)}).images[0]\n"
        "```"
    )


def _write_word_loading(publication: Publication) -> str:
    """Returns the lines that load the embedding, one per text encoder."""
    if publication.embedding is None:
        return ""
    where = (
        f'"this repository", weight_name={_quote(publication.embedding.name)}, '
        f"token={_quote(publication.trigger)}"
    )
    if not FAMILIES[publication.family].has_two_encoders:
        return f"pipeline.load_textual_inversion({where})\n"
    return (
        "from huggingface_hub import hf_hub_download\n"
        "from safetensors.torch import load_file\n\n"
        f'path = hf_hub_download("this repository", {_quote(publication.embedding.name)})\n'
        "word = load_file(path)\n"
        'for key, part in (("clip_l", ""), ("clip_g", "_2")):\n'
        "    pipeline.load_textual_inversion(\n"
        f"        word[key], token={_quote(publication.trigger)},\n"
        '        text_encoder=getattr(pipeline, f"text_encoder{part}"),\n'
        '        tokenizer=getattr(pipeline, f"tokenizer{part}"),\n'
        "    )\n"
    )


def _write_facts(publication: Publication) -> str:
    if not publication.facts:
        return ""
    rows = "\n".join(
        f"| {label} | {_flatten(value)} |" for label, value in publication.facts.items()
    )
    by = f" by {_flatten(publication.author)}" if publication.author else ""
    return f"## Training\n\nTrained{by} with Lorasmith.\n\n| | |\n|---|---|\n{rows}"


def _quote(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)


def _flatten(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")
