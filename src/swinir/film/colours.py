"""From the planes of a film to RGB and back, exactly: every step is float32, rounded once.

Names and numbers of colours are those of ITU-T H.273. Chroma of a lower resolution is enlarged by Catmull-Rom
splines and reduced by means; as in MPEG-2 it lies on the left luma samples, between the upper and the lower ones.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float32, UInt16
from numpy.typing import NDArray

UNSPECIFIED = 2
BT709 = 1
BT601 = 6
BT2020 = 9
PQ, HLG = 16, 18
_RGB_MATRIX = 0
# K_R and K_B of ITU-T H.273, table 4, by matrix coefficients.
_LUMA_WEIGHTS = {
    1: (0.2126, 0.0722),
    4: (0.30, 0.11),
    5: (0.299, 0.114),
    6: (0.299, 0.114),
    7: (0.212, 0.087),
    9: (0.2627, 0.0593),
}
# Above this size a film without a matrix is taken for high definition, as players do.
_SD_WIDTH_PX, _SD_HEIGHT_PX = 1280, 576
_WHITE = 65535


@dataclass(frozen=True, kw_only=True)
class Colours:
    """What the values of a film mean.

    Attributes:
        primaries: code point of the primaries.
        transfer: code point of the transfer characteristics.
        matrix: code point of the matrix that makes luma and chroma of RGB.
        is_full: values take the whole range of their bits, not 16 to 235 of 255.
    """

    primaries: int
    transfer: int
    matrix: int
    is_full: bool

    @property
    def is_hdr(self) -> bool:
        """Whether brightness is coded by PQ or HLG (ITU-R BT.2100)."""
        return self.transfer in (PQ, HLG)

    @property
    def has_known_matrix(self) -> bool:
        """Whether RGB can be computed."""
        return self.matrix in _LUMA_WEIGHTS


def choose_matrix(stated: int, primaries: int, width: int, height: int) -> int:
    """Return the matrix that a film states or, where it states none, the one that players take."""
    if stated not in (UNSPECIFIED, _RGB_MATRIX):
        return stated
    if primaries == BT2020:
        return BT2020
    return BT709 if width >= _SD_WIDTH_PX or height > _SD_HEIGHT_PX else BT601


def to_rgb(planes: Sequence[NDArray[Any]], bits: int, colours: Colours) -> UInt16[np.ndarray, "h w 3"]:
    """Compute RGB from luma and two planes of chroma, of any resolution up to that of luma, or from luma alone.

    Args:
        planes: [H, W] of luma and, of chroma, [⌈H / n⌉, ⌈W / m⌉] with n and m of 1, 2 or 4.
        bits: of their values.
        colours: whose matrix is known.

    Returns:
        The same transfer characteristics, white at 65535; what is outside of RGB is clipped.
    """
    luma_range, chroma_range = _ranges(bits, is_full=colours.is_full)
    luma = _unit(planes[0], *luma_range)
    height, width = luma.shape
    out = np.empty((height, width, 3), np.uint16)
    if len(planes) == 1:
        out[:] = _to_16_bits(luma)[:, :, None]
        return out
    blue, red = (_unit(_fit(plane, height, width), *chroma_range) for plane in planes[1:3])
    weight_r, weight_b = _LUMA_WEIGHTS[colours.matrix]
    red *= 2 * (1 - weight_r)
    red += luma
    blue *= 2 * (1 - weight_b)
    blue += luma
    luma -= weight_r * red
    luma -= weight_b * blue
    luma /= 1 - weight_r - weight_b
    for index, channel in enumerate((red, luma, blue)):
        out[:, :, index] = _to_16_bits(channel)
    return out


def from_rgb(
    rgb: UInt16[np.ndarray, "h w 3"], bits: int, colours: Colours, chroma: tuple[int, int]
) -> list[NDArray[Any]]:
    """Compute luma and two planes of chroma; the inverse of ``to_rgb``.

    Args:
        rgb: white at 65535.
        bits: that values are to have.
        colours: whose matrix is known.
        chroma: how many luma samples there are for one of chroma, down and across: 1, 2 or 4.
    """
    weight_r, weight_b = _LUMA_WEIGHTS[colours.matrix]
    red, green, blue = (rgb[:, :, index].astype(np.float32) / np.float32(_WHITE) for index in range(3))
    luma = weight_r * red + (1 - weight_r - weight_b) * green + weight_b * blue
    blue -= luma
    blue /= 2 * (1 - weight_b)
    red -= luma
    red /= 2 * (1 - weight_r)
    luma_range, chroma_range = _ranges(bits, is_full=colours.is_full)
    reduced = [_reduce(_reduce(plane, chroma[0], 0), chroma[1], 1) for plane in (blue, red)]
    return [
        _quantize(luma, bits, *luma_range),
        *(_quantize(plane, bits, *chroma_range) for plane in reduced),
    ]


def _ranges(bits: int, *, is_full: bool) -> tuple[tuple[float, float], tuple[float, float]]:
    """Return zero and span of luma, and of chroma: H.273, equations 26 to 31 and 35 to 40."""
    if is_full:
        return (0, 2**bits - 1), (2 ** (bits - 1), 2**bits - 1)
    step = 2.0 ** (bits - 8)
    return (16 * step, 219 * step), (128 * step, 224 * step)


def _unit(plane: NDArray[Any], zero: float, span: float) -> Float32[np.ndarray, "h w"]:
    unit = plane.astype(np.float32)
    unit -= np.float32(zero)
    unit /= np.float32(span)
    return unit


def _to_16_bits(channel: Float32[np.ndarray, "h w"]) -> UInt16[np.ndarray, "h w"]:
    return (channel.clip(0, 1) * np.float32(_WHITE) + np.float32(0.5)).astype(np.uint16)


def _quantize(plane: Float32[np.ndarray, "h w"], bits: int, zero: float, span: float) -> NDArray[Any]:
    values = plane * np.float32(span) + np.float32(zero + 0.5)
    return values.clip(0, 2**bits - 1).astype(np.uint8 if bits == 8 else np.uint16)


def _fit(plane: NDArray[Any], height: int, width: int) -> NDArray[Any]:
    """Enlarge chroma to the size of luma."""
    while plane.shape[0] < height:
        plane = _double(plane, 0, ((-1, 0.75), (0, 0.25)))
    while plane.shape[1] < width:
        plane = _double(plane, 1, ((0, 0.0), (0, 0.5)))
    return plane[:height, :width]


def _double(
    plane: NDArray[Any], axis: int, phases: Sequence[tuple[int, float]]
) -> Float32[np.ndarray, "h w"]:
    """Make two samples of each: at ``t`` between the neighbour ``first`` places on and the one behind it."""
    plane = plane.astype(np.float32, copy=False)
    shape = list(plane.shape)
    shape[axis] *= 2
    doubled = np.empty(shape, np.float32)
    for phase, (first, t) in enumerate(phases):
        place = [slice(None), slice(None)]
        place[axis] = slice(phase, None, 2)
        doubled[tuple(place)] = sum(
            weight * _shift(plane, axis, first + offset)
            for offset, weight in zip(range(-1, 3), _catmull_rom(t), strict=True)
            if weight
        )
    return doubled


def _catmull_rom(t: float) -> tuple[np.float32, ...]:
    """Return the weights of four neighbours at ``t`` between the second and the third."""
    weights = (
        -0.5 * t + t**2 - 0.5 * t**3,
        1 - 2.5 * t**2 + 1.5 * t**3,
        0.5 * t + 2 * t**2 - 1.5 * t**3,
        -0.5 * t**2 + 0.5 * t**3,
    )
    return tuple(np.float32(weight) for weight in weights)


def _reduce(plane: Float32[np.ndarray, "h w"], factor: int, axis: int) -> Float32[np.ndarray, "h w"]:
    """Halve the samples down (axis 0) or across (axis 1), as often as ``factor`` says."""
    while factor > 1:
        every_other = (slice(None, None, 2),) if axis == 0 else (slice(None), slice(None, None, 2))
        following = _shift(plane, axis, 1)
        if axis == 0:
            plane = (plane[every_other] + following[every_other]) / 2
        else:
            around = _shift(plane, axis, -1)[every_other] + following[every_other]
            plane = plane[every_other] / 2 + around / 4
        factor //= 2
    return plane


def _shift(plane: NDArray[Any], axis: int, by: int) -> NDArray[Any]:
    """Put in each place the sample ``by`` places on; beyond the border, that of the border."""
    if by == 0:
        return plane
    size = plane.shape[axis]
    return plane.take(np.arange(by, size + by).clip(0, size - 1), axis=axis)
