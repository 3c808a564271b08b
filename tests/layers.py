"""Transformer layers with random parameters."""

import torch

from swinir.ops import LayerParameters


def random_layer(
    generator: torch.Generator,
    *,
    channels: int,
    num_heads: int,
    window_size: int,
    hidden_channels: int | None = None,
    spread: float = 0.2,
) -> LayerParameters:
    """Draw parameters in float64 that scatter by ``spread``; the MLP is twice as wide unless told."""
    n, hidden = window_size**2, hidden_channels or 2 * channels

    def draw(*shape: int) -> torch.Tensor:
        return spread * torch.randn(*shape, generator=generator, dtype=torch.float64)

    return LayerParameters(
        norm1_weight=1 + draw(channels),
        norm1_bias=draw(channels),
        qkv_weight=draw(3 * channels, channels),
        qkv_bias=draw(3 * channels),
        position_bias=draw(num_heads, n, n),
        proj_weight=draw(channels, channels),
        proj_bias=draw(channels),
        norm2_weight=1 + draw(channels),
        norm2_bias=draw(channels),
        fc1_weight=draw(hidden, channels),
        fc1_bias=draw(hidden),
        fc2_weight=draw(channels, hidden),
        fc2_bias=draw(channels),
    )
