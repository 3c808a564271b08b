"""How training crops lose quality: what a recipe can choose, and the codecs' part of it, crop by crop."""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial

import numpy as np
from numpy.typing import NDArray

from swinir import imaging
from swinir.data.bsrgan import PUBLISHED, BsrganOptions, bsrgan
from swinir.data.degradations import compress_jpeg

# Crops for JPEG are compressed with this much around them, so that its blocks of 8×8 begin anywhere in a crop.
JPEG_MARGIN_PX = 8

Pixels = NDArray[np.uint8]  # [H, W, C]
# Takes a crop of high quality and returns the pair, low quality first.
MakePair = Callable[[Pixels, np.random.Generator], tuple[Pixels, Pixels]]


@dataclass(frozen=True, kw_only=True)
class Bicubic:
    """MATLAB's antialiased bicubic, of whole pictures."""


@dataclass(frozen=True, kw_only=True)
class GaussianNoise:
    """White Gaussian noise; ``sigma``: least and greatest standard deviation, of 255, drawn evenly per crop."""

    sigma: tuple[float, float]


@dataclass(frozen=True, kw_only=True)
class Jpeg:
    """JPEG; ``quality``: least and greatest of libjpeg's scale, 1 to 100, drawn evenly per crop."""

    quality: tuple[int, int]


@dataclass(frozen=True, kw_only=True)
class RealWorld:
    """The practical degradations of BSRGAN."""

    options: BsrganOptions = field(default=PUBLISHED)


@dataclass(frozen=True, kw_only=True)
class StoredPairs:
    """Whatever made the low quality that is stored beside the high one."""


Degradation = Bicubic | GaussianNoise | Jpeg | RealWorld | StoredPairs


def margin_px(degradation: Degradation) -> int:
    """Return how much larger than a crop the pixels are that it is made of."""
    return JPEG_MARGIN_PX if isinstance(degradation, Jpeg) else 0


def store_channels(degradation: Degradation, channels: int) -> int:
    """Return the channels of the pictures in memory: grey crops for JPEG are made from colour, one by one."""
    return 3 if isinstance(degradation, Jpeg) else channels


def pair_maker(degradation: Jpeg | RealWorld, *, scale: int, crop_px: int, channels: int) -> MakePair:
    """Choose the function that makes pairs of crops."""
    if isinstance(degradation, Jpeg):
        return partial(jpeg_pair, quality=degradation.quality, crop_px=crop_px * scale, is_gray=channels == 1)
    return partial(real_world_pair, scale=scale, options=degradation.options)


def jpeg_pair(
    hq: NDArray[np.uint8],
    generator: np.random.Generator,
    *,
    quality: tuple[int, int],
    crop_px: int,
    is_gray: bool = False,
) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Compress a crop in colour, and cut the pair out of it at the corner or, as often, anywhere.

    Args:
        hq: RGB [p, p, 3], p = crop_px + 8.
        generator: decides everything.
        quality: least and greatest.
        crop_px: side of the pair.
        is_gray: the crop is turned into luma first, of MATLAB's studio range or, as often, of full range.

    Returns:
        Low and high quality, [crop_px, crop_px, 3 or 1].
    """
    if is_gray:
        is_studio = generator.random() < 0.5
        luma = imaging.rgb_to_y(hq).round().astype(np.uint8)[:, :, None]
        hq = luma if is_studio else imaging.rgb_to_gray(hq)
    lq = compress_jpeg(hq, int(generator.integers(quality[0], quality[1], endpoint=True)))
    top, left = generator.integers(0, hq.shape[0] - crop_px, 2, endpoint=True)
    if generator.random() < 0.5:
        top = left = 0
    place = np.s_[top : top + crop_px, left : left + crop_px]
    return lq[place], hq[place]


def real_world_pair(
    hq: NDArray[np.uint8], generator: np.random.Generator, *, scale: int, options: BsrganOptions
) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Pair a crop with what the real world might have made of it."""
    return bsrgan(hq, scale, generator, options), hq
