"""The residual Swin transformer block (RSTB) and the layers it is made of."""

from collections import OrderedDict

from jaxtyping import Float
from torch import Tensor, nn

from swinir.model.attention import INITIAL_STD, WindowAttention
from swinir.model.config import BOTTLENECK, ResidualConv
from swinir.model.convolution import Convolution
from swinir.ops import (
    Backend,
    LayerGeometry,
    LayerParameters,
    LayerShape,
    TransformerLayer,
)
from swinir.ops.reference import transformer_layer

# Negative slope of the leaky ReLU between the three convolutions of the bottleneck.
BOTTLENECK_SLOPE = 0.2


class Mlp(nn.Module):
    """Parameters of the two-layer perceptron behind each attention."""

    def __init__(self, channels: int, hidden_channels: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(channels, hidden_channels)
        self.fc2 = nn.Linear(hidden_channels, channels)


class SwinTransformerBlock(nn.Module):
    """One transformer layer: shifted-window attention, then an MLP, each behind a norm and with a residual.

    ``layer`` computes it. ``drop_path_scales`` [b, 2], which training may set, multiply what attention and MLP add
    to each image of a batch (stochastic depth, Huang et al. 2016).
    """

    def __init__(
        self,
        channels: int,
        *,
        num_heads: int,
        window_size: int,
        shift_size: int,
        mlp_ratio: float,
        qkv_bias: bool,
    ) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(channels)
        self.attn = WindowAttention(channels, num_heads=num_heads, window_size=window_size, qkv_bias=qkv_bias)
        self.norm2 = nn.LayerNorm(channels)
        self.mlp = Mlp(channels, int(channels * mlp_ratio))
        self.geometry = LayerGeometry(num_heads=num_heads, window_size=window_size, shift_size=shift_size)
        self.layer: TransformerLayer = transformer_layer
        self.drop_path_scales: Tensor | None = None

    def shape(self) -> LayerShape:
        """Tell what a kernel for this layer is built for."""
        hidden_channels, channels = self.mlp.fc1.weight.shape
        return LayerShape(channels=channels, hidden_channels=hidden_channels, geometry=self.geometry)

    def use_backend(self, backend: Backend) -> None:
        """Have ``backend`` compute the layer from now on."""
        self.layer = backend.transformer_layer

    def parameters_of_layer(self) -> LayerParameters:
        """Gather what ``ops`` computes with, the position bias expanded to [heads, n, n]."""
        return LayerParameters(
            norm1_weight=self.norm1.weight,
            norm1_bias=self.norm1.bias,
            qkv_weight=self.attn.qkv.weight,
            qkv_bias=self.attn.projection_bias(),
            position_bias=self.attn.position_bias(),
            proj_weight=self.attn.proj.weight,
            proj_bias=self.attn.proj.bias,
            norm2_weight=self.norm2.weight,
            norm2_bias=self.norm2.bias,
            fc1_weight=self.mlp.fc1.weight,
            fc1_bias=self.mlp.fc1.bias,
            fc2_weight=self.mlp.fc2.weight,
            fc2_bias=self.mlp.fc2.bias,
        )

    def forward(self, x: Float[Tensor, "b h w c"]) -> Float[Tensor, "b h w c"]:
        """Apply the layer to a residual stream whose sides are multiples of the window."""
        return self.layer(x, self.parameters_of_layer(), self.geometry, self.drop_path_scales)


class ResidualGroup(nn.Module):
    """The transformer layers of one RSTB; every second one is shifted by half a window."""

    def __init__(
        self,
        channels: int,
        *,
        depth: int,
        num_heads: int,
        window_size: int,
        mlp_ratio: float,
        qkv_bias: bool,
    ) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(
            SwinTransformerBlock(
                channels,
                num_heads=num_heads,
                window_size=window_size,
                shift_size=0 if index % 2 == 0 else window_size // 2,
                mlp_ratio=mlp_ratio,
                qkv_bias=qkv_bias,
            )
            for index in range(depth)
        )

    def forward(self, x: Float[Tensor, "b h w c"]) -> Float[Tensor, "b h w c"]:
        """Apply the layers in order."""
        for block in self.blocks:
            x = block(x)
        return x


class RSTB(nn.Module):
    """Residual Swin transformer block: layers, a closing convolution, and a residual around both."""

    def __init__(
        self,
        channels: int,
        *,
        depth: int,
        num_heads: int,
        window_size: int,
        mlp_ratio: float,
        qkv_bias: bool,
        residual_conv: ResidualConv,
    ) -> None:
        super().__init__()
        self.residual_group = ResidualGroup(
            channels,
            depth=depth,
            num_heads=num_heads,
            window_size=window_size,
            mlp_ratio=mlp_ratio,
            qkv_bias=qkv_bias,
        )
        self.conv = closing_convolution(channels, residual_conv)

    def forward(self, x: Float[Tensor, "b h w c"]) -> Float[Tensor, "b h w c"]:
        """Add what the layers and the convolution find to ``x``."""
        return x + self.conv(self.residual_group(x))


def closing_convolution(channels: int, kind: ResidualConv) -> Convolution | nn.Sequential:
    """Build the convolution that ends a residual group, or the body of the network."""
    if kind is ResidualConv.ONE:
        return Convolution(channels, channels)
    bottleneck = channels // BOTTLENECK
    return nn.Sequential(
        OrderedDict(
            {
                "0": Convolution(channels, bottleneck, negative_slope=BOTTLENECK_SLOPE),
                "2": Convolution(bottleneck, bottleneck, 1, negative_slope=BOTTLENECK_SLOPE),
                "4": Convolution(bottleneck, channels),
            }
        )
    )


def initialize(module: nn.Module) -> None:
    """Start linear layers and norms as Liu et al. (2021) do; convolutions keep PyTorch's own start."""
    if isinstance(module, nn.Linear):
        nn.init.trunc_normal_(module.weight, std=INITIAL_STD)
        if module.bias is not None:  # pyright: ignore[reportUnnecessaryComparison]
            nn.init.zeros_(module.bias)
