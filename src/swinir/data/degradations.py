"""What test and training pictures are degraded with, as pure functions of picture and seed."""

import numpy as np
import pyvips
from numpy.typing import NDArray

from swinir.errors import UsageError


def add_gaussian_noise(
    hq: NDArray[np.uint8], sigma: float, generator: np.random.RandomState
) -> NDArray[np.float32]:
    """Add white Gaussian noise as the published evaluation does: in float, neither clipped nor rounded.

    The published code draws in BGR order; the channels are turned so that a seed gives its very noise.

    Args:
        hq: [H, W, C] uint8.
        sigma: standard deviation, of 255.
        generator: NumPy's legacy generator; seeded with 0 for each picture, the published evaluation's noise.

    Returns:
        [H, W, C] float32, nominally [0, 1] and beyond.
    """
    noise = generator.normal(0, sigma / 255, hq.shape)[..., ::-1]
    # A float32 picture and float64 noise, summed in float64 and then rounded: the published order.
    return (hq.astype(np.float32) / 255 + noise).astype(np.float32)


def compress_jpeg(hq: NDArray[np.uint8], quality: int) -> NDArray[np.uint8]:
    """Write and read back as JPEG, colour at half resolution (4:2:0) as cameras and OpenCV store it.

    Args:
        hq: [H, W, C] uint8.
        quality: 1 to 100, libjpeg's scale.

    Raises:
        UsageError: the quality is none.
    """
    if not 1 <= quality <= 100:
        raise UsageError(f"quality must be from 1 to 100, got {quality}")
    height, width, channels = hq.shape
    interpretation = "srgb" if channels == 3 else "b-w"
    picture = pyvips.Image.new_from_memory(
        np.ascontiguousarray(hq).data, width, height, channels, "uchar"
    ).copy(interpretation=interpretation)
    stored = picture.jpegsave_buffer(Q=quality, subsample_mode="on")
    return pyvips.Image.new_from_buffer(stored, "").numpy().reshape(hq.shape)
