"""What a SwinIR is: a frozen configuration, and every variant of the paper by name."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from enum import StrEnum
from math import inf
from types import MappingProxyType
from typing import Any

from swinir.errors import UsageError
from swinir.model.heads import HEADS, RECONSTRUCTION_CHANNELS, Head, Step, Upsampler


class ResidualConv(StrEnum):
    """Convolution that closes each residual group: one 3×3, or a bottleneck of three."""

    ONE = "1conv"
    THREE = "3conv"


# Channels that an image may have.
IMAGE_CHANNELS = (3, 1, 4)
# How much narrower the middle of the three convolutions is.
BOTTLENECK = 4


@dataclass(frozen=True, kw_only=True)
class SwinIRConfig:
    """Everything that defines the network; the size of the training images only where a position embedding has it.

    Args:
        scale: how many times larger the output is (1 for denoising and JPEG clean-up).
        in_channels: 1 for grey, 3 for RGB, 4 for RGB and one more, such as opacity.
        embed_dim: channels of the features.
        depths: transformer layers in each residual group (RSTB).
        num_heads: attention heads in each residual group.
        window_size: side of an attention window in pixels.
        mlp_ratio: hidden channels of the MLP over ``embed_dim``.
        upsampler: how features become the image.
        residual_conv: convolution at the end of each residual group.
        image_range: what a value of 1.0 is multiplied by inside the network: 255 for the published JPEG
            models, else 1.
        num_feat: channels between the body and the pixels, in the reconstructions that have such a stage.
        unshuffle: side of the blocks of pixels that become channels in front of the first convolution; the body
            works on an image so many times smaller (8 in DiffBIR's and DifFace's first stage).
        patch_norm: whether a norm stands between the shallow features and the body.
        qkv_bias: whether the projections to queries, keys and values have a bias.
        position_embedding_px: side of the learnt absolute position embedding, in pixels of the body's features; None
            without one. For images of other sizes it is resized by bicubic interpolation.

    Raises:
        UsageError: a value is impossible, or does not fit the others.
    """

    scale: int
    in_channels: int
    embed_dim: int
    depths: tuple[int, ...]
    num_heads: tuple[int, ...]
    window_size: int = 8
    mlp_ratio: float = 2.0
    upsampler: Upsampler
    residual_conv: ResidualConv = ResidualConv.ONE
    image_range: float = 1.0
    num_feat: int = RECONSTRUCTION_CHANNELS
    unshuffle: int = 1
    patch_norm: bool = True
    qkv_bias: bool = True
    position_embedding_px: int | None = None

    def __post_init__(self) -> None:
        # Enums and tuples arrive as strings and lists from JSON and TOML.
        object.__setattr__(self, "upsampler", Upsampler(self.upsampler))
        object.__setattr__(self, "residual_conv", ResidualConv(self.residual_conv))
        object.__setattr__(self, "depths", tuple(self.depths))
        object.__setattr__(self, "num_heads", tuple(self.num_heads))
        self._check_numbers()
        self._check_together()

    def _check_numbers(self) -> None:
        sizes = (
            self.embed_dim,
            self.num_feat,
            self.unshuffle,
            1 if self.position_embedding_px is None else self.position_embedding_px,
            *self.depths,
            *self.num_heads,
        )
        whole = (self.scale, self.in_channels, self.window_size, *sizes)
        if wrong := [value for value in whole if type(value) is not int]:
            raise UsageError(f"{wrong[0]!r} is no whole number: {self}")
        if min(sizes) < 1:
            raise UsageError(f"every size must be above 0: {self}")
        if self.in_channels not in IMAGE_CHANNELS:
            raise UsageError(
                f"in_channels is {self.in_channels}, but images are grey (1), RGB (3) or RGB and one more (4)"
            )
        if type(self.patch_norm) is not bool or type(self.qkv_bias) is not bool:
            raise UsageError(f"patch_norm and qkv_bias are true or false: {self}")
        if self.window_size < 2:
            raise UsageError(f"window_size is {self.window_size}, but a window has at least 2×2 pixels")
        if not 0 < self.image_range < inf:
            raise UsageError(f"image_range is {self.image_range}, but must be above 0: choose 1 or 255")

    def _check_together(self) -> None:
        self._check_reconstruction()
        if not self.depths or len(self.depths) != len(self.num_heads):
            raise UsageError(
                f"depths {self.depths} and num_heads {self.num_heads} must name the same residual groups"
            )
        if any(self.embed_dim % heads for heads in self.num_heads):
            raise UsageError(f"embed_dim {self.embed_dim} does not divide into {self.num_heads} heads")
        if not 1 <= self.embed_dim * self.mlp_ratio < inf:
            raise UsageError(
                f"mlp_ratio {self.mlp_ratio} leaves the MLP no hidden channel of {self.embed_dim}: choose 2"
            )
        if self.residual_conv is ResidualConv.THREE and self.embed_dim < BOTTLENECK:
            raise UsageError(
                f"embed_dim {self.embed_dim} is too narrow for 3conv: it takes at least {BOTTLENECK}"
            )

    def _check_reconstruction(self) -> None:
        name = self.upsampler.name
        if self.head_scale not in self.head.scales:
            allowed = ", ".join(map(str, self.head.scales))
            behind = f" · unshuffle {self.unshuffle}" if self.unshuffle > 1 else ""
            raise UsageError(
                f"scale {self.scale}{behind} does not exist with upsampler {name}: choose one of {allowed}"
            )
        if self.num_feat != RECONSTRUCTION_CHANNELS and not self.head.has_narrow_stage:
            raise UsageError(
                f"num_feat is {self.num_feat}, but upsampler {name} has no such stage: leave it out"
            )

    @property
    def head_scale(self) -> int:
        """How many times larger the image is than the body's features."""
        return self.scale * self.unshuffle

    @property
    def window_px(self) -> int:
        """Side of an attention window in pixels of the image: images are padded to multiples of it."""
        return self.window_size * self.unshuffle

    @property
    def head(self) -> Head:
        """What is known of the reconstruction."""
        return HEADS[self.upsampler]

    @property
    def head_steps(self) -> tuple[Step, ...]:
        """The steps of the reconstruction."""
        return self.head.steps(self.embed_dim, self.in_channels, self.head_scale, self.num_feat)

    def to_dict(self) -> dict[str, Any]:
        """Return plain values that JSON can hold; ``from_dict`` reads them back."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "SwinIRConfig":
        """Build from ``to_dict``'s values.

        Raises:
            UsageError: a key is unknown or missing, or a value impossible.
        """
        known = {field.name for field in fields(cls)}
        if unknown := sorted(set(values) - known):
            raise UsageError(f"unknown keys {unknown} in a SwinIR configuration; known are {sorted(known)}")
        try:
            return cls(**values)
        except TypeError as error:
            raise UsageError(f"not a SwinIR configuration: {error}") from error


LIGHTWEIGHT_X2 = SwinIRConfig(
    scale=2,
    in_channels=3,
    embed_dim=60,
    depths=(6,) * 4,
    num_heads=(6,) * 4,
    upsampler=Upsampler.PIXEL_SHUFFLE_DIRECT,
)
LIGHTWEIGHT_X3 = replace(LIGHTWEIGHT_X2, scale=3)
LIGHTWEIGHT_X4 = replace(LIGHTWEIGHT_X2, scale=4)

# Not of the paper: its lightweight body for pictures that keep their size.
LIGHTWEIGHT_DENOISE = replace(LIGHTWEIGHT_X2, scale=1, upsampler=Upsampler.NONE)
# Windows of 7, so that they are not JPEG's blocks of 8.
LIGHTWEIGHT_JPEG = replace(LIGHTWEIGHT_DENOISE, window_size=7)

CLASSICAL_X2 = SwinIRConfig(
    scale=2,
    in_channels=3,
    embed_dim=180,
    depths=(6,) * 6,
    num_heads=(6,) * 6,
    upsampler=Upsampler.PIXEL_SHUFFLE,
)
CLASSICAL_X3 = replace(CLASSICAL_X2, scale=3)
CLASSICAL_X4 = replace(CLASSICAL_X2, scale=4)
CLASSICAL_X8 = replace(CLASSICAL_X2, scale=8)

REAL_M_X2 = replace(CLASSICAL_X2, upsampler=Upsampler.NEAREST_CONV)
REAL_M_X4 = replace(REAL_M_X2, scale=4)
REAL_L_X4 = replace(
    REAL_M_X4, embed_dim=240, depths=(6,) * 9, num_heads=(8,) * 9, residual_conv=ResidualConv.THREE
)

COLOR_DENOISE = replace(CLASSICAL_X2, scale=1, upsampler=Upsampler.NONE)
GRAY_DENOISE = replace(COLOR_DENOISE, in_channels=1)
COLOR_JPEG = replace(COLOR_DENOISE, window_size=7, image_range=255.0)
GRAY_JPEG = replace(COLOR_JPEG, in_channels=1)

VARIANTS: Mapping[str, SwinIRConfig] = MappingProxyType(
    {
        "lightweight-x2": LIGHTWEIGHT_X2,
        "lightweight-x3": LIGHTWEIGHT_X3,
        "lightweight-x4": LIGHTWEIGHT_X4,
        "lightweight-denoise": LIGHTWEIGHT_DENOISE,
        "lightweight-jpeg": LIGHTWEIGHT_JPEG,
        "classical-x2": CLASSICAL_X2,
        "classical-x3": CLASSICAL_X3,
        "classical-x4": CLASSICAL_X4,
        "classical-x8": CLASSICAL_X8,
        "real-m-x2": REAL_M_X2,
        "real-m-x4": REAL_M_X4,
        "real-l-x4": REAL_L_X4,
        "gray-denoise": GRAY_DENOISE,
        "color-denoise": COLOR_DENOISE,
        "gray-jpeg": GRAY_JPEG,
        "color-jpeg": COLOR_JPEG,
    }
)
