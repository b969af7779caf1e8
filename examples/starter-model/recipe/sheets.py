"""Contact sheets: what a person looks at to judge the model."""

from pathlib import Path

from diffusers import AutoencoderKL
from PIL import Image

from recipe.captions import prompt_for
from recipe.composing import compose_on_white, to_bytes
from recipe.evaluate import Subjects
from recipe.packages import SETS
from recipe.render import Pixels
from recipe.sampling import Networks, generate_images, rebuild
from recipe.training import DeviceContext
from trainer.inference.sampling import make_grid

NAMES = (
    "cat-face",
    "panda",
    "owl",
    "butterfly",
    "red-apple",
    "doughnut",
    "umbrella",
    "robot",
    "rocket",
    "house",
)
COMPOSED = (
    "a cat face and a dog face",
    "a red apple next to a banana",
    "a robot on the left and a rocket on the right",
    "an owl, on a purple background",
    "a butterfly, twemoji style, on a black background",
    "a large frog",
    "a small house, on a green background",
    "a tiny panda, on a red background",
    "a fox and an umbrella, on a yellow background",
    "a big doughnut, fluent style, on a blue background",
)
_UNSEEN_SHOWN = 12


def make_contact_sheet(
    subjects: Subjects, networks: Networks, context: DeviceContext
) -> Image.Image:
    """Returns ten names in no named style and in each style, and below them composed prompts."""
    settings = subjects.settings
    styles = ("", *settings.data.styles)
    prompts = [prompt_for(name, style) for style in styles for name in NAMES]
    images = generate_images(
        networks, [*prompts, *COMPOSED], settings.evaluation, settings.seed + 2, context
    )
    rows = [_to_images(row) for row in _cut(images, len(NAMES))]
    names = [SETS[style].phrase if style else "no style named" for style in styles]
    columns = [name.replace("-", " ") for name in NAMES]
    return make_grid(rows, [*names, "composed, see the list"], columns)


def make_vae_sheet(subjects: Subjects, vae: AutoencoderKL) -> Image.Image:
    """Returns drawings of unseen sets or concepts above what the VAE makes of them."""
    data = subjects.settings.data
    rows, names = [], []
    for style in (*data.measured_styles, data.styles[0]):
        unseen = subjects.list_unseen(style)
        chosen = unseen[:: max(1, len(unseen) // _UNSEEN_SHOWN)][:_UNSEEN_SHOWN]
        if chosen:
            originals = compose_on_white(subjects.sprites, chosen)
            for name, shown in (("", originals), (" rebuilt", rebuild(vae, originals))):
                images = _to_images(to_bytes(shown).cpu().numpy())
                white = Image.new("RGB", images[0].size, "white")
                rows.append(images + [white] * (_UNSEEN_SHOWN - len(images)))
                names.append(f"{style}{name}")
    if not rows:
        rows, names = [[Image.new("RGB", (128, 128), "white")] * _UNSEEN_SHOWN], ["nothing unseen"]
    return make_grid(rows, names, [""] * _UNSEEN_SHOWN)


def save_sheets(
    folder: Path, subjects: Subjects, networks: Networks, context: DeviceContext
) -> None:
    """Writes `contact-sheet.png` and `vae-sheet.png`."""
    sheet = make_contact_sheet(subjects, networks, context)
    sheet.save(folder / "contact-sheet.png", optimize=True)
    make_vae_sheet(subjects, networks.vae).save(folder / "vae-sheet.png", optimize=True)


def _cut(images: Pixels, width: int) -> list[Pixels]:
    return [images[start : start + width] for start in range(0, len(images), width)]


def _to_images(images: Pixels) -> list[Image.Image]:
    return [Image.fromarray(image) for image in images]
