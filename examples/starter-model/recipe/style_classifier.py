"""A small network that tells the drawing sets apart; it judges the style of what is sampled."""

import itertools
from collections import OrderedDict

import torch
from torch import Tensor, nn
from torch.nn import functional

from recipe.settings import EvaluationSettings
from recipe.training import Learner, Machine, Pace
from trainer.seeds import derive_seed

_CHUNK = 200
_WIDTHS = (3, 24, 48, 96, 96)
_RATE = 2e-3  # of what Muon does not train
_WARMUP_STEPS = 30
_AVERAGE_DECAY, _AVERAGE_EVERY = 0.95, 2


def build_classifier(styles: int, seed: int) -> nn.Module:
    """Returns an untrained classifier: what is where in the picture is averaged away at the end."""
    torch.manual_seed(derive_seed(seed, "style classifier weights"))
    layers: OrderedDict[str, nn.Module] = OrderedDict()
    for level, (before, after) in enumerate(itertools.pairwise(_WIDTHS)):
        # The learner tells the outermost layers by these names.
        layers["conv_in" if level == 0 else f"down_{level}"] = _convolve(before, after, stride=2)
        layers[f"convs_{level}"] = _convolve(after, after, stride=1)
    layers["pool"] = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Dropout(0.2))
    layers["conv_out"] = nn.Linear(_WIDTHS[-1], styles)
    return nn.Sequential(layers)


def train_classifier(
    pictures: Tensor,
    styles: Tensor,
    settings: EvaluationSettings,
    seed: int,
    machine: Machine,
) -> nn.Module:
    """Returns a trained classifier.

    Args:
        pictures: In -1 .. 1, fp16 or fp32, [N, 3, h, w].
        styles: Number of the style of each, [N]; every style occurs equally often in a batch.
        settings: Updates and size of a batch.
        seed: Of weights and batches.
        machine: Where to compute.
    """
    count = int(styles.max()) + 1
    classifier = build_classifier(count, seed).to(machine.device).train()
    pace = Pace(
        steps=settings.classifier_steps,
        learning_rate=_RATE,
        matrix_learning_rate=settings.classifier_rate,
        warmup_steps=_WARMUP_STEPS,
        average_decay=_AVERAGE_DECAY,
        average_every=_AVERAGE_EVERY,
        checkpoint_every=settings.classifier_steps,
    )
    learner = Learner({"classifier": classifier}, pace)
    pools = [torch.nonzero(styles == style).squeeze(1) for style in range(count)]
    share = max(1, settings.classifier_batch_size // count)
    for step in range(settings.classifier_steps):
        generator = machine.generator(derive_seed(seed, "style classifier batch", step))
        rows = torch.cat([_choose(pool, share, generator) for pool in pools])
        batch = pictures[rows].to(machine.device).float()
        batch = _shift(batch, derive_seed(seed, "shift", step))
        with machine.autocast():
            loss = functional.cross_entropy(
                classifier(batch), styles[rows].to(machine.device), label_smoothing=0.05
            )
        learner.update(loss)
    learner.settle()
    return classifier.eval()


@torch.no_grad()
def classify(classifier: nn.Module, pictures: Tensor, machine: Machine) -> Tensor:
    """Returns the number of the style of each picture, on the processor, [N]."""
    parts = [
        classifier(part.to(machine.device).float()).argmax(dim=1).cpu()
        for part in pictures.split(_CHUNK)
    ]
    return torch.cat(parts)


def _convolve(before: int, after: int, stride: int) -> nn.Sequential:
    layers = OrderedDict[str, nn.Module]()
    layers["conv_in" if before == _WIDTHS[0] else "conv"] = nn.Conv2d(
        before, after, 3, stride=stride, padding=1
    )
    layers["norm"], layers["act"] = nn.GroupNorm(8, after), nn.SiLU()
    return nn.Sequential(layers)


def _choose(pool: Tensor, count: int, generator: torch.Generator) -> Tensor:
    places = torch.randint(len(pool), (count,), generator=generator, device=generator.device)
    return pool[places.to(pool.device)]


def _shift(pictures: Tensor, seed: int) -> Tensor:
    """A few pixels to the side: the exact place of a drawing is no style."""
    right, down = seed % 13 - 6, seed // 13 % 13 - 6
    return pictures.roll((down, right), dims=(2, 3))
