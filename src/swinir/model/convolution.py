"""Convolutions of channels-last features: one layout from the image to the image."""

import math
from collections.abc import Mapping
from typing import cast

import torch
from jaxtyping import Float
from torch import Tensor, nn

from swinir.ops import Backend, ConvolutionParameters, PackedConvolution, convolve


class Convolution(nn.Module):
    """A convolution that keeps the size of the image, zeros around it, and a leaky ReLU behind it.

    PyTorch computes it from its parameters as they are, or ``packed`` does, from what they were. Where
    ``keeps_float32`` is true, as in the last one of a network, PyTorch runs it in the precision of its parameters,
    so that autocast never quantises the image; what is packed gives float32 always.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int = 3,
        *,
        negative_slope: float = 1.0,
        keeps_float32: bool = False,
    ) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(out_channels, in_channels, kernel_size, kernel_size))
        self.bias = nn.Parameter(torch.empty(out_channels))
        # PyTorch's own start of convolutions.
        bound = 1 / math.sqrt(in_channels * kernel_size**2)
        nn.init.uniform_(self.weight, -bound, bound)
        nn.init.uniform_(self.bias, -bound, bound)
        self.negative_slope = negative_slope
        self.keeps_float32 = keeps_float32
        self.packed: PackedConvolution | None = None

    def use_backend(self, backend: Backend) -> None:
        """Have ``backend`` compute the convolution from now on."""
        parameters = ConvolutionParameters(self.weight, self.bias, self.negative_slope, self.keeps_float32)
        self.packed = None if backend.packer is None else backend.packer.convolution(parameters)

    def forward(
        self,
        x: Float[Tensor, "b h w c"],
        residual: Float[Tensor, "b h w out"] | None = None,
        *,
        overwrite: bool = False,
    ) -> Float[Tensor, "b h w out"]:
        """Convolve ``x`` and add ``residual``.

        Where ``overwrite`` is true, nobody needs ``residual`` afterwards: the result may be in its memory.
        """
        if self.packed is not None:
            return self.packed(x, residual, overwrite=overwrite)
        if self.keeps_float32:
            with torch.autocast(x.device.type, enabled=False):
                convolved = convolve(x, self.weight, self.bias, self.negative_slope)
        else:
            convolved = convolve(x, self.weight, self.bias, self.negative_slope)
        return convolved if residual is None else residual + convolved


class Convolutions(nn.Module):
    """Convolutions one after the other, under the names that they have in published files."""

    def __init__(self, steps: Mapping[str, Convolution]) -> None:
        super().__init__()
        for name, step in steps.items():
            self.add_module(name, step)

    def steps(self) -> list[Convolution]:
        """List them in their order."""
        return [cast("Convolution", step) for step in self.children()]

    def forward(
        self,
        x: Float[Tensor, "b h w c"],
        residual: Float[Tensor, "b h w out"] | None = None,
        *,
        overwrite: bool = False,
    ) -> Float[Tensor, "b h w out"]:
        """Apply all, and add ``residual``, which may be overwritten where the caller says so."""
        *first, last = self.steps()
        for step in first:
            x = step(x)
        return last(x, residual, overwrite=overwrite)
