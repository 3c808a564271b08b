"""The convolution of channels-last features: one layout from the image to the image."""

import math

import torch
from jaxtyping import Float
from torch import Tensor, nn

from swinir.ops import ConvolutionParameters, convolve


class Convolution(nn.Module):
    """A convolution that keeps the size of the image, zeros around it, and a leaky ReLU behind it.

    Where ``keeps_float32`` is true, as in the last one of a network, it runs in the precision of its parameters, so
    that autocast never quantises the image.
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

    def parameters_of_convolution(self) -> ConvolutionParameters:
        """Gather what ``ops`` computes with."""
        return ConvolutionParameters(self.weight, self.bias, self.negative_slope, self.keeps_float32)

    def forward(self, x: Float[Tensor, "b h w c"]) -> Float[Tensor, "b h w out"]:
        """Convolve ``x``."""
        return convolve(x, self.weight, self.bias, self.negative_slope, keeps_float32=self.keeps_float32)
