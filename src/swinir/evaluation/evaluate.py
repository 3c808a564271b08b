"""Measure a Restorer on a test set, by a protocol of the literature or as users run it."""

import time
from collections.abc import Callable, Iterable

import numpy as np
from numpy.typing import NDArray

from swinir.data import Pair
from swinir.engine import Restorer
from swinir.errors import DataError
from swinir.evaluation.measures import measure
from swinir.evaluation.protocols import EvaluationProtocol, Padding, choose_protocol
from swinir.evaluation.report import ImageFigures, Report
from swinir.evaluation.testsets import EvaluationSet

# PSNR-B needs two of JPEG's 8×8 blocks each way, and SSIM's window no more.
LEAST_PX = 16

# Called with each picture: its pair, what was restored of it (uint8, [H, W, C]) and its figures.
Observe = Callable[[Pair, NDArray[np.uint8], ImageFigures], None]


def evaluate(
    restorer: Restorer,
    test_set: EvaluationSet,
    *,
    protocol: EvaluationProtocol | None = None,
    observe: Observe = lambda _pair, _restored, _figures: None,
) -> Report:
    """Restore the pictures of a test set and measure them.

    Args:
        restorer: what is measured; for published padding, one that never tiles.
        test_set: pictures and degradation.
        protocol: how it is measured; what the literature does for the task unless given.
        observe: called with every picture as soon as it is measured.

    Raises:
        DataError: there are no pictures, files do not pair, or a picture is too small to be measured.
        ValueError: published padding is asked of a restorer that tiles.
    """
    chosen = protocol or choose_protocol(restorer.config, test_set.degradation)
    return evaluate_pairs(
        restorer,
        test_set.pairs(restorer.config),
        data=test_set.name,
        task=test_set.describe(restorer.config),
        protocol=chosen,
        observe=observe,
    )


def evaluate_pairs(
    restorer: Restorer,
    pairs: Iterable[Pair],
    *,
    data: str,
    task: str,
    protocol: EvaluationProtocol,
    observe: Observe = lambda _pair, _restored, _figures: None,
) -> Report:
    """Restore each pair's low quality and compare it with the high quality, both as uint8.

    Args:
        restorer: see ``evaluate``.
        pairs: low and high quality.
        data: name of the data set in the report.
        task: what was done to the pictures, in the report's words.
        protocol: how it is measured.
        observe: see ``evaluate``.

    Raises:
        DataError: there are no pairs, or a picture is too small to be measured.
        ValueError: published padding is asked of a restorer that tiles.
    """
    tile = restorer.options.tile
    if protocol.padding is Padding.PUBLISHED and tile is not None:
        raise ValueError(
            f"published figures are measured without tiles, but the restorer has tile={tile!r}: pass None"
        )
    scale = restorer.config.scale
    border_px = protocol.border_px(scale)
    images: list[ImageFigures] = []
    for pair in pairs:
        least_px = LEAST_PX + 2 * border_px
        if min(pair.hq.shape[:2]) < least_px:
            raise DataError(
                f"{pair.name} in {data} is {pair.hq.shape[1]}×{pair.hq.shape[0]} pixels, but the figures need "
                f"{least_px} a side: take it out"
            )
        began = time.monotonic()
        restored = _restore(restorer, pair.lq, protocol.padding)
        seconds = time.monotonic() - began
        figures = ImageFigures(
            name=pair.name, figures=measure(restored, pair.hq, border_px=border_px), seconds=seconds
        )
        observe(pair, restored, figures)
        images.append(figures)
    if not images:
        raise DataError(f"{data} holds no pictures")
    return Report(
        model=restorer.name,
        data=data,
        task=task,
        scale=scale,
        protocol=protocol,
        images=tuple(images),
    )


def _restore(restorer: Restorer, lq: NDArray[np.generic], padding: Padding) -> NDArray[np.uint8]:
    if padding is Padding.ENGINE:
        return to_uint8(restorer(lq))
    height, width = lq.shape[:2]
    scale = restorer.config.scale
    restored = restorer(pad_as_published(lq, restorer.config.window_size))
    return to_uint8(restored[: height * scale, : width * scale])


def pad_as_published(lq: NDArray[np.generic], window_size: int) -> NDArray[np.generic]:
    """Mirror, edge included, to the next multiple of the window: 57 -> 64, and 64 -> 72."""
    height, width = lq.shape[:2]
    below, right = (window_size - side % window_size for side in (height, width))
    return np.pad(lq, ((0, below), (0, right), (0, 0)), mode="symmetric")


def to_uint8(pixels: NDArray[np.generic]) -> NDArray[np.uint8]:
    """Clip [0, 1] and round to 8 bits; uint8 stays as it is."""
    if pixels.dtype == np.uint8:
        return pixels.astype(np.uint8, copy=False)
    return (pixels.astype(np.float64).clip(0, 1) * 255).round().astype(np.uint8)
