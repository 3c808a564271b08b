"""The layers of a reconstruction under their published names, and their forward pass, whole or band by band."""

from collections import OrderedDict
from collections.abc import Callable, Iterable, Sequence

import torch
from einops import rearrange
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from swinir.model.convolution import Convolution
from swinir.model.heads import Convolve, Shuffle, Step, convolutions, enlargements, reach_rows

# A convolution of channels-last features.
Layer = Callable[[Tensor], Tensor]
# Rows of features that are enlarged together.
BAND_ROWS = 32


def build_layers(steps: Iterable[Step]) -> dict[str, nn.Module]:
    """Build the convolutions; those whose name has a place in it, such as "upsample.2", together."""
    chosen = convolutions(steps)
    layers: dict[str, nn.Module] = {}
    places: dict[str, OrderedDict[str, nn.Module]] = {}
    for step in chosen:
        layer = Convolution(
            step.in_channels,
            step.out_channels,
            negative_slope=step.negative_slope,
            keeps_float32=step is chosen[-1],
        )
        name, _, place = step.name.partition(".")
        if place:
            places.setdefault(name, OrderedDict())[place] = layer
            layers[name] = nn.Sequential(places[name])
        else:
            layers[name] = layer
    return layers


def reconstruct(
    layer_of: Callable[[str], Layer], steps: Iterable[Step], features: Float[Tensor, "b h w dim"]
) -> Float[Tensor, "b c sh sw"]:
    """Apply the steps, a convolution being ``layer_of`` its name."""
    for step in steps:
        if isinstance(step, Convolve):
            features = layer_of(step.name)(features)
            continue
        image = rearrange(features, "b h w c -> b c h w")
        if isinstance(step, Shuffle):
            image = functional.pixel_shuffle(image, step.factor)
        else:
            image = functional.interpolate(image, scale_factor=float(step.factor), mode="nearest")
        features = rearrange(image, "b c h w -> b h w c")
    return rearrange(features, "b h w c -> b c h w")


def reconstruct_in_bands(
    layer_of: Callable[[str], Layer], steps: Sequence[Step], features: Float[Tensor, "b h w dim"], scale: int
) -> Float[Tensor, "b c sh sw"]:
    """Reconstruct band by band of rows, the same to the bit: whole, enlarged features are many times the features.

    At an inner edge of a band zeros take the place of the features beyond it; what they reach is cut off. Steps that
    convolve nothing larger than the features are applied to the whole.
    """
    if enlargements(steps)[-1][1] == 1:
        return reconstruct(layer_of, steps, features)
    height, reach = features.shape[1], reach_rows(steps)
    bands: list[Tensor] = []
    for top in range(0, height, BAND_ROWS):
        bottom = min(top + BAND_ROWS, height)
        first, last = max(top - reach, 0), min(bottom + reach, height)
        band = reconstruct(layer_of, steps, features[:, first:last])
        bands.append(band[:, :, (top - first) * scale : (bottom - first) * scale])
    return torch.cat(bands, dim=2)
