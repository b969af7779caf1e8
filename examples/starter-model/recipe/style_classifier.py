"""A small network that classifies the drawing sets; it measures the style of generated images.

A generated image is a drawing with softer edges, slightly shifted, in slightly other colours.
A network that has only seen drawings goes by exactly those marks, and by grain finer than two
pixels: such a one saw the right style in 68 % of images of which 99 % are nearest to the right
set's drawing. So this one looks at half the size, and learns from drawings so disturbed.
"""

import itertools
from collections import OrderedDict

import torch
from torch import Tensor, nn
from torch.nn import functional

from recipe.settings import EvaluationSettings
from recipe.training import DeviceContext, Pace, TrainingState
from trainer.seeds import derive_seed

_CHUNK = 200
_WIDTHS = (3, 32, 64, 96, 128)
_RATE = 2e-3  # of what Muon does not train
_WARMUP_STEPS = 30
_AVERAGE_DECAY, _AVERAGE_EVERY = 0.95, 2

_TINT, _STAINS = 0.15, 0.25  # of colours, which reach from -1 to 1: over large areas, over small
_WARP = 0.03  # of half an image's edge
_WHITE = 0.95  # brighter is paper


def build_classifier(styles: int, seed: int) -> nn.Module:
    """Returns an untrained classifier: what is where in the image is averaged away at the end."""
    torch.manual_seed(derive_seed(seed, "style classifier weights"))
    layers: OrderedDict[str, nn.Module] = OrderedDict()
    for level, (before, after) in enumerate(itertools.pairwise(_WIDTHS)):
        # The optimiser recognises the outermost layers by these names.
        layers["conv_in" if level == 0 else f"down_{level}"] = _convolve(before, after, stride=2)
        layers[f"convs_{level}"] = _convolve(after, after, stride=1)
    layers["pool"] = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Dropout(0.2))
    layers["conv_out"] = nn.Linear(_WIDTHS[-1], styles)
    return nn.Sequential(layers)


def train_classifier(
    images: Tensor,
    styles: Tensor,
    settings: EvaluationSettings,
    seed: int,
    context: DeviceContext,
) -> nn.Module:
    """Returns a trained classifier.

    Args:
        images: In -1 .. 1, fp16 or fp32, [N, 3, h, w].
        styles: Number of the style of each, [N]; every style occurs equally often in a batch.
        settings: Updates and size of a batch.
        seed: Of weights and batches.
        context: Where to compute.
    """
    count = int(styles.max()) + 1
    classifier = build_classifier(count, seed).to(context.device).train()
    pace = Pace(
        steps=settings.classifier_steps,
        learning_rate=_RATE,
        matrix_learning_rate=settings.classifier_rate,
        warmup_steps=_WARMUP_STEPS,
        average_decay=_AVERAGE_DECAY,
        average_every=_AVERAGE_EVERY,
        checkpoint_every=settings.classifier_steps,
    )
    state = TrainingState({"classifier": classifier}, pace)
    pools = [torch.nonzero(styles == style).squeeze(1) for style in range(count)]
    share = max(1, settings.classifier_batch_size // count)
    for step in range(settings.classifier_steps):
        generator = context.generator(derive_seed(seed, "style classifier batch", step))
        rows = torch.cat([_choose(pool, share, generator) for pool in pools])
        batch = images[rows].to(context.device).float()
        batch = _shift(batch, derive_seed(seed, "shift", step))
        batch = _disturb(_halve(batch), derive_seed(seed, "disturbance", step))
        with context.autocast():
            loss = functional.cross_entropy(
                classifier(batch), styles[rows].to(context.device), label_smoothing=0.05
            )
        state.update(loss)
    state.keep_on_device()
    return classifier.eval()


@torch.no_grad()
def classify(classifier: nn.Module, images: Tensor, context: DeviceContext) -> Tensor:
    """Returns the number of the style of each image, on the processor, [N]."""
    parts = [
        classifier(_halve(part.to(context.device).float())).argmax(dim=1).cpu()
        for part in images.split(_CHUNK)
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


def _shift(images: Tensor, seed: int) -> Tensor:
    """A few pixels to the side: the exact place of a drawing is no style."""
    right, down = seed % 13 - 6, seed // 13 % 13 - 6
    return images.roll((down, right), dims=(2, 3))


def _halve(images: Tensor) -> Tensor:
    return functional.avg_pool2d(images, 2)


def _disturb(images: Tensor, seed: int) -> Tensor:
    """Softens, tints and warps images, each by an amount of its own, [N, 3, h, w]."""
    generator = torch.Generator().manual_seed(seed)
    count, device = len(images), images.device

    def noise(channels: int, side: int, strength: float) -> Tensor:
        amounts = strength * torch.rand(count, 1, 1, 1, generator=generator)
        coarse = torch.randn(count, channels, side, side, generator=generator) * amounts
        fine = functional.interpolate(coarse, size=images.shape[2:], mode="bicubic")
        return fine.to(device)

    share = torch.rand(count, 1, 1, 1, generator=generator).to(device)
    images = images.lerp(_blur(_blur(images)), share)
    inked = images.mean(dim=1, keepdim=True) < _WHITE
    images = images + (noise(3, 4, _TINT) + noise(3, 16, _STAINS)) * inked
    # Elastic distortion: Simard, Steinkraus and Platt 2003, section 2.
    moved = noise(2, 12, _WARP).permute(0, 2, 3, 1)
    still = torch.eye(2, 3, device=device).expand(count, 2, 3)
    places = functional.affine_grid(still, list(images.shape), align_corners=False) + moved
    return functional.grid_sample(images, places, padding_mode="border", align_corners=False)


def _blur(images: Tensor) -> Tensor:
    return functional.avg_pool2d(images, 3, stride=1, padding=1, count_include_pad=False)
