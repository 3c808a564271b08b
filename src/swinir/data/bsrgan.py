"""The degradation that real-world super-resolution is trained against: BSRGAN's, drawn anew for every picture.

Zhang, Liang, Van Gool and Timofte, "Designing a Practical Degradation Model for Deep Blind Image
Super-Resolution", ICCV 2021. Two blurs, two resizings, noise and JPEG come in random order, so that a small
family of steps covers far more pictures than any fixed chain.
"""

from dataclasses import dataclass
from enum import Enum, auto
from typing import Literal, get_args

import numpy as np
import torch
from einops import rearrange
from numpy.typing import NDArray
from torch.nn import functional

from swinir.data.blur import filter_picture, random_kernel, shifted_kernel
from swinir.data.degradations import compress_jpeg
from swinir.data.noise import (
    add_camera_noise,
    add_color_noise,
    add_correlated_noise,
    add_gray_noise,
    add_poisson_noise,
    random_camera,
    random_covariance,
)
from swinir.errors import UsageError

Interpolation = Literal["area", "bilinear", "bicubic"]


class Step(Enum):
    """A step that is shuffled; which of them do anything is drawn when their turn comes."""

    FIRST_BLUR = auto()
    SECOND_BLUR = auto()
    RANDOM_DOWNSAMPLE = auto()
    FINAL_DOWNSAMPLE = auto()
    GAUSSIAN_NOISE = auto()
    POISSON_NOISE = auto()
    CAMERA_NOISE = auto()
    JPEG = auto()


@dataclass(frozen=True, kw_only=True)
class BsrganOptions:
    """How likely each step is and how strong it may be; ranges include both ends.

    Attributes:
        halve_probability: of halving the picture before all else, at ×4 only; the steps then are those of ×2.
        anisotropic_probability: of a blur being stretched rather than round.
        random_size_probability: of the first downsampling going to a random size, from the picture's own to
            1/(2·scale) of it, rather than to the final one by a Gaussian and a stride.
        gaussian_probability: of Gaussian noise.
        color_noise_probability: of that noise being independent in each channel.
        gray_noise_probability: of it being the same in each; what remains is of correlated channels.
        sigma_255: standard deviations of Gaussian noise, whole numbers of 255. Correlated channels have
            theirs anywhere below the larger one.
        poisson_probability: of photon noise, half of the time grey.
        log10_photons: decimal logarithm of the count that gives white.
        camera_probability: of a camera's sensor noise.
        jpeg_probability: of being stored as JPEG on the way; in the end every picture is.
        jpeg_quality: 1 to 100, libjpeg's scale.

    Raises:
        UsageError: a probability or range that is none.
    """

    halve_probability: float = 0.25
    anisotropic_probability: float = 0.5
    random_size_probability: float = 0.75
    gaussian_probability: float = 1.0
    color_noise_probability: float = 0.4
    gray_noise_probability: float = 0.4
    sigma_255: tuple[int, int] = (2, 25)
    poisson_probability: float = 0.0
    log10_photons: tuple[float, float] = (2.0, 4.0)
    camera_probability: float = 0.0
    jpeg_probability: float = 0.9
    jpeg_quality: tuple[int, int] = (30, 95)

    def __post_init__(self) -> None:
        probabilities = {name: value for name, value in vars(self).items() if name.endswith("_probability")}
        for name, value in probabilities.items():
            if not 0 <= value <= 1:
                raise UsageError(f"{name} must be from 0 to 1, got {value}")
        if self.color_noise_probability + self.gray_noise_probability > 1:
            raise UsageError(
                "color_noise_probability and gray_noise_probability must not exceed 1 together, got "
                f"{self.color_noise_probability} and {self.gray_noise_probability}"
            )
        _check_range("sigma_255", self.sigma_255, 0, 255)
        _check_range("log10_photons", self.log10_photons, 0, 9)
        _check_range("jpeg_quality", self.jpeg_quality, 1, 100)


