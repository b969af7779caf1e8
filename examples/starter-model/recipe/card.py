"""The model card: data, licences, abilities, limits, and how all that was measured."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from recipe.icons import Icon
from recipe.packages import SETS, Package
from recipe.settings import PRESETS, Settings
from recipe.sheets import COMPOSED

_INTRODUCTION = """\
---
library_name: diffusers
pipeline_tag: text-to-image
license: other
license_name: apache-2.0-mit-cc-by-4.0
---

# The starter model

A complete Stable Diffusion in miniature: CLIP text encoder, UNet and VAE in the layout of
diffusers, trained from scratch on openly licensed emoji. It generates 128 × 128 pixels on two
processor cores in seconds. It is a tour and a measuring instrument, not a model for real work: its
world is emoji.

In all but size it is a Stable Diffusion 1: epsilon prediction on SD's noise schedule, a VAE of
factor 8 with 4 channels, 77 text positions, a byte-level CLIP tokenizer. The folder `captioner`
holds a small network of its own that names what is in such images; its card states how often it is
right.

![ten prompts in each style, then composed prompts](contact-sheet.png)
"""

_LIMITS = """\
## What it cannot do

- It knows the names below its data, as the sets spell them, and few other words. Whole sentences,
  counting, text in images and relations other than "on the left" and "on the right" mean nothing.
- It repeats drawings that it has seen: it was made to know them, so do not expect new designs.
- Two objects stand side by side only as small drawings of one style.
- Edges are softer than the drawings', and small marks may be missing or blurred.
- Thin lines and small faces suffer from the VAE; see the image below.
- People are there as single emoji; skin tones, families, flags, letters, buttons and clock faces
  were left out, and so were `man-` and `woman-` variants.

![unseen drawings, and what the VAE makes of them](vae-sheet.png)
"""


def write_card(
    packages: Sequence[Package],
    icons: Sequence[Icon],
    settings: Settings,
    measured: Mapping[str, Any],
) -> str:
    """Returns the text of the card.

    Args:
        packages: All sets, those that were only measured on included.
        icons: All drawings.
        settings: The recipe.
        measured: From `evaluate`: "vae", by set, and "prompts".
    """
    parts = (
        _INTRODUCTION,
        _list_prompts(),
        _LIMITS,
        _describe_measurements(measured, settings),
        _describe_data(packages, icons, settings),
        _describe_training(settings),
    )
    return "\n".join(parts)


def _list_prompts() -> str:
    lines = "\n".join(f"{number}. {prompt}" for number, prompt in enumerate(COMPOSED, start=1))
    return f"""\
## Prompting it

`a cat face, noto style, on a blue background`: a name, then if you like a style and a background.
Guidance 4 and 25 DDIM steps are what it was measured with. The composed prompts of the sheet:

{lines}
"""


def _describe_measurements(measured: Mapping[str, Any], settings: Settings) -> str:
    prompts = measured["prompts"]
    rows = [
        ("right concept, nearest drawing", "concept_top1"),
        ("right concept, among the five nearest", "concept_top5"),
        ("right style, by the classifier", "style_right"),
        ("right style, nearest drawing of the concept", "style_nearest"),
        ("right background, of nine colours", "background_right"),
        ("white where no background is named", "white_background_right"),
    ]
    lines = [
        f"| {text} | {_percent(prompts, key)} | {_percent(prompts, f'reachable_{key}')} "
        f"| {_percent(prompts, f'chance_{key}')} |"
        for text, key in rows
    ]
    vae = [
        f"| {style} | {row['psnr_db']:.1f} dB | {row['images']} |"
        for style, row in measured["vae"].items()
    ]
    evaluation = settings.evaluation
    return f"""\
## How it was measured

