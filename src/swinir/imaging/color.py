"""RGB to YCbCr as MATLAB does it, and grey.

YCbCr here is ITU-R BT.601 with studio swing in units of 8 bit, Y in [16, 235], Cb and Cr in [16, 240], as
float64 and never rounded. That is what the literature measures "on Y" with.
"""

from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from swinir.errors import UsageError

PixelArray = TypeVar("PixelArray", bound=NDArray[Any])
FloatArray = NDArray[np.float64]

# MATLAB's rgb2ycbcr for R, G, B in [0, 1]; rows make Y, Cb, Cr.
_RGB_TO_YCBCR = np.array([[65.481, 128.553, 24.966], [-37.797, -74.203, 112.0], [112.0, -93.786, -18.214]])
_OFFSET = np.array([16.0, 128.0, 128.0])
# BT.601's luma of full-range RGB.
LUMA_WEIGHTS = (0.299, 0.587, 0.114)


def white_level(dtype: np.dtype[Any]) -> float:
    """Pixel value that means white: 255, 65535, or 1 for floats."""
    if dtype.type in (np.uint8, np.uint16):
        return float(np.iinfo(dtype).max)
    if dtype.type in (np.float32, np.float64):
        return 1.0
    raise UsageError(f"expected pixels of uint8, uint16, float32 or float64, got {dtype}")


def rgb_to_y(pixels: NDArray[Any]) -> FloatArray:
    """Studio-swing luma Y, not rounded.

    Args:
        pixels: RGB [H, W, 3]: uint8 in [0, 255], uint16 in [0, 65535] or float in [0, 1].

    Returns:
        float64 [H, W]; black is 16, white 235.
    """
    _check_rgb(pixels)
    return pixels @ (_RGB_TO_YCBCR[0] / white_level(pixels.dtype)) + _OFFSET[0]


def rgb_to_ycbcr(pixels: NDArray[Any]) -> FloatArray:
    """Studio-swing Y, Cb and Cr, not rounded.

    Args:
        pixels: RGB [H, W, 3]: uint8 in [0, 255], uint16 in [0, 65535] or float in [0, 1].

    Returns:
        float64 [H, W, 3] in units of 8 bit.
    """
    _check_rgb(pixels)
    return pixels @ (_RGB_TO_YCBCR.T / white_level(pixels.dtype)) + _OFFSET


def ycbcr_to_rgb(pixels: NDArray[Any]) -> FloatArray:
    """Undo rgb_to_ycbcr.

    Args:
        pixels: studio-swing YCbCr [H, W, 3] in units of 8 bit, of any real type.

    Returns:
        RGB float64 [H, W, 3], white is 1; not clipped, for YCbCr holds colours that RGB does not.
    """
    _check_rgb(pixels)
    return (pixels - _OFFSET) @ np.linalg.inv(_RGB_TO_YCBCR).T


def rgb_to_gray(pixels: PixelArray) -> PixelArray:
    """Full-range BT.601 luma: white stays white. Integers are rounded half up.

    Args:
        pixels: RGB [H, W, 3].

    Returns:
        Same type, [H, W, 1].
    """
    _check_rgb(pixels)
    white_level(pixels.dtype)
    luma = pixels @ np.array(LUMA_WEIGHTS)
    if np.issubdtype(pixels.dtype, np.integer):
        # The weights sum to 1 only up to rounding; half a unit keeps 255 at 255.
        luma = np.floor(luma + 0.5)
    return luma.astype(pixels.dtype)[:, :, None]  # pyright: ignore[reportReturnType]


def _check_rgb(pixels: NDArray[Any]) -> None:
    if pixels.ndim != 3 or pixels.shape[2] != 3:
        raise UsageError(f"expected three channels [H, W, 3], got shape {pixels.shape}")
