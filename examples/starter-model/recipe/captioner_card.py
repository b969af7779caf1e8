"""The captioner's model card: what it captions, how often it is right, and its limits."""

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from datasets_tools.captioners.starter_files import DESCRIPTION, WEIGHTS, read_description
from datasets_tools.files import write_atomically
from recipe.packages import SETS, Package
from recipe.settings import Settings

_INTRODUCTION = """\
---
license: other
license_name: apache-2.0-mit-cc-by-4.0
---

# The starter captioner

A small network that names the single subject of an image, and the colour of a plain background: `a
cat face, on a blue background`. It comes with the starter model, so that captions can be suggested
without a download, and is trained on the same drawings: **it knows emoji and nothing else**. Of
photographs and of images with several things in them its captions are empty or wrong. For
real data sets take one of the captioners that `lorasmith captioners` lists.

```
lorasmith caption my-images --captioner starter
```
"""


def write_captioner_card(
    packages: Sequence[Package],
    settings: Settings,
    labels: int,
    measured: Mapping[str, Mapping[str, float]],
    examples: Sequence[tuple[str, str]],
) -> str:
    """Returns the text of the card.

    Args:
        packages: All sets, those that were only measured on included.
        settings: The recipe.
        labels: Number of labels.
        measured: From `measure_captioner`.
        examples: Names of unseen drawings, and the caption of each.
    """
    parts = (
        _INTRODUCTION,
        _describe_measurements(measured, settings, labels),
        _list_examples(examples),
        _describe_training(packages, settings, labels),
    )
    return "\n".join(parts)


def finish_captioner(trained: Path, folder: Path, threshold: float) -> None:
    """Copies a trained captioner into a folder and gives it its threshold."""
    folder.mkdir(exist_ok=True)
    description = replace(read_description(trained), threshold=threshold)
    shutil.copyfile(trained / WEIGHTS, folder / WEIGHTS)
    write_atomically(folder / DESCRIPTION, description.to_json())


def _describe_measurements(
    measured: Mapping[str, Mapping[str, float]], settings: Settings, labels: int
) -> str:
    rows = [
        f"| {style} | {row['images']:.0f} | {row['top1']:.1%} | {row['top5']:.1%} "
        f"| {row['captioned']:.1%} | {row['right']:.1%} |"
        for style, row in measured.items()
        if "top1" in row
    ]
    unknown: Mapping[str, Any] = measured.get("unknown", {"images": 0, "captioned": 0})
    ground = measured["ground"]
    return f"""\
## How often it is right

On whole sets of emoji that it was not trained on, in styles of their own, of things that it has a
label for ({labels} labels, so chance is {1 / labels:.2%}):

| set | drawings | right label first | among five | captioned | of these, right |
|---|---|---|---|---|---|
{chr(10).join(rows)}

It gives a caption where the most probable label has at least {settings.captioner.threshold:.0%}.
Of {unknown["images"]:.0f} emoji without a label it still captioned
{unknown["captioned"]:.1%}, and that is wrong. The background was named rightly behind
{ground["right"]:.1%} of {ground["images"]:.0f} drawings, on ten colours.
"""


def _list_examples(examples: Sequence[tuple[str, str]]) -> str:
    rows = [f"| {name} | {caption or '–'} |" for name, caption in examples]
    return f"""\
Drawings of those sets, chosen by the seed, with their captions (– is none):

| name in the set | caption |
|---|---|
{chr(10).join(rows)}
"""


def _describe_training(packages: Sequence[Package], settings: Settings, labels: int) -> str:
    captioner, styles = settings.captioner, settings.data.styles
    used = [
        f"{SETS[each.key].npm} {SETS[each.key].version} ({SETS[each.key].author}, {each.licence})"
        for each in packages
        if each.key in styles
    ]
    widths = ", ".join(map(str, captioner.widths))
    return f"""\
## How it was made

By `build.py --only captioner`, seed {settings.seed}: a residual network with {widths} channels over
64 × 64 pixels, {captioner.steps} steps of {captioner.batch_size} drawings. Every drawing is turned,
stretched, recoloured, and often outlined or made pale, so that the thing is what stays the same in
all styles. The concepts that the starter model's data hold out are held out here as well. Its
{labels} labels are in `captioner.json`.

Drawings: {"; ".join(used)}. They were rendered to pixels and changed as described.
"""
