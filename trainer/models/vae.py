"""Encoding and decoding of images, as a whole or on strips in a fraction of the memory.

At 1024 pixels a single activation of SDXL's VAE takes 0.5 to 1 GB, and some five of them exist at
once: more than a whole training step of a UNet whose blocks wait in main memory. Tiles, which are
usual, change the result, because each has norms of its own. Here each norm takes its mean and
variance over the whole image, and what comes between two of them is computed for some rows at a
time. Only inputs and outputs of convolutions exist as a whole, and what an upsampler makes not
even then: the next layers compute the rows that they read.
"""

from collections.abc import Iterator
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional

STRIP_BYTES = 20_000_000  # of one activation


class _Rows(Protocol):
    """An image of channels that is read in rows.

    Attributes:
        shape: [B, C, H, W].
        widest: The most channels of anything that is computed for a row.
    """

    shape: torch.Size
    widest: int

    def read(self, start: int, end: int) -> Tensor:
        """Returns rows, [B, C, end - start, W]."""
        ...


class _Stored:
    """Rows of a tensor."""

    def __init__(self, tensor: Tensor) -> None:
        self.tensor, self.shape, self.widest = tensor, tensor.shape, int(tensor.shape[1])

    def read(self, start: int, end: int) -> Tensor:
        return self.tensor[:, :, start:end]


