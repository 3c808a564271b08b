"""How features become the image: a record for each reconstruction, made of steps that everything else is read off.

A step is a 3×3 convolution, a pixel shuffle or a repetition of pixels. The network's layers, its forward pass, the
multiply-adds, what an ONNX file holds and how a file of weights is recognised follow from the steps, so a new
reconstruction is a member of ``Upsampler`` and a record in ``HEADS``.
"""

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType

# Products of a 3×3 convolution for each pair of an input and an output channel.
KERNEL = 9
# Features between the body and the pixels of the published networks, in the reconstructions that have such a stage.
RECONSTRUCTION_CHANNELS = 64
# The convolution to them.
NARROWING = "conv_before_upsample.0"
# Negative slope of the leaky ReLU in front of the upsampling (PyTorch's default).
NARROWING_SLOPE = 0.01
# Negative slope of the leaky ReLU after the upsampling convolutions of the real-world models.
UPSAMPLING_SLOPE = 0.2


class Upsampler(StrEnum):
    """How features become the image; the values are the names used in published checkpoints' code."""

    PIXEL_SHUFFLE = "pixelshuffle"
    PIXEL_SHUFFLE_DIRECT = "pixelshuffledirect"
    NEAREST_CONV = "nearest+conv"
    NONE = ""


class Purpose(StrEnum):
    """What the paper has a reconstruction for."""

    CLASSICAL = "classical super-resolution"
    LIGHTWEIGHT = "lightweight super-resolution"
    REAL_WORLD = "real-world super-resolution"
    SAME_SIZE = "denoising and JPEG"


@dataclass(frozen=True, kw_only=True)
class Convolve:
    """A 3×3 convolution under its published name, with a leaky ReLU behind it."""

    name: str
    in_channels: int
    out_channels: int
    negative_slope: float = 1.0


@dataclass(frozen=True)
class Shuffle:
    """A pixel shuffle: factor² channels become factor × factor pixels."""

    factor: int


@dataclass(frozen=True)
class Repeat:
    """Each pixel becomes factor × factor equal ones."""

    factor: int


Step = Convolve | Shuffle | Repeat


@dataclass(frozen=True, kw_only=True)
class Head:
    """A reconstruction.

    Attributes:
        scales: what it can be built for.
        make_steps: gives the steps for ``embed_dim``, the channels of the image, a scale, and the channels between
            the body and the pixels.
        adds_input: what comes out is a correction of the input image.
    """

    purpose: Purpose
    scales: tuple[int, ...]
    make_steps: Callable[[int, int, int, int], Iterable[Step]]
    adds_input: bool = False

    def steps(
        self, embed_dim: int, in_channels: int, scale: int, num_feat: int = RECONSTRUCTION_CHANNELS
    ) -> tuple[Step, ...]:
        """List the steps from features of ``embed_dim`` channels to an image ``scale`` times larger."""
        return tuple(self.make_steps(embed_dim, in_channels, scale, num_feat))

    @property
    def has_narrow_stage(self) -> bool:
        """Whether there are features of another width between the body and the pixels."""
        return any(layer.name == NARROWING for layer in convolutions(self.steps(1, 1, self.scales[0])))

    @property
    def is_linear(self) -> bool:
        """Whether one convolution is all of it, at any scale."""
        return len(convolutions(self.steps(1, 1, self.scales[0]))) == 1


def convolutions(steps: Iterable[Step]) -> list[Convolve]:
    """Choose the convolutions among the steps."""
    return [step for step in steps if isinstance(step, Convolve)]


def last_layer(steps: Iterable[Step]) -> str:
    """Name the convolution that makes the pixels."""
    return convolutions(steps)[-1].name


def enlargements(steps: Iterable[Step]) -> list[tuple[Convolve, int]]:
    """List the convolutions, each with how many times larger than the body's features its image is, by side."""
    placed: list[tuple[Convolve, int]] = []
    side = 1
    for step in steps:
        if isinstance(step, Convolve):
            placed.append((step, side))
        else:
            side *= step.factor
    return placed


