"""NIQE: how far a picture's statistics are from those of undistorted photographs; no original is needed.

Lower is better. The statistics of the photographs, a multivariate Gaussian, come from a file: those that the
literature uses belong to NIQE's authors and are not part of this package.

Source: Mittal, Soundararajan and Bovik, "Making a completely blind image quality analyzer", 2013. Y of BT.601 in
studio swing, rounded, and patches of 96 pixels, as the figures of super-resolution papers are made.
"""

from dataclasses import dataclass
from functools import lru_cache
from math import lgamma
from pathlib import Path
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray

from swinir import imaging
from swinir.errors import DataError

FloatArray = NDArray[np.float64]

PATCH_PX = 96
# Of patches on two scales: the shape and width of their own distribution, then four figures of each of the four
# distributions of products of neighbours.
NUM_FEATURES = 36
_SCALES = (1, 2)
# Neighbours to the right, below, below right, and below left, as rolls of rows and columns.
_SHIFTS = ((0, 1), (1, 0), (1, 1), (1, -1))
# Added to the local deviation, in units of 8 bit, so that flat areas do not divide by 0 (equation 1).
_STABILITY = 1.0


@dataclass(frozen=True, kw_only=True)
class NiqeModel:
    """Statistics of undistorted photographs.

    Attributes:
        mean: of the features, [36].
        covariance: of the features, [36, 36].
        window: weights of the local mean, [k, k], which sum to 1.
    """

    mean: FloatArray
    covariance: FloatArray
    window: FloatArray


def load_niqe_model(path: Path) -> NiqeModel:
    """Read the statistics from an .npz file with ``mu_pris_param``, ``cov_pris_param`` and ``gaussian_window``.

    Raises:
        DataError: it is missing or holds something else.
    """
    try:
        with np.load(path, allow_pickle=False) as arrays:
            mean, covariance, window = (
                np.asarray(arrays[name], np.float64)
                for name in ("mu_pris_param", "cov_pris_param", "gaussian_window")
            )
    except FileNotFoundError as error:
        raise DataError(
            f"there is no NIQE file {path}: name niqe_pris_params.npz, as BasicSR ships it"
        ) from error
    except (OSError, KeyError, ValueError, BadZipFile, TypeError, AttributeError) as error:
        raise DataError(
            f"{path} holds no statistics for NIQE ({error}): name niqe_pris_params.npz, as BasicSR ships it"
        ) from error
    if mean.size != NUM_FEATURES or covariance.shape != (NUM_FEATURES, NUM_FEATURES) or window.ndim != 2:
        raise DataError(
            f"{path} has statistics of shapes {mean.shape}, {covariance.shape} and {window.shape}, but NIQE has "
            f"{NUM_FEATURES} features: name niqe_pris_params.npz, as BasicSR ships it"
        )
    return NiqeModel(mean=mean.reshape(-1), covariance=covariance, window=window)


def niqe(pixels: NDArray[np.uint8], model: NiqeModel) -> float:
    """Measure a picture.

    Args:
        pixels: uint8 [H, W, C], RGB or grey, of at least two patches of 96 pixels.
        model: the statistics to compare with.

    Raises:
        DataError: it is too small.
    """
    luma = np.round(imaging.rgb_to_y(pixels)) if pixels.shape[2] == 3 else pixels[:, :, 0].astype(np.float64)
    rows, columns = luma.shape[0] // PATCH_PX, luma.shape[1] // PATCH_PX
    if rows * columns < 2:
        raise DataError(
            f"a picture of {luma.shape[1]}×{luma.shape[0]} pixels is too small for NIQE, which needs two patches of "
            f"{PATCH_PX}×{PATCH_PX}: take it out"
        )
    plane = luma[: rows * PATCH_PX, : columns * PATCH_PX]
    by_scale: list[FloatArray] = []
    for scale in _SCALES:
        if scale > 1:
            plane = imaging.resize_bicubic(plane, 1 / scale)
        side = PATCH_PX // scale
        normalized = _normalize(plane, model.window)
        patches = normalized.reshape(rows, side, columns, side).swapaxes(1, 2).reshape(-1, side, side)
        by_scale.append(np.array([_read_features(patch) for patch in patches]))
    features = np.concatenate(by_scale, axis=1)
    mean = np.nanmean(features, axis=0)
    covariance = np.cov(features[~np.isnan(features).any(axis=1)], rowvar=False)
    away = model.mean - mean
    # Equation 10.
    return float(np.sqrt(away @ np.linalg.pinv((model.covariance + covariance) / 2) @ away))


def _normalize(plane: FloatArray, window: FloatArray) -> FloatArray:
    """Subtract the local mean and divide by the local deviation (equations 1 to 3); edges are repeated."""
    mean = _filter(plane, window)
    deviation = np.sqrt(np.abs(_filter(plane**2, window) - mean**2))
    return (plane - mean) / (deviation + _STABILITY)


def _filter(plane: FloatArray, window: FloatArray) -> FloatArray:
    size = window.shape[0]
    padded = np.pad(plane, size // 2, mode="edge")
    filtered = np.zeros_like(plane)
    for row in range(size):
        for column in range(size):
            filtered += window[row, column] * padded[row:, column:][: plane.shape[0], : plane.shape[1]]
    return filtered


def _read_features(patch: FloatArray) -> list[float]:
    """Return the 18 features of a patch on one scale (section II.B)."""
    shape, left, right = _fit_asymmetric_gaussian(patch)
    features = [shape, (left + right) / 2]
    for shift in _SHIFTS:
        shape, left, right = _fit_asymmetric_gaussian(patch * np.roll(patch, shift, axis=(0, 1)))
        # Equation 8, with gamma functions in logarithms.
        mean = (right - left) * np.exp(lgamma(2 / shape) - lgamma(1 / shape))
        features += [shape, mean, left, right]
    return features


def _fit_asymmetric_gaussian(values: FloatArray) -> tuple[float, float, float]:
    """Match the moments of an asymmetric generalized Gaussian; return its shape and its widths left and right.

    Source: Lasmar, Stitou and Berthoumieu, "Multiscale skewed heavy tailed model for texture analysis", 2009.
    """
    squares = values**2
    with np.errstate(invalid="ignore", divide="ignore"):
        left = np.sqrt(squares.sum(where=values < 0) / np.count_nonzero(values < 0))
        right = np.sqrt(squares.sum(where=values > 0) / np.count_nonzero(values > 0))
        ratio = left / right
        flatness = np.mean(np.abs(values)) ** 2 / np.mean(squares)
        wanted = flatness * (ratio**3 + 1) * (ratio + 1) / (ratio**2 + 1) ** 2
    shapes, ratios = _list_shapes()
    shape = float(shapes[np.argmin((ratios - wanted) ** 2)])
    width = np.exp((lgamma(1 / shape) - lgamma(3 / shape)) / 2)
    return shape, float(left * width), float(right * width)


@lru_cache(maxsize=1)
def _list_shapes() -> tuple[FloatArray, FloatArray]:
    """List shapes from 0.2 to 10 and the ratio of moments that each has."""
    shapes = np.arange(0.2, 10.001, 0.001)
    ratios = np.array([2 * lgamma(2 / g) - lgamma(1 / g) - lgamma(3 / g) for g in shapes.tolist()])
    return shapes, np.exp(ratios)
