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
    """An image of channels that is read in rows."""

    shape: torch.Size

    def read(self, start: int, end: int) -> Tensor:
        """Returns rows, [B, C, end - start, W]."""
        ...


class _Stored:
    """Rows of a tensor."""

    def __init__(self, tensor: Tensor) -> None:
        self.tensor, self.shape = tensor, tensor.shape

    def read(self, start: int, end: int) -> Tensor:
        return self.tensor[:, :, start:end]


class _Upsampled:
    """What an upsampler makes of a tensor: each pixel four times, then a convolution."""

    def __init__(self, tensor: Tensor, conv: nn.Conv2d) -> None:
        batch, _, height, width = tensor.shape
        self._tensor, self._conv = tensor, conv
        self.shape = torch.Size((batch, conv.out_channels, 2 * height, 2 * width))

    def read(self, start: int, end: int) -> Tensor:
        top, bottom = max(start - 1, 0), min(end + 1, self.shape[2])
        coarse = self._tensor[:, :, top // 2 : (bottom + 1) // 2]
        fine = functional.interpolate(coarse, scale_factor=2.0, mode="nearest")
        skipped = top - top // 2 * 2
        fine = fine[:, :, skipped : skipped + bottom - top]
        return _convolve(fine, self._conv, (top - (start - 1), end + 1 - bottom))


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
    hidden = _convolve_strips(_Stored(pixels), encoder.conv_in)
    for block in encoder.down_blocks:
        for resnet in block.resnets:
            hidden = _run_resnet(resnet, _Stored(hidden))
        for sampler in block.downsamplers or ():
            hidden = _convolve_strips(_Stored(hidden), sampler.conv, after=True)
    hidden = encoder.mid_block(hidden)
    hidden = _convolve_strips(_Stored(hidden), encoder.conv_out, encoder.conv_norm_out)
    distribution = hidden if vae.quant_conv is None else vae.quant_conv(hidden)
    mean, log_variance = distribution.chunk(2, dim=1)
    return mean, torch.exp(0.5 * log_variance.clamp(-30.0, 20.0))  # diffusers' bounds


def decode(vae: Any, latents: Tensor, *, in_strips: bool) -> Tensor:
    """Returns the pixels of latents that are not scaled, in -1 .. 1, [B, 3, H, W].

    Args:
        vae: An AutoencoderKL of diffusers.
        latents: [B, C, h, w].
        in_strips: As for `encode`.
    """
    if not (in_strips and _is_usual(vae)):
        pixels: Tensor = vae.decode(latents, return_dict=False)[0]
        return pixels
    decoder = vae.decoder
    hidden = latents if vae.post_quant_conv is None else vae.post_quant_conv(latents)
    hidden = decoder.mid_block(decoder.conv_in(hidden))
    rows: _Rows = _Stored(hidden)
    for block in decoder.up_blocks:
        for resnet in block.resnets:
            hidden = _run_resnet(resnet, rows)
            rows = _Stored(hidden)
        for sampler in block.upsamplers or ():
            rows = _Upsampled(hidden, sampler.conv)
    del hidden
    return _convolve_strips(rows, decoder.conv_out, decoder.conv_norm_out)


def _is_usual(vae: Any) -> bool:
    """Whether a VAE consists of what is computed here: that of every Stable Diffusion does."""
    kinds = {type(block).__name__ for block in (*vae.encoder.down_blocks, *vae.decoder.up_blocks)}
    return kinds <= {"DownEncoderBlock2D", "UpDecoderBlock2D"} and vae.config.act_fn == "silu"


def _run_resnet(resnet: Any, rows: _Rows) -> Tensor:
    """Returns what a resnet block without a time embedding makes of its input.

    Where the shape stays, the result takes the place of the input.
    """
    hidden = _convolve_strips(rows, resnet.conv1, resnet.norm1)
    shortcut = resnet.conv_shortcut
    if shortcut is None and isinstance(rows, _Stored):
        result = rows.tensor
    else:
        result = hidden.new_empty(hidden.shape)
    source = _Stored(hidden)
    scale, shift = _measure(source, resnet.norm2)
    for start, end in _cut(source):
        part = _activate_and_convolve(source, resnet.conv2, (scale, shift), start, end)
        passed = rows.read(start, end)
        part += passed if shortcut is None else shortcut(passed)
        result[:, :, start:end] = part.div_(resnet.output_scale_factor)
    return result


def _convolve_strips(
    rows: _Rows, conv: nn.Conv2d, norm: nn.GroupNorm | None = None, *, after: bool = False
) -> Tensor:
    """Returns a convolution of an input, or of its activated norm, computed strip by strip.

    Args:
        rows: The input.
        conv: 3 x 3, with stride 1 or 2.
        norm: Of the input, where it is normalized; SiLU follows it.
        after: Whether a row and a column of zeros come after the input and none before it, as in
            the VAE's downsamplers.
    """
    measured = None if norm is None else _measure(rows, norm)
    stride = int(conv.stride[0])
    height, width = rows.shape[2] // stride, rows.shape[3] // stride
    result = conv.weight.new_empty((rows.shape[0], conv.out_channels, height, width))
    for start, end in _cut(rows, stride):
        if after:
            last = min(end * stride + 1, rows.shape[2])
            part = functional.pad(rows.read(start * stride, last), (0, 1))
            part = _convolve(part, conv, (0, end * stride + 1 - last))
        else:
            part = _activate_and_convolve(rows, conv, measured, start, end)
        result[:, :, start:end] = part
    return result


def _activate_and_convolve(
    rows: _Rows, conv: nn.Conv2d, measured: tuple[Tensor, Tensor] | None, start: int, end: int
) -> Tensor:
    """Returns some rows of a convolution with stride 1 of an input's activated norm."""
    top, bottom = max(start - 1, 0), min(end + 1, rows.shape[2])
    part = rows.read(top, bottom)
    if measured is not None:
        scale, shift = measured
        part = functional.silu(torch.addcmul(shift, part, scale), inplace=True)
    return _convolve(part, conv, (top - (start - 1), end + 1 - bottom))


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


def _cut(rows: _Rows, stride: int = 1) -> Iterator[tuple[int, int]]:
    """Yields the rows of an output, strip by strip."""
    batch, channels, height, width = rows.shape
    size = max(2, STRIP_BYTES // (4 * batch * channels * width * stride))
    for start in range(0, height // stride, size):
        yield start, min(start + size, height // stride)
