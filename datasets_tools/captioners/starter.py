"""The starter captioner: it comes along, needs no network, and knows emoji and nothing else.

It was trained on the emoji that the starter model was trained on (examples/starter-model). It
names the single subject of an image and the colour of a plain background.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from datasets_tools.captioners.options import CaptionerOptions, Describe
from datasets_tools.captioners.starter_files import WEIGHTS, explain_damage, read_description
from datasets_tools.captioners.wording import cut_caption

if TYPE_CHECKING:
    from torch import nn

_PLAIN = 24.0  # how far from its median a plain background may be, in 0 .. 255
_NEAREST = 90.0  # how far from a named colour


def load_starter(folder: Path, options: CaptionerOptions) -> Describe:
    """Returns the captioner that lies in a folder.

    Args:
        folder: With `captioner.json` and `model.safetensors`.
        options: All but `prompt` are heeded.

    Raises:
        DatasetError: the folder holds no such captioner, it is damaged, or there is no such device.
    """
    import torch

    from datasets_tools.captioners.pretrained import choose_device
    from datasets_tools.captioners.starter_network import SIZE, recognise

    description = read_description(folder)
    network = read_network(folder)
    # It takes milliseconds on a processor; a graphics card may be busy with a training.
    device = choose_device("cpu" if options.device == "auto" else options.device)
    network = network.to(device)
    threshold = options.threshold or description.threshold

    def describe(image: Image.Image) -> str:
        looked_at = torch.from_numpy(prepare_image(image, SIZE)).unsqueeze(0)
        probabilities = recognise(network, looked_at.to(device))[0]
        if float(probabilities.max()) < threshold:
            return ""
        label = description.labels[int(probabilities.argmax())]
        ground = name_ground(image, description.colours)
        if ground not in {"", "white"}:
            label += f", on {'an' if ground[0] in 'aeiou' else 'a'} {ground} background"
        return cut_caption(label, options.max_words)

    return describe


def read_network(folder: Path) -> "nn.Module":
    """Returns the network that lies in a folder, in fp32 on the processor, frozen.

    Raises:
        DatasetError: there is none, or it is damaged.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    from datasets_tools.captioners.starter_network import build_network

    description = read_description(folder)
    network = build_network(description.widths, len(description.labels))
    try:
        weights = load_file(folder / WEIGHTS)
        network.load_state_dict({name: value.float() for name, value in weights.items()})
    except (OSError, SafetensorError, RuntimeError) as error:
        raise explain_damage(folder / WEIGHTS) from error
    return network.eval().requires_grad_(requires_grad=False)


def name_ground(image: Image.Image, colours: Mapping[str, tuple[int, int, int]]) -> str:
    """Returns the name of a plain background's colour; "" where it is not plain, or has no name.

    Plain is where three quarters of the outermost pixels are near their median.
    """
    rim = _read_rim(image)
    median = np.median(rim, axis=0)
    if np.mean(np.abs(rim - median).max(axis=1) < _PLAIN) < 0.75:
        return ""
    distances = {name: float(np.linalg.norm(median - rgb)) for name, rgb in colours.items()}
    nearest = min(distances, key=lambda name: distances[name])
    return nearest if distances[nearest] < _NEAREST else ""


def prepare_image(image: Image.Image, size: int) -> NDArray[np.float32]:
    """Returns an image as the network looks at it, in -1 .. 1, [3, size, size].

    What is not square is filled up with the colour of its border, so that nothing is cut off.
    """
    edge = max(image.size)
    red, green, blue = np.median(_read_rim(image), axis=0).astype(int).tolist()
    square = Image.new("RGB", (edge, edge), (red, green, blue))
    square.paste(image, ((edge - image.width) // 2, (edge - image.height) // 2))
    small = square.resize((size, size), Image.Resampling.BOX)
    return (np.asarray(small).transpose(2, 0, 1) / 127.5 - 1).astype(np.float32)


def _read_rim(image: Image.Image) -> NDArray[np.float64]:
    """Returns the outermost pixels, [N, 3]."""
    pixels = np.asarray(image.convert("RGB")).astype(float)
    return np.concatenate((pixels[0], pixels[-1], pixels[:, 0], pixels[:, -1]))
