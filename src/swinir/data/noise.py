"""Noise of several origins: white, grey, of correlated colours, of photons, of a camera's sensor.

Pictures are float32 RGB with white at 1. Results are not clipped: who adds several kinds clips where a
picture would have been stored.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from swinir.data.blur import filter_picture
from swinir.imaging.color import LUMA_WEIGHTS

# What grey noise is measured on.
_LUMA = np.array(LUMA_WEIGHTS, np.float32)


def add_color_noise(
    picture: NDArray[np.float32], sigma_255: float, generator: np.random.Generator
) -> NDArray[np.float32]:
    """Add white Gaussian noise of standard deviation ``sigma_255`` (of 255), [H, W, C], each channel its own."""
    return picture + _normal(picture.shape, sigma_255 / 255, generator)


def add_gray_noise(
    picture: NDArray[np.float32], sigma_255: float, generator: np.random.Generator
) -> NDArray[np.float32]:
    """Add white Gaussian noise of standard deviation ``sigma_255`` (of 255), [H, W, C], the same to each channel."""
    return picture + _normal((*picture.shape[:2], 1), sigma_255 / 255, generator)


def add_correlated_noise(
    picture: NDArray[np.float32], covariance: NDArray[np.float64], generator: np.random.Generator
) -> NDArray[np.float32]:
    """Add Gaussian noise, white in space, whose channels have the given covariance.

    Args:
        picture: [H, W, C].
        covariance: [C, C], positive semidefinite, of values in [0, 1].
        generator: draws the noise.
    """
    variances, axes = np.linalg.eigh(covariance)
    # The symmetric root: unlike Cholesky's it exists without full rank, and no sign in it is arbitrary.
    root = (axes * np.sqrt(np.maximum(variances, 0))) @ axes.T
    return picture + (_normal(picture.shape, 1, generator) @ root).astype(np.float32)


def random_covariance(largest_sigma_255: float, generator: np.random.Generator) -> NDArray[np.float64]:
    """Draw a covariance of three channels whose standard deviations stay below ``largest_sigma_255`` (of 255).

    L²·|Uᵀ·D·U| as in the training of Zhang et al. 2021: D diagonal and uniform in [0, 1], U an
    orthonormal basis of a uniform random matrix. The absolute values keep it positive semidefinite: the
    diagonal stays, and of three channels no determinant becomes smaller.
    """
    axes = np.linalg.svd(generator.random((3, 3)))[0]
    mixed = np.abs((axes.T * generator.random(3)) @ axes)
    return mixed * (largest_sigma_255 / 255) ** 2


def add_poisson_noise(
    picture: NDArray[np.float32], photons: float, generator: np.random.Generator, *, gray: bool
) -> NDArray[np.float32]:
    """Count photons: noise whose variance is the signal divided by ``photons``, the count that gives white.

    Args:
        picture: [H, W, 3], in [0, 1].
        photons: expected at white.
        generator: draws the counts.
        gray: count those of the luma, and add their noise to each channel.
    """
    signal = picture @ _LUMA[:, None] if gray else picture
    counted = generator.poisson(np.maximum(signal, 0) * photons) / photons
    return picture + (counted - signal).astype(np.float32)


@dataclass(frozen=True, kw_only=True)
class Camera:
    """A sensor and the processing behind it, after Brooks et al., "Unprocessing Images", CVPR 2019.

    A raw value's variance is ``shot`` times the value plus ``read``, with white at 1.
    """

    red_gain: float
    blue_gain: float
    shot: float
    read: float


def random_camera(generator: np.random.Generator) -> Camera:
    """Draw gains and noise from the ranges that Brooks et al. measured on real cameras."""
    log_shot = generator.uniform(np.log(1e-4), np.log(1.2e-2))
    log_read = generator.normal(2.18 * log_shot + 1.20, 0.26)
    return Camera(
        red_gain=generator.uniform(1.9, 2.4),
        blue_gain=generator.uniform(1.5, 1.9),
        shot=float(np.exp(log_shot)),
        read=float(np.exp(log_read)),
    )


def add_camera_noise(
    picture: NDArray[np.float32], camera: Camera, generator: np.random.Generator
) -> NDArray[np.float32]:
    """Take a picture back to a sensor's raw values, add their noise, and develop it again.

    Back: sRGB's curve undone, white balance undone, one colour per pixel kept (RGGB). Forward: bilinear
    demosaicing, white balance, curve. No colour matrix and no tone curve: they scale noise a little and add
    nothing else to it. Demosaicing leaves its own mark, colour fringes on fine detail, without any noise too.

    Args:
        picture: [H, W, 3] in [0, 1].
        camera: gains and noise.
        generator: draws the noise.

    Returns:
        [H, W, 3] in [0, 1].
    """
    margin = (
        2  # even, so that red stays at even rows and columns; mirrored, so that every pixel has neighbours
    )
    around = ((margin, margin), (margin, margin), (0, 0))
    gains = np.array([camera.red_gain, 1, camera.blue_gain], np.float32)
    linear = _decode_srgb(np.pad(np.clip(picture, 0, 1), around, mode="reflect")) / gains
    pattern = rggb_pattern(*linear.shape[:2])
    raw = (linear * pattern).sum(axis=2, keepdims=True)
    raw = raw + np.sqrt(camera.shot * raw + camera.read) * _normal(raw.shape, 1, generator)
    developed = np.clip(demosaic(raw, pattern) * gains, 0, 1)
    return _encode_srgb(developed)[margin:-margin, margin:-margin]


def rggb_pattern(height: int, width: int) -> NDArray[np.float32]:
    """Mark the colour a sensor's pixel sees, [H, W, 3], 1 there and 0 elsewhere; red is top left, blue across it."""
    pattern = np.zeros((height, width, 3), np.float32)
    pattern[0::2, 0::2, 0] = 1
    pattern[0::2, 1::2, 1] = 1
    pattern[1::2, 0::2, 1] = 1
    pattern[1::2, 1::2, 2] = 1
    return pattern


