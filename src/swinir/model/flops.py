"""How large a network is: parameters and multiply-adds, counted from its configuration.

Of arithmetic only matrix products and convolutions count, as in the literature; one multiply-add is two
floating-point operations. What every implementation of the network must do is counted: padding to whole windows
belongs to it, a convolution's products with the zeros around the image too.
"""

import torch

from swinir.model.config import BOTTLENECK, ResidualConv, SwinIRConfig, Upsampler
from swinir.model.reconstruction import RECONSTRUCTION_CHANNELS, pixel_shuffle_steps
from swinir.model.swinir import SwinIR
from swinir.ops.windows import padded_size

FLOPS_PER_MULTIPLY_ADD = 2
# Products of a 3×3 convolution for each pair of an input and an output channel.
_KERNEL = 9


def count_parameters(config: SwinIRConfig) -> int:
    """Count the trainable parameters; none of them is made."""
    with torch.device("meta"):
        network = SwinIR(config)
    return sum(parameter.numel() for parameter in network.parameters())


def multiply_adds(config: SwinIRConfig, height: int, width: int) -> int:
    """Count the multiply-adds of restoring one image of ``height`` × ``width`` pixels."""
    pixels = padded_size(height, config.window_size) * padded_size(width, config.window_size)
    layers = sum(config.depths) * layer_multiply_adds(config)
    return pixels * (layers + convolution_multiply_adds(config))


def layer_multiply_adds(config: SwinIRConfig) -> int:
    """Count one transformer layer's multiply-adds for each pixel."""
    channels, tokens = config.embed_dim, config.window_size**2
    projections = 3 * channels**2 + channels**2
    # Each pixel's query meets every key of its window, and every value is weighed for it.
    attention = 2 * tokens * channels
    mlp = 2 * channels * int(channels * config.mlp_ratio)
    return projections + attention + mlp


def convolution_multiply_adds(config: SwinIRConfig) -> int:
    """Count the multiply-adds of all convolutions for each pixel of the input."""
    first = _KERNEL * config.in_channels * config.embed_dim
    closing = (len(config.depths) + 1) * _closing(config)
    return first + closing + _reconstruction(config)


def _closing(config: SwinIRConfig) -> int:
    channels = config.embed_dim
    if config.residual_conv is ResidualConv.ONE:
        return _KERNEL * channels**2
    narrow = channels // BOTTLENECK
    return 2 * _KERNEL * channels * narrow + narrow**2


def _reconstruction(config: SwinIRConfig) -> int:
    channels, scale, width = config.in_channels, config.scale, RECONSTRUCTION_CHANNELS
    before = _KERNEL * config.embed_dim * width
    last = scale**2 * _KERNEL * width * channels
    match config.upsampler:
        case Upsampler.PIXEL_SHUFFLE:
            return before + pixel_shuffle_multiply_adds(scale, width) + last
        case Upsampler.PIXEL_SHUFFLE_DIRECT:
            return _KERNEL * config.embed_dim * channels * scale**2
        case Upsampler.NEAREST_CONV:
            # One convolution after each doubling, and one more at the full size.
            doublings = [4**step for step in range(1, scale.bit_length())]
            return before + _KERNEL * width**2 * (sum(doublings) + scale**2) + last
        case Upsampler.NONE:
            return _KERNEL * config.embed_dim * channels


def pixel_shuffle_multiply_adds(scale: int, channels: int) -> int:
    """Count the convolutions between pixel shuffles, for each pixel of the input."""
    total, enlarged = 0, 1
    for factor in pixel_shuffle_steps(scale):
        total += enlarged * _KERNEL * channels**2 * factor**2
        enlarged *= factor**2
    return total
