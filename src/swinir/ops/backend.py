"""Who computes transformer layers and convolutions."""

from dataclasses import dataclass
from typing import Protocol

from swinir.ops import reference
from swinir.ops.layer import (
    ConvolutionParameters,
    LayerGeometry,
    LayerParameters,
    PackedConvolution,
    PackedTransformerLayer,
    TransformerLayer,
)


class Packer(Protocol):
    """Builds parameters into what computes with them; what changes in them later is not seen."""

    def layer(self, parameters: LayerParameters, geometry: LayerGeometry) -> PackedTransformerLayer:
        """Pack a transformer layer."""
        ...

    def convolution(self, parameters: ConvolutionParameters) -> PackedConvolution:
        """Pack a convolution."""
        ...


@dataclass(frozen=True, kw_only=True)
class Backend:
    """Who computes the transformer layers, and why that one.

    ``transformer_layer`` takes the parameters with every call. Where there is a ``packer``, inference goes
    through what it packs, the convolutions that close residual groups among it.
    """

    name: str
    reason: str
    transformer_layer: TransformerLayer
    packer: Packer | None = None


def plain_pytorch(reason: str) -> Backend:
    """Return the reference, chosen for ``reason``."""
    return Backend(
        name="reference",
        reason=f"plain PyTorch: {reason}",
        transformer_layer=reference.transformer_layer,
    )


REFERENCE = plain_pytorch("the definition of correct")
