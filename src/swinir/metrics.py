"""PSNR, SSIM and PSNR-B as the paper's evaluation computes them.

All take two images of one shape and type, [H, W] or [H, W, C]: uint8, uint16, or float in [0, 1]. Floats are
taken as they are: round a network's output to uint8 first to compare with published figures. On channel "y"
an RGB image is measured by its studio-swing luma (BT.601, not rounded), a grey one by its values.
"""

from collections.abc import Iterator
from math import inf, log2, log10
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from swinir.errors import UsageError
from swinir.imaging.color import rgb_to_y, white_level

Channel = Literal["rgb", "y"]
FloatArray = NDArray[np.float64]

# Everything is measured in units of 8 bit.
_PEAK = 255.0
_BAND_ROWS = 64
# SSIM: a Gaussian window 11 wide, sigma 1.5, and the constants (K1·L)² and (K2·L)² of Wang et al. 2004.
_WINDOW_PX = 11
_C1 = (0.01 * _PEAK) ** 2
_C2 = (0.03 * _PEAK) ** 2
_JPEG_BLOCK_PX = 8


def psnr(a: NDArray[Any], b: NDArray[Any], border_px: int = 0, channel: Channel = "rgb") -> float:
    """Peak signal-to-noise ratio in dB over all values together; infinite for equal images.

    Args:
        a: restored image.
        b: reference.
        border_px: cut off on every side before measuring; super-resolution uses its scale.
        channel: see the module.
    """
    squares, count = 0.0, 0
    restored, reference = _cropped(a, b, border_px, least_px=1)
    for x, y in _bands(restored, reference, channel, overlap=0):
        error = x - y
        squares += float(np.vdot(error, error))
        count += error.size
    return _decibel(squares / count)


def ssim(a: NDArray[Any], b: NDArray[Any], border_px: int = 0, channel: Channel = "rgb") -> float:
    """Structural similarity, the mean over channels and over all places where the window fits whole.

    Args:
        a: restored image, at least 11 pixels a side after the border is cut.
        b: reference.
        border_px: cut off on every side before measuring; super-resolution uses its scale.
        channel: see the module.

    Source: Wang et al., "Image quality assessment: from error visibility to structural similarity", 2004.
    """
    total, count = 0.0, 0
    restored, reference = _cropped(a, b, border_px, least_px=_WINDOW_PX)
    for x, y in _bands(restored, reference, channel, overlap=_WINDOW_PX - 1):
        similarity = _ssim_map(x, y)
        total += float(similarity.sum())
        count += similarity.size
    return total / count


def psnr_b(a: NDArray[Any], b: NDArray[Any], border_px: int = 0, channel: Channel = "rgb") -> float:
    """PSNR that also charges `a` for steps at the borders of JPEG's 8×8 blocks; the mean over channels.

    Blocks are counted from the corner that is left after the border is cut.

    Args:
        a: restored image, at least 16 pixels a side after the border is cut. Only its blocking counts.
        b: reference.
        border_px: cut off on every side before measuring.
        channel: see the module.

    Source: Yim and Bovik, "Quality assessment of deblocked images", 2011, equations 7 to 13, with pixel pairs
    counted as the published evaluation does (whole blocks only).
    """
    restored, reference = _cropped(a, b, border_px, least_px=2 * _JPEG_BLOCK_PX)
    restored, reference = _measured(restored, channel), _measured(reference, channel)
    per_channel = [
        _decibel(float(np.mean((x - y) ** 2)) + _blocking_effect(x))
        for x, y in zip(np.moveaxis(restored, 2, 0), np.moveaxis(reference, 2, 0), strict=True)
    ]
    return sum(per_channel) / len(per_channel)


def _decibel(mean_squared_error: float) -> float:
    return 10 * log10(_PEAK**2 / mean_squared_error) if mean_squared_error > 0 else inf


