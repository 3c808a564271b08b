"""MATLAB's antialiased bicubic, the one that super-resolution is measured with.

A scale below 1 stretches the kernel so that it also is the low-pass filter; the border is mirrored with the
edge pixel repeated. Rows are resized first, then columns.
"""

from enum import Enum
from fractions import Fraction
from math import ceil, floor, isfinite
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from swinir.errors import UsageError

AnyArray = TypeVar("AnyArray", bound=NDArray[Any])
FloatArray = NDArray[np.float64]

_RESIZABLE = (np.uint8, np.uint16, np.float32, np.float64)
# A band of intermediate values small enough to stay in the cache of one core: 2**17 float64 are 1 MiB.
_BAND_VALUES = 2**17


class Rounding(Enum):
    """When integer pixels are rounded; floating-point pixels never are.

    The benchmark's low-resolution files for ×2, ×3 and ×4 come from a MATLAB that kept the image in its
    integer type between the two passes; those for ×8 from one that did not. BENCHMARK follows both: AT_END
    for scales below 1/4, PER_PASS for all others.
    """

    BENCHMARK = "benchmark"
    PER_PASS = "per_pass"
    AT_END = "at_end"


def resize_bicubic(
    array: AnyArray, scale: float | Fraction, *, rounding: Rounding = Rounding.BENCHMARK
) -> AnyArray:
    """Resize by MATLAB's `imresize(array, scale, 'bicubic')`, antialiased when shrinking.

    Takes working memory for a band of rows only, whatever the size of the image.

    Args:
        array: [H, W] or [H, W, C]; uint8, uint16, float32 or float64. Floats may have any range.
        scale: above 0; each side becomes ceil(side · scale).
        rounding: when integers are rounded (half up) and clipped to the range of their type.

    Returns:
        Same type and number of axes. Floats are not clipped: bicubic overshoots at edges.

    Source: Keys, "Cubic convolution interpolation for digital image processing", 1981, with a = -1/2.
    """
    if array.ndim not in (2, 3) or 0 in array.shape:
        raise UsageError(f"expected an array [H, W] or [H, W, C] with pixels, got shape {array.shape}")
    if array.dtype.type not in _RESIZABLE:
        raise UsageError(f"expected uint8, uint16, float32 or float64, got {array.dtype}")
    factor = _as_fraction(scale)
    height = array.shape[0]
    out_height = ceil(height * factor)
    return resize_rows(  # pyright: ignore[reportReturnType]
        array, 0, out_height, factor, source_top=0, source_height=height, rounding=rounding
    )


