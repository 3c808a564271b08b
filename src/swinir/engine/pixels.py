"""Pixels on their way into the network and out of it: types, ranges, channels.

An RGB network restores a grey image by three equal channels, of which the luma is kept; an RGB image whose
channels are equal everywhere is restored as the grey one that it is. A grey network restores the luma of an RGB
image, and the colour differences beside it are kept, enlarged by bicubic. A network of four channels is given the
colours as opaque, and its colours are kept.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from jaxtyping import Float32
from numpy.typing import NDArray

from swinir import imaging
from swinir.engine.forms import GiveBack, unwrap
from swinir.engine.tiling import Block, Plan
from swinir.engine.transparency import spread_colours
from swinir.errors import ImageError, UsageError
from swinir.imaging.color import LUMA_WEIGHTS

_LUMA = np.array(LUMA_WEIGHTS, np.float32)
# White of each type that pixels may have.
_WHITE = {np.uint8: 255.0, np.uint16: 65535.0, np.float32: 1.0}
# How far float values may leave [0, 1]: bicubic overshoot does by 0.2, noise of sigma 50/255 by nearly 1 in
# the published test pictures; values of [0, 255] are a mistake.
_OVERSHOOT = 1.5
UNIT_SPAN = (0.0, 1.0)
SCALED = "Values beyond 0 to 1 were scaled to it for the network, and back."
# Rows that are scaled together: the steps of so few find their pixels in the cache.
_ROWS_AT_ONCE = 8


@dataclass(frozen=True)
class Picture:
    """What was given to be restored, taken apart.

    Attributes:
        given: an image or an array.
        colours: [H, W, 1 or 3], 1 for RGB that is grey; where alpha is 0, those beside it.
        alpha: [H, W], of the type of ``colours``.
        give_back: makes of a result of that form what was given: a tensor, a Pillow image.
        span: values of the image that are 0 and 1 in ``colours``.
    """

    given: imaging.Image | NDArray[Any]
    colours: NDArray[Any]
    alpha: NDArray[Any] | None
    give_back: GiveBack
    span: tuple[float, float] = UNIT_SPAN

    @classmethod
    def of(cls, given: Any) -> "Picture":
        """Take an image, an array, a tensor or a Pillow image apart.

        Raises:
            UsageError: the array is no image that can be restored.
            ImageError: the image has values that are not finite.
            TypeError: it is none of these.
        """
        known, give_back = unwrap(given)
        if isinstance(known, imaging.Image):
            span, colours = _span_of(known.pixels), known.pixels
            if span != UNIT_SPAN:
                colours = scale_from(colours, span)
                if SCALED not in known.notes:
                    known = replace(known, notes=(*known.notes, SCALED))
            if problem := problem_with(colours):
                raise ImageError(problem)
            return cls(known, _seen(colours, known.alpha), known.alpha, give_back, span)
        if problem := problem_with(known):
            raise UsageError(problem)
        colours, alpha = split_alpha(known)
        return cls(known, _seen(colours, alpha), alpha, give_back)

    def with_colours(self, colours: NDArray[Any], scale: int) -> Any:
        """Put restored colours [scale·H, scale·W, 1 or 3] and enlarged alpha together, as what was given."""
        alpha = None if self.alpha is None else enlarge_alpha(self.alpha, scale)
        if self.span != UNIT_SPAN:
            colours = scale_back(colours, self.span)
        given = self.given.pixels if isinstance(self.given, imaging.Image) else self.given
        if colours.shape[2] == 1 and given.ndim == 3 and given.shape[2] > 2:
            colours = colours.repeat(3, axis=2)
        if isinstance(self.given, imaging.Image):
            return self.given.with_pixels(colours, alpha)
        if alpha is not None:
            colours = np.concatenate([colours, alpha[:, :, None]], axis=2)
        return self.give_back(colours[:, :, 0] if given.ndim == 2 else colours)


def _span_of(pixels: NDArray[Any]) -> tuple[float, float]:
    if pixels.dtype.type is not np.float32:
        return UNIT_SPAN
    return span_of_range(float(pixels.min()), float(pixels.max()), pixels.dtype)


def span_of_range(low: float, high: float, dtype: np.dtype[Any]) -> tuple[float, float]:
    """Return the values of a file that are to be 0 and 1: its own where floats go beyond these."""
    if dtype.type is not np.float32 or not np.isfinite(high - low):
        return UNIT_SPAN
    return min(low, 0.0), max(high, 1.0)


def scale_from(pixels: NDArray[Any], span: tuple[float, float]) -> NDArray[Any]:
    """Scale float32 values so that ``span`` becomes 0 and 1."""
    low, high = span
    return (pixels - np.float32(low)) / np.float32(high - low)


def scale_back(pixels: NDArray[Any], span: tuple[float, float]) -> NDArray[Any]:
    """Scale float32 values so that 0 and 1 become ``span``."""
    low, high = span
    return pixels * np.float32(high - low) + np.float32(low)


def _seen(colours: NDArray[Any], alpha: NDArray[Any] | None) -> NDArray[Any]:
    if imaging.has_equal_channels(colours):
        colours = colours[:, :, :1]
    return colours if alpha is None else spread_colours(colours, alpha)


def problem_with(pixels: NDArray[Any]) -> str | None:
    """Say what is wrong with an array of pixels, [H, W] or [H, W, C]; None if it can be restored."""
    if pixels.ndim not in (2, 3) or (pixels.ndim == 3 and pixels.shape[2] not in (1, 2, 3, 4)):
        return (
            f"an image is [H, W] or [H, W, C] with 1 to 4 channels (grey, grey + alpha, RGB, RGB + alpha), "
            f"got shape {pixels.shape}"
        )
    if 0 in pixels.shape:
        return f"an image has at least one pixel, got shape {pixels.shape}"
    if pixels.dtype.type not in _WHITE:
        return f"pixels are uint8, uint16 or floats in [0, 1], got {pixels.dtype}; convert them first"
    return _problem_with_floats(pixels) if pixels.dtype.type is np.float32 else None


def _problem_with_floats(pixels: NDArray[Any]) -> str | None:
    low, high = float(pixels.min()), float(pixels.max())
    if not np.isfinite(low + high):
        return "a float image has finite values, but one is NaN or infinite"
    if low < -_OVERSHOOT or high > 1 + _OVERSHOOT:
        return f"a float image has values in [0, 1], got {low:g} to {high:g}; rescale them first"
    return None


def split_alpha(pixels: NDArray[Any]) -> tuple[NDArray[Any], NDArray[Any] | None]:
    """Split [H, W] or [H, W, C] into colours [H, W, 1 or 3] and alpha [H, W]."""
    if pixels.ndim == 2:
        return pixels[:, :, None], None
    if pixels.shape[2] in (2, 4):
        return pixels[:, :, :-1], pixels[:, :, -1]
    return pixels, None


def enlarge_alpha(alpha: NDArray[Any], scale: int) -> NDArray[Any]:
    """Enlarge opacity [H, W] by bicubic, clipped to its range; at scale 1 it stays as it is."""
    if scale == 1:
        return alpha
    enlarged = imaging.resize_bicubic(alpha, scale)
    return enlarged.clip(0, 1) if alpha.dtype == np.float32 else enlarged


def to_unit(pixels: NDArray[Any]) -> Float32[np.ndarray, "h w c"]:
    """Scale to float32 with white at 1."""
    white = _WHITE[pixels.dtype.type]
    unit = pixels.astype(np.float32)
    return unit if white == 1 else unit / np.float32(white)


def from_unit(unit: Float32[np.ndarray, "h w c"], dtype: np.dtype[Any]) -> NDArray[Any]:
    """Clip to [0, 1] and scale to ``dtype``, integers rounded half up."""
    white = _WHITE[dtype.type]
    if white == 1:
        return unit.clip(0, 1)
    scaled = np.empty(unit.shape, dtype)
    for top in range(0, len(unit), _ROWS_AT_ONCE):
        rows = slice(top, top + _ROWS_AT_ONCE)
        few = unit[rows] * np.float32(white)
        few += np.float32(0.5)
        scaled[rows] = few.clip(0, np.float32(white), out=few)
    return scaled


def luma(unit: Float32[np.ndarray, "h w 3"]) -> Float32[np.ndarray, "h w 1"]:
    """Weigh RGB to full-range BT.601 luma."""
    return (unit @ _LUMA)[:, :, None]


class Canvas:
    """An image and its enlargement: tiles are taken from the one, finished bands put into the other.

    Args:
        pixels: [H, W, 1 or 3].
        in_channels: what the network takes, 1, 3 or 4.
        scale: what it enlarges by.
    """

    def __init__(self, pixels: NDArray[Any], *, in_channels: int, scale: int) -> None:
        self._pixels = pixels
        self._in_channels = in_channels
        height, width, channels = pixels.shape
        self._keeps_colour = channels == 3 and in_channels == 1
        if self._keeps_colour:
            self.enlarged = pixels.copy() if scale == 1 else imaging.resize_bicubic(pixels, scale)
        else:
            self.enlarged = np.empty((height * scale, width * scale, channels), pixels.dtype)

    def tiles(self, plan: Plan) -> Iterator[Float32[np.ndarray, "h w c"]]:
        """Yield the tiles of a plan, row by row, as the network wants them, white at 1."""
        for top, left in plan.origins():
            yield self.tile(plan.rows.positions(top), plan.columns.positions(left))

    def tile(self, rows: list[int], columns: list[int]) -> Float32[np.ndarray, "h w c"]:
        """Return the pixels of these rows and columns as the network wants them, white at 1."""
        return network_input(self._pixels[np.ix_(rows, columns)], self._in_channels)

    def paint(self, block: Block) -> None:
        """Put a block of the network's output in its place."""
        height, width = block.pixels.shape[:2]
        place = self.enlarged[block.top : block.top + height, block.left : block.left + width]
        place[:] = restored_pixels(block.pixels, place if self._keeps_colour else None, place)


def network_input(pixels: NDArray[Any], in_channels: int) -> Float32[np.ndarray, "h w c"]:
    """Make colours [H, W, 1 or 3] what a network of 1, 3 or 4 channels takes, white at 1."""
    unit = to_unit(pixels)
    if in_channels == 1:
        return unit if unit.shape[2] == 1 else luma(unit)
    colours = unit if unit.shape[2] == 3 else unit.repeat(3, axis=2)
    opaque = np.ones((*unit.shape[:2], in_channels - 3), np.float32)
    return np.concatenate([colours, opaque], axis=2) if in_channels > 3 else colours


def restored_pixels(
    restored: Float32[np.ndarray, "h w c"], enlarged: NDArray[Any] | None, like: NDArray[Any]
) -> NDArray[Any]:
    """Make the network's output pixels of the type and the channels that ``like`` has.

    A fourth channel is left out. Where the network restores luma only, ``enlarged`` [H, W, 3] is where the colours
    come from.
    """
    if enlarged is not None:
        below = to_unit(enlarged)
        return from_unit(below + (restored - luma(below)), like.dtype)
    restored = restored[:, :, :3]
    if restored.shape[2] != like.shape[2]:
        restored = luma(restored)
    return from_unit(restored, like.dtype)
