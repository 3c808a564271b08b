"""One transformer layer, many ways, one meaning: the seam where a backend is chosen, once, and can say why."""

from swinir.ops.convolution import convolve
from swinir.ops.interface import (
    Backend,
    ConvolutionParameters,
    LayerGeometry,
    LayerParameters,
    LayerShape,
    PackedConvolution,
    PackedTransformerLayer,
    Packer,
    TransformerLayer,
    WindowAttention,
)
from swinir.ops.plain import PlainPacker
from swinir.ops.reference import REFERENCE
from swinir.ops.selection import (
    GPU_KERNELS_VARIABLE,
    ISA_VARIABLE,
    BackendRequest,
    native_multiplies_bf16,
    request_backend,
    select_backend,
    select_training_backend,
)

__all__ = [
    "GPU_KERNELS_VARIABLE",
    "ISA_VARIABLE",
    "REFERENCE",
    "Backend",
    "BackendRequest",
    "ConvolutionParameters",
    "LayerGeometry",
    "LayerParameters",
    "LayerShape",
    "PackedConvolution",
    "PackedTransformerLayer",
    "Packer",
    "PlainPacker",
    "TransformerLayer",
    "WindowAttention",
    "convolve",
    "native_multiplies_bf16",
    "request_backend",
    "select_backend",
    "select_training_backend",
]