{prompts["prompts"]:.0f} trained pairs of name and style, generated once each ("{{a name}},
{{style}}"), guidance {evaluation.guidance:g}, {evaluation.inference_steps} DDIM steps. `build.py
--preset {_name_preset(settings)} --measure FOLDER` measures a finished model again; the classifier
is trained anew for it, so that its rows may differ by a percent.

| | model | reachable | by chance |
|---|---|---|---|
{chr(10).join(lines)}

- *Concept*: the image's nearest neighbour among all drawings of that style, also those that no
  caption named, in a feature space in which nothing is learned (colours of 16 × 16 cells, edge
  directions of 8 × 8 cells).
- *Style*: a small classifier, trained on all drawings but the held-out ones, as the VAE shows
  them, softened, tinted and warped a little (it knows {_percent(prompts, "unseen_style_right")} of
  the held-out ones); and the nearest of all styles' drawings of that concept, in the same feature
  space.
- *Background*: the named colour nearest to the median of the corners.
- *Reachable* is the same for real drawings seen through the VAE; *by chance* is the same for
  images of other prompts, or, for style and background, one in as many as there are.

The VAE on images that no training showed (held-out concepts, and whole held-out sets):

| set | PSNR | images |
|---|---|---|
{chr(10).join(vae)}
"""


def _describe_data(packages: Sequence[Package], icons: Sequence[Icon], settings: Settings) -> str:
    lines = []
    for package in packages:
        own = [icon for icon in icons if icon.style == package.key]
        trained = package.key in settings.data.styles
        used = sum(not icon.held_out for icon in own) if trained else 0
        captioned = sum(icon.captioned for icon in own) if trained else 0
        icon_set = SETS[package.key]
        lines.append(
            f"| {icon_set.npm} {icon_set.version} | {icon_set.author} "
            f"| [{package.licence}]({package.licence_url}) | {icon_set.phrase or '–'} | {used} "
            f"| {captioned} |"
        )
    shown = [
        f"{SETS[each.key].npm}, by {SETS[each.key].author}, under {each.licence}"
        for each in packages
        if each.key in settings.data.measured_styles
    ]
    ours = [icon for icon in icons if icon.style in settings.data.styles]
    unseen = sorted({icon.name for icon in ours if icon.held_out})
    captioned = sorted({icon.name for icon in ours if icon.captioned})
    return f"""\
## What it was trained on

| npm package | author | licence | in captions | drawings, VAE | drawings, UNet |
|---|---|---|---|---|---|
{chr(10).join(lines)}

Changes to the drawings: rendered to pixels, placed on coloured backgrounds, made larger and
smaller, put side by side; edges of some were drawn over in ink while the VAE was trained. Sets with
0 drawings were only used to measure. The tokenizer is a part of the vocabulary of CLIP (Copyright
OpenAI, MIT).

The image that compares unseen drawings with what the VAE makes of them shows some of the sets
that were only measured on: {"; ".join(shown) or "none"}.

Captions name ({len(captioned)} names, and the sets' synonyms for them): {", ".join(captioned)}.

Held out in every set, under every name ({len(unseen)} names): {", ".join(unseen) or "none"}.
"""


def _describe_training(settings: Settings) -> str:
    unet, refine, vae = settings.unet, settings.refine, settings.vae
    more = f", then {refine.steps} more with weighting {refine.weighting}" if refine.steps else ""
    material = f"pieces of {vae.crop} pixels or a quarter as many images" if vae.crop else "images"
    return f"""\
## How it was made

`python examples/starter-model/build.py --preset {_name_preset(settings)}`, seed {settings.seed}.
VAE: {vae.steps} steps of {vae.batch_size} {material}. UNet and text encoder together: {unet.steps}
steps of {unet.batch_size} images, min-SNR {unet.min_snr_gamma:g}, {unet.empty_captions:.0%} empty
captions{more}; running average of the weights; hidden matrices by Muon, all else by AdamW. Every
number of the recipe is in `recipe/settings.py`.
"""


def _name_preset(settings: Settings) -> str:
    """Returns the preset that these settings are, apart from the seed."""
    for name, preset in PRESETS.items():
        if replace(settings, seed=preset.seed) == preset:
            return name
    return "... (with changed settings)"


def _percent(row: Mapping[str, float], key: str) -> str:
    return f"{row[key]:.1%}" if key in row else "–"
