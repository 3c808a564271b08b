"""Layers and convolutions for inference where nothing is packed: PyTorch computes from the parameters."""

from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor

from swinir.ops.convolution import convolve
from swinir.ops.interface import ConvolutionParameters, LayerGeometry, LayerParameters, TransformerLayer


@dataclass(frozen=True)
class PlainLayer:
    """A transformer layer with its parameters beside it."""

    transformer_layer: TransformerLayer
    parameters: LayerParameters
    geometry: LayerGeometry

    def __call__(self, x: Float[Tensor, "b h w c"], *, overwrite: bool = False) -> Float[Tensor, "b h w c"]:
        """Compute, never in the memory of ``x``."""
        return self.transformer_layer(x, self.parameters, self.geometry)


@dataclass(frozen=True)
class PlainConvolution:
    """A convolution with its parameters beside it."""

    parameters: ConvolutionParameters

    def __call__(
        self,
        x: Float[Tensor, "b h w c"],
        residual: Float[Tensor, "b h w out"] | None = None,
        *,
        overwrite: bool = False,
    ) -> Float[Tensor, "b h w out"]:
        """Compute, never in the memory of ``residual``."""
        weight, bias, negative_slope, keeps_float32 = self.parameters
        convolved = convolve(x, weight, bias, negative_slope, keeps_float32=keeps_float32)
        return convolved if residual is None else residual + convolved


@dataclass(frozen=True)
class PlainPacker:
    """Pairs parameters with what computes from them."""

    transformer_layer: TransformerLayer

    def layer(self, parameters: LayerParameters, geometry: LayerGeometry) -> PlainLayer:
        """Pair a transformer layer."""
        return PlainLayer(self.transformer_layer, parameters, geometry)

    def convolution(self, parameters: ConvolutionParameters) -> PlainConvolution:
        """Pair a convolution."""
        return PlainConvolution(parameters)
