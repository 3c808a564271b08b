"""Measure a Restorer on a test set, by a protocol of the literature or as users run it."""

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np
import torch
from einops import rearrange
from numpy.typing import NDArray

from swinir.engine import Restorer
from swinir.engine.pixels import from_unit, to_unit
from swinir.errors import DataError, UsageError
from swinir.evaluation.known_sets import CopyCheck, check_copy
from swinir.evaluation.measures import measure
from swinir.evaluation.niqe import NiqeModel, niqe
from swinir.evaluation.protocols import EvaluationProtocol, Padding, choose_protocol
from swinir.evaluation.report import ImageFigures, Report, describe_model
from swinir.evaluation.testsets import EvaluationSet, Sample

# PSNR-B needs two of JPEG's 8×8 blocks each way, and SSIM's window no more.
LEAST_PX = 16


@dataclass(frozen=True, kw_only=True)
class Observation:
    """A picture that has just been measured; ``restored`` is uint8, [H, W, C]."""

    sample: Sample
    restored: NDArray[np.uint8]
    figures: ImageFigures


Observe = Callable[[Observation], None]


def evaluate(
    restorer: Restorer,
    test_set: EvaluationSet,
    *,
    protocol: EvaluationProtocol | None = None,
    niqe_model: NiqeModel | None = None,
    observe: Observe = lambda _: None,
) -> Report:
    """Restore the pictures of a test set and measure them.

    Args:
        restorer: what is measured; published padding never tiles, whatever its options say.
        test_set: pictures and degradation.
        protocol: how it is measured; what the literature does for the task unless given.
        niqe_model: also measure NIQE, against these statistics.
        observe: called with every picture as soon as it is measured.

    Raises:
        UsageError: the network takes other channels than pictures of test sets have.
        DataError: there are no pictures, files do not pair, or a picture is too small to be measured.
        RestoreError: a picture does not fit the memory.
    """
    config = restorer.config
    if config.in_channels not in (1, 3):
        raise UsageError(
            f"test sets are of grey or RGB pictures, and this network takes {config.in_channels} channels: choose"
            " another model"
        )
    chosen = protocol or choose_protocol(config, test_set.degradation)
    # First, so that low-resolution copies are refused before anything is restored.
    copy = (
        CopyCheck()
        if test_set.degradation is None
        else check_copy(test_set.name, test_set.folder, chosen.name)
    )
    images = measure_samples(
        restorer,
        test_set.samples(config),
        data=test_set.name,
        protocol=chosen,
        niqe_model=niqe_model,
        observe=observe,
    )
    return Report(
        model=describe_model(restorer),
        data=test_set.name,
        task=test_set.describe(config),
        level=test_set.level(config),
        protocol=chosen,
        images=images,
        copy=copy,
    )


def measure_samples(
    restorer: Restorer,
    samples: Iterable[Sample],
    *,
    data: str,
    protocol: EvaluationProtocol,
    niqe_model: NiqeModel | None = None,
    observe: Observe = lambda _: None,
) -> tuple[ImageFigures, ...]:
    """Restore each picture's low quality and measure it, as uint8.

    Args:
        restorer: see ``evaluate``.
        samples: low quality, and the high quality where there is one.
        data: name of the test set, for errors.
        protocol: how it is measured.
        niqe_model: see ``evaluate``.
        observe: see ``evaluate``.

    Raises:
        DataError: there are no pictures, or one is too small to be measured.
        RestoreError: a picture does not fit the memory.
    """
    border_px = protocol.border_px(restorer.config.scale)
    images: list[ImageFigures] = []
    for sample in samples:
        if sample.hq is not None:
            _check_size(sample.name, data, sample.hq, border_px)
        began = time.monotonic()
        restored = _restore(restorer, sample.lq, protocol.padding)
        seconds = time.monotonic() - began
        figures = {} if sample.hq is None else measure(restored, sample.hq, border_px=border_px)
        if niqe_model is not None:
            figures["niqe"] = _measure_niqe(sample.name, data, restored, niqe_model)
        image = ImageFigures(
            name=sample.name,
            width=restored.shape[1],
            height=restored.shape[0],
            figures=figures,
            seconds=seconds,
        )
        observe(Observation(sample=sample, restored=restored, figures=image))
        images.append(image)
    if not images:
        raise DataError(f"{data} holds no pictures")
    return tuple(images)


def _check_size(name: str, data: str, hq: NDArray[np.uint8], border_px: int) -> None:
    least_px = LEAST_PX + 2 * border_px
    if min(hq.shape[:2]) < least_px:
        raise DataError(
            f"{name} in {data} is {hq.shape[1]}×{hq.shape[0]} pixels, but the figures need {least_px} a side: "
            "take it out"
        )


def _measure_niqe(name: str, data: str, restored: NDArray[np.uint8], model: NiqeModel) -> float:
    try:
        return niqe(restored, model)
    except DataError as error:
        raise DataError(f"{name} in {data}: {error}") from error


def _restore(restorer: Restorer, lq: NDArray[np.generic], padding: Padding) -> NDArray[np.uint8]:
    if padding is Padding.ENGINE:
        return to_uint8(restorer(lq))
    height, width = lq.shape[:2]
    scale = restorer.config.scale
    padded = to_unit(pad_as_published(lq, restorer.config.window_px))
    restored = restorer.restore_batch(rearrange(torch.from_numpy(padded), "h w c -> 1 c h w"))
    pixels = rearrange(restored, "1 c h w -> h w c")[: height * scale, : width * scale].numpy()
    return to_uint8(from_unit(pixels, lq.dtype))


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
