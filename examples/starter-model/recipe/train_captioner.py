"""The captioner: a small network that names the subject, whatever the style."""

from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import save
from torch import Tensor, nn
from torch.nn import functional

from datasets_tools.captioners.starter_files import DESCRIPTION, WEIGHTS, StarterDescription
from datasets_tools.captioners.starter_network import build_network
from datasets_tools.files import write_atomically
from recipe.captioner_images import disturb_drawings
from recipe.captions import name_subject
from recipe.colours import COLOURS
from recipe.composing import Sprites
from recipe.icons import Icon
from recipe.settings import Settings
from recipe.training import DeviceContext, Pace, TrainingState, learn, remove_checkpoint
from trainer.seeds import derive_seed

_DROPOUT = 0.2
_SMOOTHING = 0.1


@dataclass(frozen=True)
class Labels:
    """The labels.

    Attributes:
        phrases: With article, one per label.
        of_icon: The label of each icon; -1 where none is right, as for what is held out.
    """

    phrases: tuple[str, ...]
    of_icon: tuple[int, ...]


@dataclass(frozen=True)
class CaptionerTrainingSet:
    """What the captioner learns from.

    Attributes:
        sprites: All drawings.
        drawings: Indices of those that may be seen, [N].
        labels: The right answer to each, [N].
    """

    sprites: Sprites
    drawings: Tensor
    labels: Tensor


def name_labels(icons: Sequence[Icon], styles: Sequence[str]) -> Labels:
    """Returns a label for every concept that may be seen, and for a face beside the whole animal.

    The text of a label is the name that captions use most for it.

    Args:
        icons: All drawings, those of measured sets included.
        styles: Sets that are trained on.
    """
    split = _find_split(icons)
    keys = [(icon.concept, icon.concept in split and icon.name.endswith("-face")) for icon in icons]
    names: dict[tuple[str, bool], Counter[str]] = defaultdict(Counter)
    for icon, key in zip(icons, keys, strict=True):
        if icon.style in styles and not icon.held_out:
            names[key][icon.name] += 2 if icon.captioned else 1
    order = sorted(names)
    numbers = {key: number for number, key in enumerate(order)}
    best = (min(names[key], key=lambda name: (-names[key][name], name)) for key in order)
    return Labels(
        phrases=tuple(name_subject(name) for name in best),
        of_icon=tuple(numbers.get(key, -1) for key in keys),
    )


def train_captioner(
    icons: Sequence[Icon],
    sprites: Sprites,
    recipe: Settings,
    context: DeviceContext,
    folder: Path,
) -> None:
    """Trains the captioner and writes it as `datasets_tools.captioners.starter` reads it.

    Args:
        icons: All drawings' names.
        sprites: All drawings.
        recipe: Of network and training, the sets trained on, the seed.
        context: Where to compute, and when to stop.
        folder: For the result and for checkpoints.

    Raises:
        OutOfTimeError: the time is over; the next call goes on.
    """
    settings, seed = recipe.captioner, recipe.seed
    labels = name_labels(icons, recipe.data.styles)
    torch.manual_seed(derive_seed(seed, "captioner weights"))
    network = build_network(settings.widths, len(labels.phrases), _DROPOUT)
    network = network.to(context.device, memory_format=torch.channels_last).train()
    pace = Pace(
        steps=settings.steps,
        learning_rate=settings.learning_rate,
        matrix_learning_rate=settings.matrix_learning_rate,
        warmup_steps=settings.warmup_steps,
        average_decay=settings.average_decay,
        average_every=settings.average_every,
        checkpoint_every=settings.checkpoint_every,
    )
    usable = [
        index
        for index, icon in enumerate(icons)
        if icon.style in recipe.data.styles and labels.of_icon[index] >= 0
    ]
    expected = [labels.of_icon[index] for index in usable]
    training_set = CaptionerTrainingSet(sprites, torch.tensor(usable), torch.tensor(expected))
    loss_at = make_captioner_loss(network, training_set, settings.batch_size, seed, context)
    learn(TrainingState({"captioner": network}, pace), loss_at, context, folder)
    write_captioner(folder, network, labels, settings.widths)
    remove_checkpoint(folder)


def make_captioner_loss(
    network: nn.Module,
    training_set: CaptionerTrainingSet,
    batch_size: int,
    seed: int,
    context: DeviceContext,
) -> Callable[[int], Tensor]:
    """Returns the loss of a step: how wrongly a batch of disturbed drawings is named."""
    forward = context.prepare(network)

    def loss_at(step: int) -> Tensor:
        generator = torch.Generator().manual_seed(derive_seed(seed, "captioner batch", step))
        chosen = torch.randint(len(training_set.drawings), (batch_size,), generator=generator)
        # Dropout uses the global generator: from the step as well, for an exact resume.
        torch.manual_seed(derive_seed(seed, "captioner dropout", step))
        rows = training_set.drawings[chosen]
        images = disturb_drawings(training_set.sprites, rows, derive_seed(seed, "disturbed", step))
        images = images.to(memory_format=torch.channels_last)
        with context.autocast():
            logits = forward(images)
        return functional.cross_entropy(
            logits.float(),
            training_set.labels[chosen].to(context.device),
            label_smoothing=_SMOOTHING,
        )

    return loss_at


def write_captioner(
    folder: Path, network: nn.Module, labels: Labels, widths: tuple[int, ...]
) -> None:
    """Writes weights in fp16 and what stands beside them, without a threshold yet."""
    description = StarterDescription(widths, labels.phrases, dict(COLOURS), threshold=0.0)
    weights = {
        name: value.detach().cpu().half().contiguous()
        for name, value in network.state_dict().items()
    }
    write_atomically(folder / WEIGHTS, save(weights))
    write_atomically(folder / DESCRIPTION, description.to_json())


def _find_split(icons: Sequence[Icon]) -> set[str]:
    """Returns the concepts of which some set draws both the whole and the face."""
    kinds: dict[tuple[str, str], set[bool]] = defaultdict(set)
    for icon in icons:
        kinds[icon.style, icon.concept].add(icon.name.endswith("-face"))
    return {concept for (_, concept), sets in kinds.items() if len(sets) == 2}
