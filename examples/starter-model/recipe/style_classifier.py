"""A small network that tells the drawing sets apart; it judges the style of what is sampled."""

import itertools

import torch
from torch import Tensor, nn
from torch.nn import functional

from recipe.settings import EvaluationSettings
from recipe.training import Machine
from trainer.seeds import derive_seed

_CHUNK = 200


def build_classifier(styles: int, seed: int) -> nn.Module:
    """Returns an untrained classifier: what is where in the picture is averaged away at the end."""
    torch.manual_seed(derive_seed(seed, "style classifier weights"))
    widths = (3, 24, 48, 96, 96)
    layers: list[nn.Module] = []
    for before, after in itertools.pairwise(widths):
        layers += [nn.Conv2d(before, after, 3, stride=2, padding=1), nn.GroupNorm(8, after)]
        layers += [nn.SiLU(), nn.Conv2d(after, after, 3, padding=1), nn.SiLU()]
    layers += [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Dropout(0.2), nn.Linear(96, styles)]
    return nn.Sequential(*layers)


def train_classifier(
    pictures: Tensor,
    styles: Tensor,
    settings: EvaluationSettings,
    seed: int,
    machine: Machine,
) -> nn.Module:
    """Returns a trained classifier.

    Args:
        pictures: In -1 .. 1, [N, 3, h, w].
        styles: Number of the style of each, [N]; every style occurs equally often in a batch.
        settings: Updates and size of a batch.
        seed: Of weights and batches.
        machine: Where to compute.
    """
    count = int(styles.max()) + 1
    classifier = build_classifier(count, seed).to(machine.device).train()
    optimizer = torch.optim.AdamW(classifier.parameters(), lr=1e-3, weight_decay=0.05)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 2e-3, settings.classifier_steps + 1)
    pools = [torch.nonzero(styles == style).squeeze(1) for style in range(count)]
    share = max(1, settings.classifier_batch_size // count)
    for step in range(settings.classifier_steps):
        generator = machine.generator(derive_seed(seed, "style classifier batch", step))
        rows = torch.cat([_choose(pool, share, generator) for pool in pools])
        batch = _shift(pictures[rows].to(machine.device), derive_seed(seed, "shift", step))
        with machine.autocast():
            loss = functional.cross_entropy(
                classifier(batch), styles[rows].to(machine.device), label_smoothing=0.05
            )
        loss.backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        schedule.step()
    return classifier.eval()


@torch.no_grad()
def classify(classifier: nn.Module, pictures: Tensor, machine: Machine) -> Tensor:
    """Returns the number of the style of each picture, on the processor, [N]."""
    parts = [
        classifier(part.to(machine.device)).argmax(dim=1).cpu() for part in pictures.split(_CHUNK)
    ]
    return torch.cat(parts)


def _choose(pool: Tensor, count: int, generator: torch.Generator) -> Tensor:
    places = torch.randint(len(pool), (count,), generator=generator, device=generator.device)
    return pool[places.to(pool.device)]


def _shift(pictures: Tensor, seed: int) -> Tensor:
    """A few pixels to the side: the exact place of a drawing is no style."""
    right, down = seed % 13 - 6, seed // 13 % 13 - 6
    return pictures.roll((down, right), dims=(2, 3))