def _check_range(name: str, ends: tuple[float, float], least: float, most: float) -> None:
    if not least <= ends[0] <= ends[1] <= most:
        raise UsageError(f"{name} must rise within {least} to {most}, got {ends[0]} to {ends[1]}")


# What the published SwinIR models were trained on: the paper's chain, but no camera noise.
PUBLISHED = BsrganOptions()
# Camera noise as often as Zhang et al. meant it to be, and photon noise, which dark photographs have, as often.
REALISTIC = BsrganOptions(poisson_probability=0.25, camera_probability=0.25)


def bsrgan(
    hq: NDArray[np.uint8],
    scale: int,
    generator: np.random.Generator,
    options: BsrganOptions = PUBLISHED,
) -> NDArray[np.uint8]:
    """Make a small, bad picture of a good one; its content stays where it was.

    Args:
        hq: [H, W, 3] RGB, H and W multiples of ``scale``.
        scale: 1 to 4.
        generator: draws everything; the result is a function of it and of ``hq``.
        options: what may happen.

    Returns:
        [H/scale, W/scale, 3] RGB.

    Raises:
        UsageError: the scale or the picture's shape is not one of these.
    """
    if not 1 <= scale <= 4:
        raise UsageError(f"scale must be from 1 to 4, got {scale}")
    if hq.ndim != 3 or hq.shape[2] != 3 or hq.shape[0] % scale or hq.shape[1] % scale or hq.size == 0:
        raise UsageError(f"hq must be [H, W, 3] with sides divisible by {scale}, got {list(hq.shape)}")
    final = (hq.shape[0] // scale, hq.shape[1] // scale)
    picture = _to_float(hq)
    if scale == 4 and generator.random() < options.halve_probability:
        picture = resize(picture, (final[0] * 2, final[1] * 2), _random_interpolation(generator))
        scale = 2
    for step in shuffled_steps(generator):
        picture = _apply(step, picture, scale=scale, final=final, generator=generator, options=options)
    return compress_jpeg(_to_uint8(picture), _random_quality(generator, options))


def shuffled_steps(generator: np.random.Generator) -> list[Step]:
    """Draw the order of the steps: any, but the final size comes after the random one."""
    steps = [Step(value) for value in generator.permutation([step.value for step in Step])]
    downsamples = sorted(steps.index(step) for step in (Step.RANDOM_DOWNSAMPLE, Step.FINAL_DOWNSAMPLE))
    steps[downsamples[0]], steps[downsamples[1]] = Step.RANDOM_DOWNSAMPLE, Step.FINAL_DOWNSAMPLE
    return steps


def _apply(
    step: Step,
    picture: NDArray[np.float32],
    *,
    scale: int,
    final: tuple[int, int],
    generator: np.random.Generator,
    options: BsrganOptions,
) -> NDArray[np.float32]:
    """Take one step of [H, W, 3] in [0, 1], to a picture of [0, 1] and perhaps another size."""
    match step:
        case Step.FIRST_BLUR | Step.SECOND_BLUR:
            kernel = random_kernel(scale, generator, options.anisotropic_probability)
            degraded = filter_picture(picture, kernel)
        case Step.RANDOM_DOWNSAMPLE:
            degraded = _downsample_randomly(picture, scale, generator, options)
        case Step.FINAL_DOWNSAMPLE:
            degraded = resize(picture, final, _random_interpolation(generator))
        case Step.GAUSSIAN_NOISE:
            degraded = _add_gaussian_noise(picture, generator, options)
        case Step.POISSON_NOISE:
            degraded = _add_poisson_noise(picture, generator, options)
        case Step.CAMERA_NOISE:
            if generator.random() >= options.camera_probability:
                return picture
            degraded = add_camera_noise(picture, random_camera(generator), generator)
        case Step.JPEG:
            if generator.random() >= options.jpeg_probability:
                return picture
            stored = compress_jpeg(_to_uint8(picture), _random_quality(generator, options))
            return _to_float(stored)
    return np.clip(degraded, 0, 1)


def _downsample_randomly(
    picture: NDArray[np.float32], scale: int, generator: np.random.Generator, options: BsrganOptions
) -> NDArray[np.float32]:
    """Shrink to a random size, or by a Gaussian and a stride to the final one."""
    if generator.random() < options.random_size_probability:
        factor = generator.uniform(1, 2 * scale)
        height, width = (max(1, int(side / factor)) for side in picture.shape[:2])
        return resize(picture, (height, width), _random_interpolation(generator))
    return downsample_by_stride(picture, scale, generator.uniform(0.1, 0.6 * scale))


def downsample_by_stride(picture: NDArray[np.float32], stride: int, sigma_px: float) -> NDArray[np.float32]:
    """Blur with a shifted Gaussian and keep every ``stride``-th pixel: [H, W, C] to [H/stride, W/stride, C]."""
    return filter_picture(picture, shifted_kernel(sigma_px, stride))[::stride, ::stride]


def _add_gaussian_noise(
    picture: NDArray[np.float32], generator: np.random.Generator, options: BsrganOptions
) -> NDArray[np.float32]:
    if generator.random() >= options.gaussian_probability:
        return picture
    sigma = int(generator.integers(*options.sigma_255, endpoint=True))
    kind = generator.random()
    if kind < options.color_noise_probability:
        return add_color_noise(picture, sigma, generator)
    if kind < options.color_noise_probability + options.gray_noise_probability:
        return add_gray_noise(picture, sigma, generator)
    return add_correlated_noise(picture, random_covariance(options.sigma_255[1], generator), generator)


def _add_poisson_noise(
    picture: NDArray[np.float32], generator: np.random.Generator, options: BsrganOptions
) -> NDArray[np.float32]:
    if generator.random() >= options.poisson_probability:
        return picture
    photons = 10 ** generator.uniform(*options.log10_photons)
    return add_poisson_noise(picture, photons, generator, gray=generator.random() < 0.5)


def resize(
    picture: NDArray[np.float32], size: tuple[int, int], interpolation: Interpolation
) -> NDArray[np.float32]:
    """Resize [H, W, C] to [*size, C], edges on edges, as OpenCV does.

    Bilinear and bicubic (a = -0.75) look at the nearest 2×2 and 4×4 pixels however strong the reduction, so
    that fine detail aliases: pictures on the web were shrunk so. Area takes the mean of what a pixel covers.
    """
    if interpolation == "area":
        rows, columns = (
            _coverage(source, target) for source, target in zip(picture.shape[:2], size, strict=True)
        )
        return np.tensordot(rows, columns @ picture, axes=1)
    planes = rearrange(torch.from_numpy(np.ascontiguousarray(picture)), "h w c -> 1 c h w")
    resized = functional.interpolate(planes, size=size, mode=interpolation, align_corners=False)
    return rearrange(resized, "1 c h w -> h w c").contiguous().numpy()


def _coverage(source: int, target: int) -> NDArray[np.float32]:
    """Give the share that each of ``source`` pixels has in each of ``target`` along one side, [target, source]."""
    edges = np.arange(target + 1) * (source / target)
    starts, ends = edges[:-1, None], edges[1:, None]
    pixels = np.arange(source)
    overlap = np.clip(np.minimum(ends, pixels + 1) - np.maximum(starts, pixels), 0, None)
    return (overlap * (target / source)).astype(np.float32)


def _random_interpolation(generator: np.random.Generator) -> Interpolation:
    kinds = get_args(Interpolation)
    return kinds[generator.integers(len(kinds))]


def _random_quality(generator: np.random.Generator, options: BsrganOptions) -> int:
    return int(generator.integers(*options.jpeg_quality, endpoint=True))


def _to_float(pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
    return np.divide(pixels, 255, dtype=np.float32)


def _to_uint8(picture: NDArray[np.float32]) -> NDArray[np.uint8]:
    return (np.clip(picture, 0, 1) * 255).round().astype(np.uint8)
