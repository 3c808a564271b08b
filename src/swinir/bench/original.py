"""The transformer layer as the published code computes it: what every speed-up is measured against.

The shifted image is rolled and partitioned in memory, scores are a plain product, the mask is built on the CPU in
every layer of every forward pass and copied over, and the softmax is its own pass over memory.
"""

from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from swinir.ops import Backend, LayerGeometry, LayerParameters, reference
from swinir.ops.windows import MASKED_SCORE, merge, partition

MakeMask = Callable[[int, int, LayerGeometry, torch.device], Float[Tensor, "windows n n"]]


def attention_mask(
    height: int, width: int, geometry: LayerGeometry, device: torch.device | None = None
) -> Float[Tensor, "windows n n"]:
    """Give each of the nine regions of the shifted image a number and forbid looks from one into another."""
    size, shift = geometry.window_size, geometry.shift_size
    regions = torch.zeros(1, height, width, 1, device=device)
    bands = (slice(0, -size), slice(-size, -shift), slice(-shift, None))
    for number, (rows, columns) in enumerate((rows, columns) for rows in bands for columns in bands):
        regions[:, rows, columns] = number
    tokens = partition(regions, size)[..., 0]
    return (tokens[:, :, None] != tokens[:, None, :]) * MASKED_SCORE


def make_mask_on_cpu(
    height: int, width: int, geometry: LayerGeometry, device: torch.device
) -> Float[Tensor, "windows n n"]:
    """Build the mask anew on the CPU and copy it, as the published code does in every layer of every pass."""
    if torch.compiler.is_compiling():
        # What is compiled for one size has its mask as a constant; a copy would break the graph in two.
        return attention_mask(height, width, geometry, device)
    return attention_mask(height, width, geometry).to(device)


def window_attention(
    qkv: Float[Tensor, "b h w c3"],
    position_bias: Float[Tensor, "heads n n"],
    geometry: LayerGeometry,
    make_mask: MakeMask = make_mask_on_cpu,
) -> Float[Tensor, "b h w c"]:
    """Attend within windows, step by step, everything in memory."""
    height, width = qkv.shape[1:3]
    shift = geometry.shift_size
    shifted = qkv.roll((-shift, -shift), dims=(1, 2)) if shift else qkv
    tokens = partition(shifted, geometry.window_size)
    windows, n, channels3 = tokens.shape
    split = tokens.reshape(windows, n, 3, geometry.num_heads, -1).permute(2, 0, 3, 1, 4)
    q, k, v = split.unbind(0)
    scores = (q * q.shape[-1] ** -0.5) @ k.transpose(-2, -1) + position_bias
    if shift:
        mask = make_mask(height, width, geometry, qkv.device)
        scores = scores.view(-1, len(mask), geometry.num_heads, n, n) + mask[:, None]
        scores = scores.view(windows, geometry.num_heads, n, n)
    attended = (functional.softmax(scores, dim=-1).to(v.dtype) @ v).transpose(1, 2)
    merged = merge(attended.reshape(windows, n, channels3 // 3), height, width)
    return merged.roll((shift, shift), dims=(1, 2)) if shift else merged


def transformer_layer(
    x: Float[Tensor, "b h w c"],
    parameters: LayerParameters,
    geometry: LayerGeometry,
    drop_path_scales: Float[Tensor, "b 2"] | None = None,
) -> Float[Tensor, "b h w c"]:
    """One layer with that attention."""
    return reference.transformer_layer(x, parameters, geometry, drop_path_scales, attention=window_attention)


ORIGINAL_MANNER = Backend(
    name="original-manner",
    reason="the published code's way, for comparison",
    transformer_layer=transformer_layer,
)