def multiply_adds(steps: Iterable[Step]) -> int:
    """Count the multiply-adds for each pixel of the body's features."""
    return sum(KERNEL * step.in_channels * step.out_channels * side**2 for step, side in enlargements(steps))


def count_enlarged_values(steps: Iterable[Step]) -> int:
    """Count the values of the largest features for each pixel of the body's; 0 where none is enlarged."""
    placed = enlargements(steps)
    if placed[-1][1] == 1:
        return 0
    # A last convolution makes pixels, not features.
    return max(step.out_channels * side**2 for step, side in placed[:-1])


def reach_rows(steps: Iterable[Step]) -> int:
    """Count the rows of the body's features that a row of the image depends on beyond its own, on each side."""
    return math.ceil(sum(1 / side for _, side in enlargements(steps)))


def shuffles(width: int, scale: int) -> Iterable[Step]:
    """Enlarge ``width`` channels by convolutions and pixel shuffles: ×3 at once, powers of two in steps of two."""
    factors = (3,) if scale == 3 else (2,) * (scale.bit_length() - 1)
    for index, factor in enumerate(factors):
        # Every second place is that of a shuffle, which has no parameters.
        yield Convolve(name=f"upsample.{2 * index}", in_channels=width, out_channels=width * factor**2)
        yield Shuffle(factor)


def _narrow(embed_dim: int, num_feat: int) -> Convolve:
    return Convolve(
        name=NARROWING,
        in_channels=embed_dim,
        out_channels=num_feat,
        negative_slope=NARROWING_SLOPE,
    )


def _pixel_shuffle(embed_dim: int, in_channels: int, scale: int, num_feat: int) -> Iterable[Step]:
    yield _narrow(embed_dim, num_feat)
    yield from shuffles(num_feat, scale)
    yield Convolve(name="conv_last", in_channels=num_feat, out_channels=in_channels)


def _pixel_shuffle_direct(embed_dim: int, in_channels: int, scale: int, _: int) -> Iterable[Step]:
    yield Convolve(name="upsample.0", in_channels=embed_dim, out_channels=in_channels * scale**2)
    yield Shuffle(scale)


def _nearest_conv(embed_dim: int, in_channels: int, scale: int, num_feat: int) -> Iterable[Step]:
    doublings = [f"conv_up{index}" for index in range(1, scale.bit_length())]
    yield _narrow(embed_dim, num_feat)
    for name in (*doublings, "conv_hr"):
        if name in doublings:
            yield Repeat(2)
        yield Convolve(
            name=name, in_channels=num_feat, out_channels=num_feat, negative_slope=UPSAMPLING_SLOPE
        )
    yield Convolve(name="conv_last", in_channels=num_feat, out_channels=in_channels)


def _correction(embed_dim: int, in_channels: int, scale: int, _: int) -> Iterable[Step]:
    yield Convolve(name="conv_last", in_channels=embed_dim, out_channels=in_channels * scale**2)


HEADS: Mapping[Upsampler, Head] = MappingProxyType(
    {
        # Enlarge 64 channels by pixel shuffles, then convolve to the image.
        Upsampler.PIXEL_SHUFFLE: Head(
            purpose=Purpose.CLASSICAL, scales=(1, 2, 3, 4, 8), make_steps=_pixel_shuffle
        ),
        # Convolve to scale² values for each pixel and channel, and shuffle them into their places.
        Upsampler.PIXEL_SHUFFLE_DIRECT: Head(
            purpose=Purpose.LIGHTWEIGHT, scales=(1, 2, 3, 4, 5, 6, 7, 8), make_steps=_pixel_shuffle_direct
        ),
        # Repeat pixels and convolve, once per factor of two: no checkerboard.
        Upsampler.NEAREST_CONV: Head(
            purpose=Purpose.REAL_WORLD, scales=(1, 2, 4, 8), make_steps=_nearest_conv
        ),
        # Convolve to a correction of the input image.
        Upsampler.NONE: Head(purpose=Purpose.SAME_SIZE, scales=(1,), make_steps=_correction, adds_input=True),
    }
)
