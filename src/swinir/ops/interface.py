"""The interface of every backend: what a transformer layer and a convolution take and return, and the backend."""

from dataclasses import dataclass
from typing import NamedTuple, Protocol, runtime_checkable

from jaxtyping import Float
from torch import Tensor

# LayerNorm's epsilon of the published network (PyTorch's default when it was trained).
NORM_EPSILON = 1e-5


class LayerParameters(NamedTuple):
    """Parameters of one Swin transformer layer of c channels, heads of c / heads channels, windows of n tokens."""

    norm1_weight: Float[Tensor, " c"]
    norm1_bias: Float[Tensor, " c"]
    qkv_weight: Float[Tensor, "c3 c"]
    qkv_bias: Float[Tensor, " c3"]
    position_bias: Float[Tensor, "heads n n"]
    proj_weight: Float[Tensor, "c c"]
    proj_bias: Float[Tensor, " c"]
    norm2_weight: Float[Tensor, " c"]
    norm2_bias: Float[Tensor, " c"]
    fc1_weight: Float[Tensor, "hidden c"]
    fc1_bias: Float[Tensor, " hidden"]
    fc2_weight: Float[Tensor, "c hidden"]
    fc2_bias: Float[Tensor, " c"]


class ConvolutionParameters(NamedTuple):
    """A convolution that keeps the size of the image, k being 1 or 3, and the leaky ReLU behind it.

    Values below 0 are multiplied by ``negative_slope``; 1 leaves them as they are. Where ``keeps_float32`` is true,
    as in the convolution that gives the image, nothing is rounded to the compute type.
    """

    weight: Float[Tensor, "out c k k"]
    bias: Float[Tensor, " out"]
    negative_slope: float = 1.0
    keeps_float32: bool = False


@dataclass(frozen=True, kw_only=True)
class LayerGeometry:
    """How the tokens of one layer meet: windows of ``window_size``², cyclically shifted by ``shift_size`` pixels."""

    num_heads: int
    window_size: int
    shift_size: int


@dataclass(frozen=True, kw_only=True)
class LayerShape:
    """What a kernel for one transformer layer is built for: its channels, those inside its MLP, and its geometry."""

    channels: int
    hidden_channels: int
    geometry: LayerGeometry


@runtime_checkable
class TransformerLayer(Protocol):
    """One Swin transformer layer: x + attention(norm1(x)), then + mlp(norm2(·)).

    ``x`` is the float32 residual stream with h and w multiples of the window. What attention and MLP add to an
    image of the batch is multiplied by its two ``drop_path_scales`` (stochastic depth, Huang et al. 2016), which
    get no gradient; without them it is added as it is.
    """

    def __call__(
        self,
        x: Float[Tensor, "b h w c"],
        parameters: LayerParameters,
        geometry: LayerGeometry,
        drop_path_scales: Float[Tensor, "b 2"] | None = None,
    ) -> Float[Tensor, "b h w c"]:
        """Compute."""
        ...


@runtime_checkable
class PackedTransformerLayer(Protocol):
    """The same layer with its parameters built in, for inference.

    Where ``overwrite`` is true, ``x`` is the caller's to give away: the result may be in its memory.
    """

    def __call__(self, x: Float[Tensor, "b h w c"], *, overwrite: bool = False) -> Float[Tensor, "b h w c"]:
        """Compute."""
        ...


@runtime_checkable
class PackedConvolution(Protocol):
    """A convolution on channels-last features with its parameters built in, plus ``residual``, for inference.

    Where ``overwrite`` is true, ``residual`` is the caller's to give away.
    """

    def __call__(
        self,
        x: Float[Tensor, "b h w c"],
        residual: Float[Tensor, "b h w out"] | None = None,
        *,
        overwrite: bool = False,
    ) -> Float[Tensor, "b h w out"]:
        """Compute."""
        ...


@runtime_checkable
class WindowAttention(Protocol):
    """Shifted-window attention of projected queries, keys and values; channels are ordered (q|k|v, head, d)."""

    def __call__(
        self,
        qkv: Float[Tensor, "b h w c3"],
        position_bias: Float[Tensor, "heads n n"],
        geometry: LayerGeometry,
    ) -> Float[Tensor, "b h w c"]:
        """Compute."""
        ...


@runtime_checkable
class Packer(Protocol):
    """Builds parameters into what computes with them; later changes to the parameters are not seen."""

    def layer(self, parameters: LayerParameters, geometry: LayerGeometry) -> PackedTransformerLayer:
        """Pack a transformer layer."""
        ...

    def convolution(self, parameters: ConvolutionParameters) -> PackedConvolution:
        """Pack a convolution."""
        ...


@dataclass(frozen=True, kw_only=True)
class Backend:
    """Who computes the transformer layers, and why that one.

    ``transformer_layer`` takes the parameters with every call, as training needs. Where there is a ``packer``,
    inference goes through what it packs, convolutions among it.
    """

    name: str
    reason: str
    transformer_layer: TransformerLayer
    packer: Packer | None = None
