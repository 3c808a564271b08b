"""How large a network is: parameters and multiply-adds, counted from its configuration.

Of arithmetic only matrix products and convolutions count, as in the literature; one multiply-add is two
floating-point operations. What every implementation of the network must do is counted: padding to whole windows
belongs to it, a convolution's products with the zeros around the image too.
"""

from swinir.model import heads
from swinir.model.build import outline
from swinir.model.config import BOTTLENECK, ResidualConv, SwinIRConfig
from swinir.model.heads import KERNEL
from swinir.ops.windows import padded_size

FLOPS_PER_MULTIPLY_ADD = 2


def count_parameters(config: SwinIRConfig) -> int:
    """Count the trainable parameters; none of them is made."""
    return sum(parameter.numel() for parameter in outline(config).parameters())


def multiply_adds(config: SwinIRConfig, height: int, width: int) -> int:
    """Count the multiply-adds of restoring one image of ``height`` × ``width`` pixels."""
    padded_px = padded_size(height, config.window_px) * padded_size(width, config.window_px)
    pixels = padded_px // config.unshuffle**2
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
    """Count the multiply-adds of all convolutions for each pixel of the body's features."""
    first = KERNEL * config.in_channels * config.unshuffle**2 * config.embed_dim
    closing = (len(config.depths) + 1) * _closing(config)
    return first + closing + heads.multiply_adds(config.head_steps)


def _closing(config: SwinIRConfig) -> int:
    channels = config.embed_dim
    if config.residual_conv is ResidualConv.ONE:
        return KERNEL * channels**2
    narrow = channels // BOTTLENECK
    return 2 * KERNEL * channels * narrow + narrow**2
