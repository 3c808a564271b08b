"""How features become the image: the four reconstructions, each as its layers and its function.

The layers live in the network under their published names; the functions find them there.
"""

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import cast

import torch
from einops import rearrange
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from swinir.model.config import SwinIRConfig, Upsampler
from swinir.model.convolution import Convolution, Convolutions

# Features between the body and the pixels, in the reconstructions that have such a stage.
RECONSTRUCTION_CHANNELS = 64
# Negative slope of the leaky ReLU in front of the upsampling (PyTorch's default).
NARROWING_SLOPE = 0.01
# Negative slope of the leaky ReLU after the upsampling convolutions of the real-world models.
UPSAMPLING_SLOPE = 0.2

# Rows of features that are enlarged together, and how far beyond them its convolutions look: one row for each of
# two at the size of the features, half a row for one at twice the size, and so on.
BAND_ROWS = 32
REACH_ROWS = 3
# The reconstructions that have features larger than the body's.
ENLARGING = (Upsampler.PIXEL_SHUFFLE, Upsampler.NEAREST_CONV)

Features = Float[Tensor, "b h w c"]
Image = Float[Tensor, "b c h w"]
Reconstruct = Callable[[nn.Module, Features], Image]


def pixel_shuffle_steps(scale: int) -> tuple[int, ...]:
    """Factors of the successive pixel shuffles: ×3 in one step, powers of two in steps of two."""
    return (3,) if scale == 3 else (2,) * (scale.bit_length() - 1)


def build_layers(config: SwinIRConfig) -> dict[str, nn.Module]:
    """Build the layers of the configured reconstruction under their published names."""
    dim, width, channels = config.embed_dim, RECONSTRUCTION_CHANNELS, config.in_channels
    narrowing = {"0": Convolution(dim, width, negative_slope=NARROWING_SLOPE)}
    match config.upsampler:
        case Upsampler.PIXEL_SHUFFLE:
            # Every second place is that of a shuffle, which has no parameters.
            steps = {
                str(2 * index): Convolution(width, width * factor**2)
                for index, factor in enumerate(pixel_shuffle_steps(config.scale))
            }
            return {
                "conv_before_upsample": Convolutions(narrowing),
                "upsample": Convolutions(steps),
                "conv_last": Convolution(width, channels, keeps_float32=True),
            }
        case Upsampler.PIXEL_SHUFFLE_DIRECT:
            last = Convolution(dim, channels * config.scale**2, keeps_float32=True)
            return {"upsample": Convolutions({"0": last})}
        case Upsampler.NEAREST_CONV:
            stages = {"conv_up1": Convolution(width, width, negative_slope=UPSAMPLING_SLOPE)}
            if config.scale == 4:
                stages["conv_up2"] = Convolution(width, width, negative_slope=UPSAMPLING_SLOPE)
            return {
                "conv_before_upsample": Convolutions(narrowing),
                **stages,
                "conv_hr": Convolution(width, width, negative_slope=UPSAMPLING_SLOPE),
                "conv_last": Convolution(width, channels, keeps_float32=True),
            }
        case Upsampler.NONE:
            return {"conv_last": Convolution(dim, channels, keeps_float32=True)}


def in_bands(reconstruct: Reconstruct, network: nn.Module, features: Features, scale: int) -> Image:
    """Reconstruct band by band of rows, the same to the bit: whole, enlarged features are many times the features.

    At an inner edge of a band zeros take the place of the features beyond it; what they reach is cut off.
    """
    height = features.shape[1]
    bands: list[Image] = []
    for top in range(0, height, BAND_ROWS):
        bottom = min(top + BAND_ROWS, height)
        first, last = max(top - REACH_ROWS, 0), min(bottom + REACH_ROWS, height)
        band = reconstruct(network, features[:, first:last])
        bands.append(band[:, :, (top - first) * scale : (bottom - first) * scale])
    return torch.cat(bands, dim=2)


def pixel_shuffle(network: nn.Module, features: Features) -> Image:
    """Enlarge 64 channels by pixel shuffles, then convolve to the image (classical super-resolution)."""
    features = network.get_submodule("conv_before_upsample")(features)
    scale = cast("SwinIRConfig", network.config).scale
    convolutions = cast("Convolutions", network.get_submodule("upsample")).steps()
    for convolution, factor in zip(convolutions, pixel_shuffle_steps(scale), strict=True):
        enlarged = functional.pixel_shuffle(_as_image(convolution(features)), factor)
        features = rearrange(enlarged, "b c h w -> b h w c")
    return _as_image(network.get_submodule("conv_last")(features))


def pixel_shuffle_direct(network: nn.Module, features: Features) -> Image:
    """Convolve to scale² values for each pixel and channel, and shuffle them in place (lightweight)."""
    scale = cast("SwinIRConfig", network.config).scale
    values = network.get_submodule("upsample")(features)
    return functional.pixel_shuffle(_as_image(values), scale)


def nearest_conv(network: nn.Module, features: Features) -> Image:
    """Repeat pixels and convolve, once per factor of two: no checkerboard (real-world super-resolution)."""
    features = network.get_submodule("conv_before_upsample")(features)
    for name in ("conv_up1", "conv_up2"):
        if hasattr(network, name):
            enlarged = functional.interpolate(_as_image(features), scale_factor=2.0, mode="nearest")
            features = network.get_submodule(name)(rearrange(enlarged, "b c h w -> b h w c"))
    features = network.get_submodule("conv_hr")(features)
    return _as_image(network.get_submodule("conv_last")(features))


def residual(network: nn.Module, features: Features) -> Image:
    """Convolve to a correction that is added to the input image (denoising, JPEG)."""
    return _as_image(network.get_submodule("conv_last")(features))


def _as_image(pixels: Features) -> Image:
    return rearrange(pixels, "b h w c -> b c h w")


RECONSTRUCT: Mapping[Upsampler, Reconstruct] = MappingProxyType(
    {
        Upsampler.PIXEL_SHUFFLE: pixel_shuffle,
        Upsampler.PIXEL_SHUFFLE_DIRECT: pixel_shuffle_direct,
        Upsampler.NEAREST_CONV: nearest_conv,
        Upsampler.NONE: residual,
    }
)