def demosaic(raw: NDArray[np.float32], pattern: NDArray[np.float32]) -> NDArray[np.float32]:
    """Fill in the two colours a pixel did not see with the mean of the nearest pixels that did.

    Args:
        raw: [H, W, 1].
        pattern: [H, W, 3], of ``rggb_pattern``.

    Returns:
        [H, W, 3]; what was seen stays as it is.
    """
    seen = raw * pattern
    sparse = np.array([[1, 2, 1], [2, 4, 2], [1, 2, 1]]) / 4  # one pixel of four: red, blue
    dense = np.array([[0, 1, 0], [1, 4, 1], [0, 1, 0]]) / 4  # one of two: green
    red_blue = filter_picture(seen[:, :, [0, 2]], sparse)
    green = filter_picture(seen[:, :, [1]], dense)
    return np.concatenate([red_blue[:, :, :1], green, red_blue[:, :, 1:]], axis=2)


def _normal(shape: tuple[int, ...], sigma: float, generator: np.random.Generator) -> NDArray[np.float32]:
    return np.multiply(generator.standard_normal(shape, dtype=np.float32), sigma, dtype=np.float32)


def _decode_srgb(values: NDArray[np.float32]) -> NDArray[np.float32]:
    """Undo the curve of IEC 61966-2-1, from [0, 1] to light in [0, 1]."""
    return np.where(values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4).astype(np.float32)


def _encode_srgb(light: NDArray[np.float32]) -> NDArray[np.float32]:
    """Apply the curve of IEC 61966-2-1, from light in [0, 1] to [0, 1]."""
    return np.where(light <= 0.0031308, light * 12.92, 1.055 * light ** (1 / 2.4) - 0.055).astype(np.float32)
