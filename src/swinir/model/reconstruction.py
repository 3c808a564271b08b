"""How features become the image: the four reconstructions, each as its layers and its function.

The layers live in the network under their published names; the functions find them there. The last convolution
always runs in the precision of its parameters (float32), so that autocast never quantises the image itself.
"""

from collections.abc import Callable, Mapping
from types import MappingProxyType

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from swinir.model.config import SwinIRConfig, Upsampler

# Features between the body and the pixels, in the reconstructions that have such a stage.
RECONSTRUCTION_CHANNELS = 64
# Slope of the leaky ReLU after the upsampling convolutions of the real-world models.
UPSAMPLING_SLOPE = 0.2

Features = Float[Tensor, "b c h w"]
Reconstruct = Callable[[nn.Module, Features], Tensor]


def _conv(in_channels: int, out_channels: int) -> nn.Conv2d:
    return nn.Conv2d(in_channels, out_channels, 3, padding=1)


def pixel_shuffle_steps(scale: int) -> tuple[int, ...]:
    """Factors of the successive pixel shuffles: ×3 in one step, powers of two in steps of two."""
    return (3,) if scale == 3 else (2,) * (scale.bit_length() - 1)


def build_layers(config: SwinIRConfig) -> dict[str, nn.Module]:
    """Build the layers of the configured reconstruction under their published names."""
    dim, width, channels = config.embed_dim, RECONSTRUCTION_CHANNELS, config.in_channels
    match config.upsampler:
        case Upsampler.PIXEL_SHUFFLE:
            steps = [
                layer
                for factor in pixel_shuffle_steps(config.scale)
                for layer in (_conv(width, width * factor**2), nn.PixelShuffle(factor))
            ]
            return {
                "conv_before_upsample": nn.Sequential(_conv(dim, width), nn.LeakyReLU(inplace=True)),
                "upsample": nn.Sequential(*steps),
                "conv_last": _conv(width, channels),
            }
        case Upsampler.PIXEL_SHUFFLE_DIRECT:
            return {
                "upsample": nn.Sequential(
                    _conv(dim, channels * config.scale**2), nn.PixelShuffle(config.scale)
                )
            }
        case Upsampler.NEAREST_CONV:
            stages = {"conv_up1": _conv(width, width)}
            if config.scale == 4:
                stages["conv_up2"] = _conv(width, width)
            return {
                "conv_before_upsample": nn.Sequential(_conv(dim, width), nn.LeakyReLU(inplace=True)),
                **stages,
                "conv_hr": _conv(width, width),
                "conv_last": _conv(width, channels),
            }
        case Upsampler.NONE:
            return {"conv_last": _conv(dim, channels)}


def _without_autocast(layer: nn.Module, features: Features) -> Tensor:
    precision = next(layer.parameters()).dtype
    with torch.autocast(features.device.type, enabled=False):
        return layer(features.to(precision))


def pixel_shuffle(network: nn.Module, features: Features) -> Tensor:
    """Enlarge 64 channels by pixel shuffles, then convolve to the image (classical super-resolution)."""
    features = network.get_submodule("conv_before_upsample")(features)
    features = network.get_submodule("upsample")(features)
    return _without_autocast(network.get_submodule("conv_last"), features)


def pixel_shuffle_direct(network: nn.Module, features: Features) -> Tensor:
    """Convolve to scale² values for each pixel and channel, and shuffle them in place (lightweight)."""
    return _without_autocast(network.get_submodule("upsample"), features)


def nearest_conv(network: nn.Module, features: Features) -> Tensor:
    """Repeat pixels and convolve, once per factor of two: no checkerboard (real-world super-resolution)."""
    features = network.get_submodule("conv_before_upsample")(features)
    for name in ("conv_up1", "conv_up2"):
        if hasattr(network, name):
            enlarged = functional.interpolate(features, scale_factor=2, mode="nearest")
            features = functional.leaky_relu(network.get_submodule(name)(enlarged), UPSAMPLING_SLOPE)
    features = functional.leaky_relu(network.get_submodule("conv_hr")(features), UPSAMPLING_SLOPE)
    return _without_autocast(network.get_submodule("conv_last"), features)


def residual(network: nn.Module, features: Features) -> Tensor:
    """Convolve to a correction that is added to the input image (denoising, JPEG)."""
    return _without_autocast(network.get_submodule("conv_last"), features)


RECONSTRUCT: Mapping[Upsampler, Reconstruct] = MappingProxyType(
    {
        Upsampler.PIXEL_SHUFFLE: pixel_shuffle,
        Upsampler.PIXEL_SHUFFLE_DIRECT: pixel_shuffle_direct,
        Upsampler.NEAREST_CONV: nearest_conv,
        Upsampler.NONE: residual,
    }
)
