"""RCAN (Zhang et al., ECCV 2018), the convolutional network that SwinIR is compared with: a yardstick of speed.

Ten residual groups of twenty blocks, 64 channels, about 15.6 million parameters. Its weights are random, since
speed does not depend on them; no picture is meant to be restored with it.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn

from swinir.model import heads
from swinir.model.heads import Convolve, shuffles


@dataclass(frozen=True, kw_only=True)
class RCANConfig:
    """Sizes of an RCAN; the defaults are those of the paper."""

    scale: int
    in_channels: int = 3
    channels: int = 64
    num_groups: int = 10
    blocks_per_group: int = 20
    reduction: int = 16


class ChannelAttention(nn.Module):
    """Scale each channel by what all channels' means say of it (section 3.3 of the paper)."""

    def __init__(self, channels: int, reduction: int) -> None:
        super().__init__()
        self.gate = nn.Sequential(
            nn.AdaptiveAvgPool2d(1),
            nn.Conv2d(channels, channels // reduction, 1),
            nn.ReLU(inplace=True),
            nn.Conv2d(channels // reduction, channels, 1),
            nn.Sigmoid(),
        )

    def forward(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c h w"]:
        """Scale the channels."""
        return x * self.gate(x)


class Residual(nn.Module):
    """``x`` and what a chain of layers makes of it, added."""

    def __init__(self, *layers: nn.Module) -> None:
        super().__init__()
        self.body = nn.Sequential(*layers)

    def forward(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c h w"]:
        """Add."""
        return x + self.body(x)


class RCAN(nn.Module):
    """The network: features, groups of blocks, each level with its skip connection, then pixel shuffles."""

    def __init__(self, config: RCANConfig) -> None:
        super().__init__()
        width = config.channels
        steps = [
            _conv(width, step.out_channels) if isinstance(step, Convolve) else nn.PixelShuffle(step.factor)
            for step in shuffles(width, config.scale)
        ]
        self.head = _conv(config.in_channels, width)
        self.body = Residual(*(_group(config) for _ in range(config.num_groups)), _conv(width, width))
        self.tail = nn.Sequential(*steps, _conv(width, config.in_channels))

    def forward(self, image: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c sh sw"]:
        """Enlarge a batch of images."""
        features = self.head(image.contiguous(memory_format=torch.channels_last))
        return self.tail(self.body(features))


def multiply_adds(config: RCANConfig, height: int, width: int) -> int:
    """Count the multiply-adds of one image; the gates' own count for each channel, not for each pixel."""
    kernel, channels = 9, config.channels
    num_blocks = config.num_groups * config.blocks_per_group
    square_convs = 2 * num_blocks + config.num_groups + 1
    ends = kernel * channels * config.in_channels * (1 + config.scale**2)
    per_pixel = (
        ends + square_convs * kernel * channels**2 + heads.multiply_adds(shuffles(channels, config.scale))
    )
    gates = num_blocks * 2 * channels * (channels // config.reduction)
    return height * width * per_pixel + gates


def _group(config: RCANConfig) -> Residual:
    blocks = (_block(config) for _ in range(config.blocks_per_group))
    return Residual(*blocks, _conv(config.channels, config.channels))


def _block(config: RCANConfig) -> Residual:
    width = config.channels
    return Residual(
        _conv(width, width),
        nn.ReLU(inplace=True),
        _conv(width, width),
        ChannelAttention(width, config.reduction),
    )


def _conv(in_channels: int, out_channels: int) -> nn.Conv2d:
    return nn.Conv2d(in_channels, out_channels, 3, padding=1)