def _cropped(
    a: NDArray[Any], b: NDArray[Any], border_px: int, least_px: int
) -> tuple[NDArray[Any], NDArray[Any]]:
    """Check that two images can be compared and cut their borders; views [H, W, C]."""
    if a.shape != b.shape or a.dtype != b.dtype:
        raise UsageError(
            f"images of one shape and type can be compared, got {a.shape} {a.dtype} and {b.shape} {b.dtype}"
        )
    if a.ndim not in (2, 3) or (a.ndim == 3 and a.shape[2] not in (1, 3)):
        raise UsageError(f"expected [H, W], [H, W, 1] or [H, W, 3], got shape {a.shape}")
    if border_px < 0:
        raise UsageError(f"border_px must be at least 0, got {border_px}")
    height, width = a.shape[0] - 2 * border_px, a.shape[1] - 2 * border_px
    if min(height, width) < least_px:
        raise UsageError(
            f"need at least {least_px} pixels a side inside a border of {border_px}, got shape {a.shape}"
        )
    inside = (slice(border_px, border_px + height), slice(border_px, border_px + width))
    shape = (height, width, -1)
    return a[inside].reshape(shape), b[inside].reshape(shape)


def _measured(pixels: NDArray[Any], channel: Channel) -> FloatArray:
    """Turn [h, w, C] into what is measured, float64 in units of 8 bit: [h, w, C] or, for "y", [h, w, 1]."""
    if channel not in ("rgb", "y"):
        raise UsageError(f'channel must be "rgb" or "y", got {channel!r}')
    if channel == "y" and pixels.shape[2] == 3:
        return rgb_to_y(pixels)[:, :, None]
    return pixels * np.float64(_PEAK / white_level(pixels.dtype))


def _bands(
    restored: NDArray[Any], reference: NDArray[Any], channel: Channel, overlap: int
) -> Iterator[tuple[FloatArray, FloatArray]]:
    """Yield both images in bands of rows [h, W, C], so that memory does not grow with the image.

    Neighbouring bands share `overlap` rows, and every band has at least one row more than that.
    """
    for start in range(0, restored.shape[0] - overlap, _BAND_ROWS):
        rows = slice(start, start + _BAND_ROWS + overlap)
        yield _measured(restored[rows], channel), _measured(reference[rows], channel)


def _ssim_map(x: FloatArray, y: FloatArray) -> FloatArray:
    mean_x, mean_y = _blur(x), _blur(y)
    variance_x = _blur(x * x) - mean_x**2
    variance_y = _blur(y * y) - mean_y**2
    covariance = _blur(x * y) - mean_x * mean_y
    luminance = (2 * mean_x * mean_y + _C1) / (mean_x**2 + mean_y**2 + _C1)
    structure = (2 * covariance + _C2) / (variance_x + variance_y + _C2)
    return luminance * structure


def _blur(values: FloatArray) -> FloatArray:
    """Weighted mean in SSIM's Gaussian window wherever it fits whole: [h, w, C] -> [h - 10, w - 10, C]."""
    offsets = np.arange(_WINDOW_PX) - _WINDOW_PX // 2
    gaussian = np.exp(-(offsets**2) / (2 * 1.5**2))
    gaussian /= gaussian.sum()
    height, width = values.shape[0] - _WINDOW_PX + 1, values.shape[1] - _WINDOW_PX + 1
    down = gaussian[0] * values[:height]
    for k in range(1, _WINDOW_PX):
        down += gaussian[k] * values[k : k + height]
    across = gaussian[0] * down[:, :width]
    for k in range(1, _WINDOW_PX):
        across += gaussian[k] * down[:, k : k + width]
    return across


def _blocking_effect(plane: FloatArray) -> float:
    """How much larger steps are across block borders than elsewhere; 0 where they are not. [h, w]."""
    height, width = plane.shape
    border_squares, border_pairs, other_squares, other_pairs = 0.0, 0, 0.0, 0
    for axis, side, across in ((1, width, height), (0, height, width)):
        squares = np.sum(np.diff(plane, axis=axis) ** 2, axis=1 - axis)
        at_borders = float(squares[_JPEG_BLOCK_PX - 1 :: _JPEG_BLOCK_PX].sum())
        pairs = across * (side // _JPEG_BLOCK_PX - 1)
        border_squares += at_borders
        border_pairs += pairs
        other_squares += float(squares.sum()) - at_borders
        other_pairs += across * (side - 1) - pairs
    excess = border_squares / border_pairs - other_squares / other_pairs
    return max(0.0, excess) * log2(_JPEG_BLOCK_PX) / log2(min(height, width))