class _Upsampled:
    """What an upsampler makes of a tensor: each pixel four times, then a convolution."""

    def __init__(self, tensor: Tensor, conv: nn.Conv2d) -> None:
        batch, _, height, width = tensor.shape
        self._tensor, self._conv = tensor, conv
        self.shape = torch.Size((batch, conv.out_channels, 2 * height, 2 * width))
        self.widest = max(conv.in_channels, conv.out_channels)

    def read(self, start: int, end: int) -> Tensor:
        top, bottom = max(start - 1, 0), min(end + 1, self.shape[2])
        coarse = self._tensor[:, :, top // 2 : (bottom + 1) // 2]
        fine = functional.interpolate(coarse, scale_factor=2.0, mode="nearest")
        skipped = top - top // 2 * 2
        fine = fine[:, :, skipped : skipped + bottom - top]
        return _convolve(fine, self._conv, (top - (start - 1), end + 1 - bottom))


class _Convolved:
    """A convolution with stride 1 of an input, or of its activated norm.

    Args:
        rows: The input.
        conv: 3 x 3.
        norm: Of the input, where it is normalized; SiLU follows it.
    """

    def __init__(self, rows: _Rows, conv: nn.Conv2d, norm: nn.GroupNorm | None = None) -> None:
        self._rows, self._conv = rows, conv
        self._measured = None if norm is None else _measure(rows, norm)
        batch, _, height, width = rows.shape
        self.shape = torch.Size((batch, conv.out_channels, height, width))
        self.widest = max(rows.widest, conv.out_channels)

    def read(self, start: int, end: int) -> Tensor:
        top, bottom = max(start - 1, 0), min(end + 1, self.shape[2])
        part = self._rows.read(top, bottom)
        if self._measured is not None:
            scale, shift = self._measured
            part = functional.silu(torch.addcmul(shift, part, scale), inplace=True)
        return _convolve(part, self._conv, (top - (start - 1), end + 1 - bottom))


class _Downsampled:
    """A convolution with stride 2, with a row and a column of zeros after the input."""

    def __init__(self, tensor: Tensor, conv: nn.Conv2d) -> None:
        batch, _, height, width = tensor.shape
        self._tensor, self._conv = tensor, conv
        self.shape = torch.Size((batch, conv.out_channels, height // 2, width // 2))
        self.widest = 4 * conv.in_channels  # two rows of twice the width

    def read(self, start: int, end: int) -> Tensor:
        last = min(2 * end + 1, self._tensor.shape[2])
        part = functional.pad(self._tensor[:, :, 2 * start : last], (0, 1))
        return _convolve(part, self._conv, (0, 2 * end + 1 - last))


class _Resnet:
    """A resnet block without a time embedding.

    Args:
        resnet: Of diffusers.
        rows: Its input.
        hidden: What its first convolution makes of that.
    """

    def __init__(self, resnet: Any, rows: _Rows, hidden: _Rows) -> None:
        self._rows, self._resnet = rows, resnet
        self._changed = _Convolved(hidden, resnet.conv2, resnet.norm2)
        self.shape = self._changed.shape
        self.widest = max(rows.widest, self._changed.widest)

    def read(self, start: int, end: int) -> Tensor:
        part = self._changed.read(start, end)
        passed, shortcut = self._rows.read(start, end), self._resnet.conv_shortcut
        part += passed if shortcut is None else shortcut(passed)
        return part.div_(self._resnet.output_scale_factor)


class _Last:
    """Rows that keep what was read last: a resnet reads its input twice."""

    def __init__(self, rows: _Rows) -> None:
        self._rows, self.shape, self.widest = rows, rows.shape, rows.widest
        self._start = self._end = 0
        self._part: Tensor | None = None

    def read(self, start: int, end: int) -> Tensor:
        if self._part is None or start < self._start or end > self._end:
            self._part = None  # before the next one is there
            self._part, self._start, self._end = self._rows.read(start, end), start, end
        return self._part[:, :, start - self._start : end - self._start]


def encode(vae: Any, pixels: Tensor, *, in_strips: bool) -> tuple[Tensor, Tensor]:
    """Returns mean and standard deviation of the latents, [B, C, h, w] each, not scaled.

    Args:
        vae: An AutoencoderKL of diffusers.
        pixels: In -1 .. 1, [B, 3, H, W].
        in_strips: Whether to save memory, where the VAE is of the usual kind; without gradients.
    """
    if not (in_strips and _is_usual(vae)):
        encoded = vae.encode(pixels).latent_dist
        return encoded.mean, encoded.std
    encoder = vae.encoder
    hidden = _store(_Convolved(_Stored(pixels), encoder.conv_in))
    for block in encoder.down_blocks:
        for resnet in block.resnets:
            hidden = _run_resnet(resnet, _Stored(hidden))
        for sampler in block.downsamplers or ():
            hidden = _store(_Downsampled(hidden, sampler.conv))
    hidden = encoder.mid_block(hidden)
    hidden = _store(_Convolved(_Stored(hidden), encoder.conv_out, encoder.conv_norm_out))
    distribution = hidden if vae.quant_conv is None else vae.quant_conv(hidden)
    mean, log_variance = distribution.chunk(2, dim=1)
    return mean, torch.exp(0.5 * log_variance.clamp(-30.0, 20.0))  # diffusers' bounds


def decode(vae: Any, latents: Tensor, *, in_strips: bool, recompute: bool = False) -> Tensor:
    """Returns the pixels of latents that are not scaled, in -1 .. 1, [B, 3, H, W].

    Args:
        vae: An AutoencoderKL of diffusers.
        latents: [B, C, h, w].
        in_strips: As for `encode`.
        recompute: Whether strips of the last block, whose activations are the largest, are
            computed again wherever they are read, instead of storing them: half of the memory for
            some two and a half times the time.
    """
    if not (in_strips and _is_usual(vae)):
        pixels: Tensor = vae.decode(latents, return_dict=False)[0]
        return pixels
    decoder = vae.decoder
    hidden = latents if vae.post_quant_conv is None else vae.post_quant_conv(latents)
    rows: _Rows = _Stored(decoder.mid_block(decoder.conv_in(hidden)))
    for block in decoder.up_blocks:
        for resnet in block.resnets:
            if recompute and block is decoder.up_blocks[-1]:
                source = _Last(rows)
                rows = _Resnet(resnet, source, _Convolved(source, resnet.conv1, resnet.norm1))
            else:
                rows = _Stored(_run_resnet(resnet, rows))
        for sampler in block.upsamplers or ():
            stored = rows.tensor if isinstance(rows, _Stored) else _store(rows)
            rows = _Upsampled(stored, sampler.conv)
    return _store(_Convolved(rows, decoder.conv_out, decoder.conv_norm_out))


def _is_usual(vae: Any) -> bool:
    """Whether a VAE consists of what is computed here: that of every Stable Diffusion does."""
    kinds = {type(block).__name__ for block in (*vae.encoder.down_blocks, *vae.decoder.up_blocks)}
    return kinds <= {"DownEncoderBlock2D", "UpDecoderBlock2D"} and vae.config.act_fn == "silu"


def _run_resnet(resnet: Any, rows: _Rows) -> Tensor:
    """Returns what a resnet block makes of its input, written over it where the shape stays."""
    hidden = _Stored(_store(_Convolved(rows, resnet.conv1, resnet.norm1)))
    keeps_shape = resnet.conv_shortcut is None
    place = rows.tensor if keeps_shape and isinstance(rows, _Stored) else None
    return _store(_Resnet(resnet, rows, hidden), place)


def _store(rows: _Rows, place: Tensor | None = None) -> Tensor:
    """Returns all rows as a tensor, a new one or the given one."""
    for start, end in _cut(rows):
        part = rows.read(start, end)
        if place is None:
            place = part.new_empty(rows.shape)
        place[:, :, start:end] = part
    if place is None:
        msg = "an image has no rows"
        raise ValueError(msg)
    return place


def _convolve(part: Tensor, conv: nn.Conv2d, missing: tuple[int, int]) -> Tensor:
    """Returns a convolution of rows; zeros take the place of those beyond the image."""
    if any(missing):
        part = functional.pad(part, (0, 0, *missing))
    sides = (0, int(conv.padding[1]))
    return functional.conv2d(part, conv.weight, conv.bias, conv.stride, sides)


def _measure(rows: _Rows, norm: nn.GroupNorm) -> tuple[Tensor, Tensor]:
    """Returns scale and shift per channel, [B, C, 1, 1], that do what a group norm does.

    Mean and variance come from those of the strips, by the rule of Chan et al. (1979).
    """
    batch, channels = rows.shape[:2]
    count, mean, squares = 0, torch.zeros(()), torch.zeros(())
    for start, end in _cut(rows):
        part = rows.read(start, end).reshape(batch, norm.num_groups, -1)
        variance, average = torch.var_mean(part, dim=2, correction=0)
        added = part.shape[2]
        if count == 0:
            mean, squares = average, variance * added
        else:
            offset = average - mean
            mean = mean + offset * (added / (count + added))
            squares = squares + variance * added + offset**2 * (count * added / (count + added))
        count += added
    deviation = torch.sqrt(squares / count + norm.eps)
    per_group = channels // norm.num_groups
    scale = norm.weight / deviation.repeat_interleave(per_group, 1)
    shift = norm.bias - mean.repeat_interleave(per_group, 1) * scale
    return scale[:, :, None, None], shift[:, :, None, None]


def _cut(rows: _Rows) -> Iterator[tuple[int, int]]:
    """Yields the first row of each strip, and the one after its last."""
    batch, _, height, width = rows.shape
    size = max(2, STRIP_BYTES // (4 * batch * rows.widest * width))
    for start in range(0, height, size):
        yield start, min(start + size, height)
