"""SwinIR (Liang et al. 2021): shallow features, deep features, reconstruction."""

import torch
from einops import rearrange
from jaxtyping import Float
from torch import Tensor, nn

from swinir.model.attention import WindowAttention
from swinir.model.blocks import RSTB, AfterLayer, SwinTransformerBlock, closing_convolution, initialize
from swinir.model.config import SwinIRConfig
from swinir.model.convolution import Convolution
from swinir.model.reconstruction import build_layers, reconstruct, reconstruct_in_bands
from swinir.ops import REFERENCE, Backend, LayerShape
from swinir.ops.windows import crop, pad_to_windows

# Mean colour of DIV2K's training images (RGB, of 1): what the published networks subtract. Grey ones subtract 0.
RGB_MEAN = (0.4488, 0.4371, 0.4040)


class PatchEmbedding(nn.Module):
    """The norm between the shallow features and the body; a patch is a pixel, so nothing is cut."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(channels)

    def forward(self, x: Float[Tensor, "b h w c"]) -> Float[Tensor, "b h w c"]:
        """Normalise each pixel's features."""
        return self.norm(x)


class SwinIR(nn.Module):
    """The network; parameter names are those of the published checkpoints.

    Takes [b, in_channels, h, w] in [0, 1], any size from 1×1, and returns [b, in_channels, scale·h, scale·w],
    nominally in [0, 1] and not clamped.
    """

    def __init__(self, config: SwinIRConfig) -> None:
        super().__init__()
        self.config = config
        self.conv_first = Convolution(config.in_channels, config.embed_dim)
        self.patch_embed = PatchEmbedding(config.embed_dim)
        self.layers = nn.ModuleList(
            RSTB(
                config.embed_dim,
                depth=depth,
                num_heads=num_heads,
                window_size=config.window_size,
                mlp_ratio=config.mlp_ratio,
                residual_conv=config.residual_conv,
            )
            for depth, num_heads in zip(config.depths, config.num_heads, strict=True)
        )
        self.norm = nn.LayerNorm(config.embed_dim)
        self.conv_after_body = closing_convolution(config.embed_dim, config.residual_conv)
        # Looked up once: the table of heads is not for a compiled graph.
        self._steps, self._adds_input = config.head_steps, config.head.adds_input
        for name, layer in build_layers(self._steps).items():
            self.add_module(name, layer)
        self.mean: Tensor
        self.compute_buffers()
        self.apply(initialize)
        self.backend = REFERENCE

    def compute_buffers(self) -> None:
        """Make what is no parameter, on the default device: the mean colour, and the positions within windows."""
        channels = self.config.in_channels
        mean = RGB_MEAN if channels == len(RGB_MEAN) else (0.0,) * channels
        self.register_buffer("mean", torch.tensor(mean).reshape(1, -1, 1, 1), persistent=False)
        for module in self.modules():
            if isinstance(module, WindowAttention):
                module.compute_buffers()

    def layer_shapes(self) -> set[LayerShape]:
        """Tell what kernels for this network's transformer layers are built for."""
        return {module.shape() for module in self.modules() if isinstance(module, SwinTransformerBlock)}

    def use_backend(self, backend: Backend) -> None:
        """Have ``backend`` compute every transformer layer from now on.

        One that packs takes the parameters as they are now: later changes to them are not seen.
        """
        self.backend = backend
        for module in self.modules():
            if isinstance(module, SwinTransformerBlock | Convolution):
                module.use_backend(backend)

    def forward(
        self,
        image: Float[Tensor, "b c h w"],
        *,
        after_layer: AfterLayer | None = None,
        in_bands: bool = False,
    ) -> Float[Tensor, "b c sh sw"]:
        """Restore a batch of images of one size; ``after_layer`` is called after each transformer layer.

        With ``in_bands``, features are enlarged band by band, in a part of the memory. That is for inference: a
        recording of it would fit one size only.
        """
        height, width = image.shape[-2:]
        padded = pad_to_windows(image, self.config.window_size)
        normalised = (padded - self.mean) * self.config.image_range
        shallow = self.shallow_features(normalised)
        features = self.deep_features(shallow, overwrite=True, after_layer=after_layer)
        restored = self.reconstruct(features, in_bands=in_bands)
        if self._adds_input:
            restored = restored + normalised
        if self.config.image_range != 1:
            restored = restored / self.config.image_range
        restored += self.mean
        scale = self.config.scale
        return crop(restored, scale * height, scale * width)

    def shallow_features(self, image: Float[Tensor, "b c h w"]) -> Float[Tensor, "b h w dim"]:
        """Lift pixels to features with one convolution."""
        return self.conv_first(rearrange(image, "b c h w -> b h w c").contiguous())

    def deep_features(
        self,
        shallow: Float[Tensor, "b h w dim"],
        *,
        overwrite: bool = False,
        after_layer: AfterLayer | None = None,
    ) -> Float[Tensor, "b h w dim"]:
        """Add what the residual groups find in the shallow features to them.

        The stream is as precise as the parameters, whatever autocast does. Where ``overwrite`` is true, nobody
        needs ``shallow`` afterwards, and the result may be in its memory.
        """
        precise = shallow.to(self.norm.weight.dtype)
        stream = self.patch_embed(precise)
        for group in self.layers:
            stream = group(stream, overwrite=True, after_layer=after_layer)
        return self.conv_after_body(self.norm(stream), precise, overwrite=overwrite)

    def reconstruct(
        self, features: Float[Tensor, "b h w dim"], *, in_bands: bool = False
    ) -> Float[Tensor, "b c sh sw"]:
        """Turn features into the enlarged image, or into the correction of one."""
        if in_bands:
            return reconstruct_in_bands(self, self._steps, features, self.config.scale)
        return reconstruct(self, self._steps, features)
