"""SwinIR (Liang et al. 2021): shallow features, deep features, reconstruction."""

from collections import OrderedDict
from collections.abc import Sequence

import torch
from einops import rearrange
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from swinir.model.attention import INITIAL_STD, WindowAttention
from swinir.model.blocks import RSTB, SwinTransformerBlock, closing_convolution, initialize
from swinir.model.config import SwinIRConfig
from swinir.model.convolution import Convolution
from swinir.model.reconstruction import build_layers, reconstruct
from swinir.ops import REFERENCE, Backend, LayerShape
from swinir.ops.windows import crop, is_traced, pad_to_windows

# Mean colour of DIV2K's training images (RGB, of 1): what the published networks subtract. Grey ones subtract 0.
RGB_MEAN = (0.4488, 0.4371, 0.4040)


class PatchEmbedding(nn.Module):
    """The norm between the shallow features and the body, if any; a patch is a pixel, so nothing is cut."""

    def __init__(self, channels: int, *, has_norm: bool) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(channels) if has_norm else nn.Identity()

    def forward(self, x: Float[Tensor, "b h w c"]) -> Float[Tensor, "b h w c"]:
        """Normalise each pixel's features; ``x`` itself where there is no norm."""
        return self.norm(x)


class SwinIR(nn.Module):
    """The network; parameter names are those of the published checkpoints.

    Takes [b, in_channels, h, w] in [0, 1], any size from 1×1, and returns [b, in_channels, scale·h, scale·w],
    nominally in [0, 1] and not clamped.
    """

    def __init__(self, config: SwinIRConfig) -> None:
        super().__init__()
        self.config = config
        first = Convolution(config.in_channels * config.unshuffle**2, config.embed_dim)
        # Behind an unshuffle the published networks have it at the second place of a sequence.
        self.conv_first = first if config.unshuffle == 1 else nn.Sequential(OrderedDict({"1": first}))
        self.patch_embed = PatchEmbedding(config.embed_dim, has_norm=config.patch_norm)
        if (side_px := config.position_embedding_px) is not None:
            self.absolute_pos_embed = nn.Parameter(torch.empty(1, side_px**2, config.embed_dim))
            nn.init.trunc_normal_(self.absolute_pos_embed, std=INITIAL_STD)
        self.layers = nn.ModuleList(
            RSTB(
                config.embed_dim,
                depth=depth,
                num_heads=num_heads,
                window_size=config.window_size,
                mlp_ratio=config.mlp_ratio,
                qkv_bias=config.qkv_bias,
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
        """Have ``backend`` compute every transformer layer from now on, from its parameters as they are then."""
        self.backend = backend
        for module in self.modules():
            if isinstance(module, SwinTransformerBlock):
                module.use_backend(backend)

    def forward(self, image: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c sh sw"]:
        """Restore a batch of images of one size."""
        normalised = self.normalise(image)
        features = self.deep_features(self.shallow_features(normalised))
        restored = reconstruct(self.get_submodule, self._steps, features)
        return self.denormalise(restored, normalised, size=image.shape[-2:])

    def normalise(self, image: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c ph pw"]:
        """Pad images to whole windows, subtract the mean colour and multiply by the range of the parameters."""
        return (pad_to_windows(image, self.config.window_px) - self.mean) * self.config.image_range

    def denormalise(
        self,
        restored: Float[Tensor, "b c sph spw"],
        normalised: Float[Tensor, "b c ph pw"],
        *,
        size: Sequence[int],
    ) -> Float[Tensor, "b c sh sw"]:
        """Make what the reconstruction gives the images, in the range and the size, enlarged, of what was given.

        ``restored`` may be overwritten.
        """
        if self._adds_input:
            restored = restored + normalised
        if self.config.image_range != 1:
            restored = restored / self.config.image_range
        restored += self.mean
        height, width = size
        return crop(restored, self.config.scale * height, self.config.scale * width)

    def shallow_features(self, normalised: Float[Tensor, "b c h w"]) -> Float[Tensor, "b fh fw dim"]:
        """Lift pixels, or blocks of them, to features with one convolution."""
        return self.conv_first(self.gather_blocks(normalised))

    def gather_blocks(self, normalised: Float[Tensor, "b c h w"]) -> Float[Tensor, "b fh fw fc"]:
        """Lay the values of a pixel, or of a block of ``unshuffle`` × ``unshuffle``, beside each other."""
        if self.config.unshuffle > 1:
            normalised = functional.pixel_unshuffle(normalised, self.config.unshuffle)
        return rearrange(normalised, "b c h w -> b h w c").contiguous()

    def deep_features(self, shallow: Float[Tensor, "b h w dim"]) -> Float[Tensor, "b h w dim"]:
        """Add what the residual groups find in the shallow features to them.

        The stream is as precise as the parameters, whatever autocast does.
        """
        precise = shallow.to(self.norm.weight.dtype)
        stream = self.embed(precise)
        for group in self.layers:
            stream = group(stream)
        return precise + self.conv_after_body(self.norm(stream))

    def embed(self, shallow: Float[Tensor, "b h w dim"]) -> Float[Tensor, "b h w dim"]:
        """Make the shallow features the residual stream; without a norm and an embedding it is themselves."""
        stream = self.patch_embed(shallow)
        if self.config.position_embedding_px is None:
            return stream
        return stream + self.position_embedding(*shallow.shape[1:3])

    def position_embedding(self, height: int, width: int) -> Float[Tensor, "1 h w dim"]:
        """Resize the learnt embedding to features of this size, by bicubic interpolation."""
        side_px = self.config.position_embedding_px
        assert side_px is not None
        learnt = rearrange(self.absolute_pos_embed, "1 (h w) dim -> 1 h w dim", h=side_px)
        if not is_traced() and (height, width) == (side_px, side_px):
            return learnt
        image = rearrange(learnt, "1 h w dim -> 1 dim h w")
        resized = functional.interpolate(image, (height, width), mode="bicubic", align_corners=False)
        return rearrange(resized, "1 dim h w -> 1 h w dim")
