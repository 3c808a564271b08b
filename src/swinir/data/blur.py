"""Gaussian blur kernels, round, stretched and off-centre, and pictures filtered with them."""

from itertools import count

import numpy as np
import torch
from einops import rearrange
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor

# A narrower Gaussian is one pixel anyway; below it the formula would divide by nothing.
NARROWEST_SIGMA_PX = 0.1
# Odd sides of a blur kernel, 7 to 25 px.
KERNEL_SIDES_PX = tuple(range(7, 26, 2))
SHIFTED_SIDE_PX = 25


def gaussian_kernel(
    side_px: int, covariance: NDArray[np.float64], shift_px: float = 0.0
) -> NDArray[np.float64]:
    """Sample a two-dimensional Gaussian on a square grid, its sum made 1.

    Args:
        side_px: odd side of the grid, whose middle pixel is the origin.
        covariance: [2, 2] of (x, y), px².
        shift_px: where the Gaussian's centre is, right of and below the origin.

    Returns:
        [side_px, side_px], rows are y.
    """
    axis = np.arange(side_px) - side_px // 2 - shift_px
    x, y = np.meshgrid(axis, axis)
    offsets = np.stack([x, y], axis=-1)
    distances = np.einsum("...i,ij,...j->...", offsets, np.linalg.inv(covariance), offsets)
    # The nearest pixel is given weight 1 before the division, so that no sum underflows to 0.
    weights = np.exp(-0.5 * (distances - distances.min()))
    return weights / weights.sum()


def isotropic_covariance(sigma_px: float) -> NDArray[np.float64]:
    """Give the covariance of a Gaussian as wide in every direction, [2, 2], px²."""
    return np.eye(2) * max(sigma_px, NARROWEST_SIGMA_PX) ** 2


def anisotropic_covariance(
    angle: float, variance_along_px2: float, variance_across_px2: float
) -> NDArray[np.float64]:
    """Give the covariance of a Gaussian with one width along a direction and another across it.

    Args:
        angle: of the direction, radians from x (right) to y (down).
        variance_along_px2: the eigenvalue along it.
        variance_across_px2: the eigenvalue across it.

    Returns:
        [2, 2] of (x, y), px².
    """
    axes = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    variances = np.maximum([variance_along_px2, variance_across_px2], NARROWEST_SIGMA_PX**2)
    return (axes * variances) @ axes.T


def random_kernel(
    scale: int, generator: np.random.Generator, anisotropic_probability: float
) -> NDArray[np.float64]:
    """Draw a blur of the published training, wider for greater factors.

    Isotropic: sigma uniform up to 2 + 0.2·scale px (2.4 at ×2, 2.8 at ×4). Anisotropic: angle uniform, both
    eigenvalues of the covariance uniform up to 4 + scale px² (6 and 8), whose roots, 2.4 and 2.8 px, are the
    isotropic ends again. Numbers of Zhang et al. 2021 and of the training they published.

    Returns:
        [k, k] with k odd, 7 to 25, and the sum 1.
    """
    if generator.random() < anisotropic_probability:
        along, across = generator.uniform(0, 4 + scale, 2)
        covariance = anisotropic_covariance(generator.uniform(0, np.pi), along, across)
    else:
        covariance = isotropic_covariance(generator.uniform(0, 2 + 0.2 * scale))
    return gaussian_kernel(int(generator.choice(KERNEL_SIDES_PX)), covariance)


def shifted_kernel(sigma_px: float, stride: int) -> NDArray[np.float64]:
    """Give the Gaussian that makes sampling every ``stride``-th pixel keep the picture where it is.

    Pixels 0, stride, 2·stride… are the top left ones of the squares that the small picture's pixels cover,
    (stride - 1)/2 px from their centres: the kernel looks there instead (Zhang et al. 2021).

    Returns:
        [25, 25] with the sum 1.
    """
    return gaussian_kernel(SHIFTED_SIDE_PX, isotropic_covariance(sigma_px), (stride - 1) / 2)


def filter_picture(picture: NDArray[np.float32], kernel: NDArray[np.float64]) -> NDArray[np.float32]:
    """Weigh each pixel's surroundings with a kernel (correlation); beyond its border a picture is mirrored.

    By Fourier transform, whose work hardly grows with the kernel: directly, 25×25 is 625 products a value.

    Args:
        picture: [H, W, C], any H and W, however small beside the kernel.
        kernel: [k, k], k odd.

    Returns:
        [H, W, C].
    """
    height, width, _ = picture.shape
    margin = kernel.shape[0] // 2
    # NumPy mirrors as often as a narrow picture needs; PyTorch refuses to.
    padded = np.pad(picture, ((margin, margin), (margin, margin), (0, 0)), mode="reflect")
    planes: Float[Tensor, "c h w"] = rearrange(torch.from_numpy(padded), "h w c -> c h w")
    sides = [_fast_length(side) for side in padded.shape[:2]]
    response = torch.fft.rfft2(torch.from_numpy(kernel.astype(np.float32)), s=sides).conj()
    filtered = torch.fft.irfft2(torch.fft.rfft2(planes, s=sides) * response, s=sides)
    return rearrange(filtered[:, :height, :width], "c h w -> h w c").contiguous().numpy()


def _fast_length(length: int) -> int:
    """Give the next length without prime factors above 5, which Fourier transforms are quickest for."""
    return next(longer for longer in count(length) if 30**16 % longer == 0)
