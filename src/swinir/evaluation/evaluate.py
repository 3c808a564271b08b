"""Measure a Restorer on a data set, by the paper's protocol or as users run it."""

import time
from collections.abc import Callable, Iterable
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

from swinir import metrics
from swinir.data import Pair
from swinir.engine import Restorer
from swinir.errors import DataError
from swinir.evaluation.report import ImageFigures, Report

# PSNR-B needs two of JPEG's 8×8 blocks each way, and SSIM's window no more.
LEAST_PX = 16


class Protocol(StrEnum):
    """How pictures reach the network.

    PAPER pads to the next multiple of the window, a whole window more where a side already is one, by mirroring
    with the edge included, and never tiles: figures compare with published ones to the digit. ENGINE restores as
    the commands do.
    """

    PAPER = "paper"
    ENGINE = "engine"


def evaluate(
    restorer: Restorer,
    pairs: Iterable[Pair],
    *,
    data: str,
    task: str,
    protocol: Protocol = Protocol.PAPER,
    progress: Callable[[ImageFigures], None] = lambda _: None,
) -> Report:
    """Restore each pair's low quality and compare, both as uint8, without ``scale`` pixels at the border.

    Args:
        restorer: what is measured; for PAPER, one that never tiles.
        pairs: low and high quality.
        data: name of the data set in the report.
        task: what was done to the pictures, in the report's words.
        protocol: how pictures reach the network.
        progress: called with the figures of each picture.

    Raises:
        DataError: there are no pairs, or a picture is too small to be measured.
        ValueError: PAPER is asked of a restorer that tiles.
    """
    if protocol is Protocol.PAPER and restorer.tile is not None:
        raise ValueError(
            f"the paper's protocol never tiles, but the restorer has tile={restorer.tile!r}: pass None"
        )
    scale = restorer.config.scale
    border_px = scale if scale > 1 else 0
    images: list[ImageFigures] = []
    for pair in pairs:
        least_px = LEAST_PX + 2 * border_px
        if min(pair.hq.shape[:2]) < least_px:
            raise DataError(
                f"{pair.name} in {data} is {pair.hq.shape[1]}×{pair.hq.shape[0]} pixels, but the figures need "
                f"{least_px} a side: take it out"
            )
        began = time.monotonic()
        restored = _restore(restorer, pair.lq, protocol)
        seconds = time.monotonic() - began
        figures = measure(pair.name, restored, pair.hq, border_px=border_px, seconds=seconds)
        progress(figures)
        images.append(figures)
    if not images:
        raise DataError(f"{data} holds no pictures")
    return Report(
        model=restorer.name,
        data=data,
        task=task,
        scale=scale,
        protocol=protocol.value,
        images=tuple(images),
    )


def measure(
    name: str, restored: NDArray[np.uint8], hq: NDArray[np.uint8], *, border_px: int, seconds: float
) -> ImageFigures:
    """Compare two uint8 pictures [H, W, C] by every figure of the report."""
    luma: metrics.Channel = "y" if hq.shape[2] == 3 else "rgb"
    return ImageFigures(
        name=name,
        psnr_y_db=metrics.psnr(restored, hq, border_px, luma),
        ssim_y=metrics.ssim(restored, hq, border_px, luma),
        psnr_rgb_db=metrics.psnr(restored, hq, border_px),
        ssim_rgb=metrics.ssim(restored, hq, border_px),
        psnr_b_db=metrics.psnr_b(restored, hq, border_px, luma),
        seconds=seconds,
    )


def _restore(restorer: Restorer, lq: NDArray[np.generic], protocol: Protocol) -> NDArray[np.uint8]:
    if protocol is Protocol.ENGINE:
        return _as_uint8(restorer(lq))
    height, width = lq.shape[:2]
    scale = restorer.config.scale
    restored = restorer(pad_as_published(lq, restorer.config.window_size))
    return _as_uint8(restored[: height * scale, : width * scale])


def pad_as_published(lq: NDArray[np.generic], window_size: int) -> NDArray[np.generic]:
    """Mirror, edge included, to the next multiple of the window: 57 -> 64, and 64 -> 72."""
    height, width = lq.shape[:2]
    below, right = (window_size - side % window_size for side in (height, width))
    return np.pad(lq, ((0, below), (0, right), (0, 0)), mode="symmetric")


def _as_uint8(pixels: NDArray[np.generic]) -> NDArray[np.uint8]:
    if pixels.dtype == np.uint8:
        return pixels.astype(np.uint8, copy=False)
    return (pixels.astype(np.float64).clip(0, 1) * 255).round().astype(np.uint8)
