"""The parameters of window attention; ``ops`` computes with them."""

import torch
from einops import rearrange
from jaxtyping import Float
from torch import Tensor, nn

from swinir.ops import windows

# Standard deviation of the truncated normal that transformer weights start from (Liu et al. 2021).
INITIAL_STD = 0.02


class WindowAttention(nn.Module):
    """Projections and relative position bias of multi-head attention within windows of ``window_size``²."""

    def __init__(self, channels: int, *, num_heads: int, window_size: int, qkv_bias: bool) -> None:
        super().__init__()
        self.window_size = window_size
        self.num_tokens = window_size**2
        self.qkv = nn.Linear(channels, 3 * channels, bias=qkv_bias)
        self.proj = nn.Linear(channels, channels)
        self.relative_position_bias_table = nn.Parameter(torch.empty((2 * window_size - 1) ** 2, num_heads))
        nn.init.trunc_normal_(self.relative_position_bias_table, std=INITIAL_STD)
        self.position_index: Tensor
        self.compute_buffers()

    def compute_buffers(self) -> None:
        """Make the index into the table for each pair of tokens, on the default device."""
        index = windows.relative_position_index(self.window_size).flatten()
        self.register_buffer("position_index", index, persistent=False)

    def projection_bias(self) -> Float[Tensor, " c3"]:
        """Return the bias of the projections to queries, keys and values; zeros where the network has none."""
        if self.qkv.bias is None:  # pyright: ignore[reportUnnecessaryComparison]  PyTorch's stubs know no such layer
            return self.qkv.weight.new_zeros(self.qkv.out_features)
        return self.qkv.bias

    def position_bias(self) -> Float[Tensor, "heads n n"]:
        """Expand the table to one bias for each head and pair of tokens of a window."""
        expanded = self.relative_position_bias_table[self.position_index]
        return rearrange(expanded, "(query key) heads -> heads query key", query=self.num_tokens)