def resize_rows(
    source: NDArray[Any],
    top: int,
    bottom: int,
    scale: float | Fraction,
    *,
    source_top: int,
    source_height: int,
    rounding: Rounding = Rounding.BENCHMARK,
) -> NDArray[Any]:
    """Make some rows of what ``resize_bicubic`` makes of a whole picture, the same to the bit.

    Args:
        source: rows [h, W] or [h, W, C] of the picture, at least those that ``rows_needed`` names.
        top: first row of the result.
        bottom: row of the result behind the last one.
        scale: as for the whole picture.
        source_top: row of the picture that ``source`` begins with.
        source_height: rows of the picture.
        rounding: as for the whole picture.
    """
    factor = _as_fraction(scale)
    is_integer = np.issubdtype(source.dtype, np.integer)
    white = float(np.iinfo(source.dtype).max) if is_integer else None
    at_end = rounding is Rounding.AT_END or (rounding is Rounding.BENCHMARK and factor < Fraction(1, 4))
    between = None if at_end else white

    width = source.shape[1]
    num_channels = source.shape[2] if source.ndim == 3 else 1
    column_indices, column_weights = _taps(width, factor)
    out_width = len(column_indices)
    pixels = source.reshape(len(source), width * num_channels)
    resized = np.empty((bottom - top, out_width, num_channels), source.dtype)
    step = max(4, _BAND_VALUES // (max(width, out_width) * num_channels))
    for start in range(top, bottom, step):
        stop = min(start + step, bottom)
        indices, weights = _taps(source_height, factor, start, stop)
        first = int(indices.min())
        used = pixels[first - source_top : int(indices.max()) + 1 - source_top].astype(np.float64)
        tall = _weigh(used, indices - first, weights, between)
        # [h, W·C] -> [W, h·C]: columns become rows, so that one function serves both passes.
        turned = tall.reshape(-1, width, num_channels).transpose(1, 0, 2).reshape(width, -1)
        wide = _weigh(turned, column_indices, column_weights, white)
        resized[start - top : stop - top] = wide.reshape(out_width, -1, num_channels).transpose(1, 0, 2)
    return resized if source.ndim == 3 else resized[:, :, 0]


def rows_needed(top: int, bottom: int, scale: float | Fraction, source_height: int) -> tuple[int, int]:
    """Return which rows of the picture make these rows of the result: the first, and the one behind the last."""
    indices, _ = _taps(source_height, _as_fraction(scale), top, bottom)
    return int(indices.min()), int(indices.max()) + 1


def modcrop(array: AnyArray, scale: int) -> AnyArray:
    """Cut right and bottom until both sides are multiples of `scale`, as the benchmarks do; a view.

    Args:
        array: [H, W] or [H, W, C].
        scale: at least 1 and at most the shorter side.
    """
    height, width = array.shape[:2]
    if not 1 <= scale <= min(height, width):
        raise UsageError(f"scale must be from 1 to the shorter side {min(height, width)}, got {scale}")
    return array[: height - height % scale, : width - width % scale]  # pyright: ignore[reportReturnType]


def _as_fraction(scale: float | Fraction) -> Fraction:
    """Exact ratio that a float such as 1/3 stands for, so that a side of 3·n becomes n and not n + 1."""
    if not isfinite(scale) or scale <= 0:
        raise UsageError(f"scale must be a finite number above 0, got {scale}")
    exact = Fraction(scale)
    simple = exact.limit_denominator(10_000)
    return simple if simple > 0 and abs(simple - exact) <= exact * Fraction(1, 10**12) else exact


def _cubic(distance: FloatArray) -> FloatArray:
    """Keys' kernel, equation 15."""
    x = np.abs(distance)
    near = 1.5 * x**3 - 2.5 * x**2 + 1
    far = -0.5 * x**3 + 2.5 * x**2 - 4 * x + 2
    return np.where(x <= 1, near, np.where(x <= 2, far, 0.0))


def _taps(
    side: int, scale: Fraction, start: int = 0, stop: int | None = None
) -> tuple[NDArray[np.intp], FloatArray]:
    """Say which input pixels make each output pixel of one axis, from ``start`` to ``stop``, and with what weight.

    Returns:
        indices [outputs, taps] within [0, side), and weights of the same shape, each row summing to 1.
    """
    stop = ceil(side * scale) if stop is None else stop
    stretch = max(1.0, float(1 / scale))
    # Pixel centres lie at half-integers: output i covers input position (i + 1/2) / scale - 1/2.
    centres = (np.arange(start, stop, dtype=np.float64) + 0.5) / float(scale) - 0.5
    num_taps = floor(4 * stretch) + 2
    positions = np.floor(centres - 2 * stretch)[:, None] + np.arange(num_taps)
    weights = _cubic((centres[:, None] - positions) / stretch) / stretch
    used = np.any(weights != 0, axis=0)
    indices, weights = positions[:, used].astype(np.intp), weights[:, used]
    weights /= weights.sum(axis=1, keepdims=True)
    mirrored = np.mod(indices, 2 * side)
    return np.where(mirrored < side, mirrored, 2 * side - 1 - mirrored), weights


def _weigh(
    source: FloatArray, indices: NDArray[np.intp], weights: FloatArray, top: float | None
) -> FloatArray:
    """Sum weighted rows of source [n, m] into [outputs, m]; `top` given: round half up, clip to [0, top]."""
    total = np.zeros((len(indices), source.shape[1]))
    tap = np.empty_like(total)
    for k in range(indices.shape[1]):
        np.take(source, indices[:, k], axis=0, out=tap, mode="clip")
        tap *= weights[:, k, None]
        total += tap
    if top is not None:
        total += 0.5
        np.floor(total, out=total)
        np.clip(total, 0.0, top, out=total)
    return total
