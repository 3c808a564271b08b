"""The transformer layer in plain PyTorch: the definition of correct, on every device and in every precision."""

from functools import lru_cache

import torch
from einops import rearrange
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from swinir.ops import traceable, windows
from swinir.ops.interface import NORM_EPSILON, Backend, LayerGeometry, LayerParameters, WindowAttention


def window_attention(
    qkv: Float[Tensor, "b h w c3"], position_bias: Float[Tensor, "heads n n"], geometry: LayerGeometry
) -> Float[Tensor, "b h w c"]:
    """Attend within windows of the cyclically shifted image (Liu et al. 2021, section 3.2).

    The shifted image falls into four rectangles whose windows share one mask each: all windows but those at the
    end, the last column, the last row, and the last corner. So no mask ever grows with the image.
    """
    shift = geometry.shift_size
    if shift == 0:
        return _attend(qkv, position_bias, geometry)
    qkv = qkv.roll((-shift, -shift), dims=(1, 2))
    # A compiler sees through no cache, and makes the masks part of what it compiles.
    find_masks = windows.shift_masks if torch.compiler.is_compiling() else _shift_masks
    masks = find_masks(geometry.window_size, shift, qkv.device)
    height, width = qkv.shape[1:3]
    last_row, last_column = height - geometry.window_size, width - geometry.window_size
    rows = [
        torch.cat(
            [
                _attend(qkv[:, top:bottom, left:right], position_bias + masks[is_last_row, is_last], geometry)
                for is_last, (left, right) in enumerate(((0, last_column), (last_column, width)))
                if left < right
            ],
            dim=2,
        )
        for is_last_row, (top, bottom) in enumerate(((0, last_row), (last_row, height)))
        if top < bottom
    ]
    return torch.cat(rows, dim=1).roll((shift, shift), dims=(1, 2))


def _attend(
    qkv: Float[Tensor, "b h w c3"], bias: Float[Tensor, "heads n n"], geometry: LayerGeometry
) -> Float[Tensor, "b h w c"]:
    """Attend within the windows of a rectangle that share one additive bias."""
    size = geometry.window_size
    q, k, v = rearrange(
        qkv,
        "b (i p) (j q) (three heads d) -> three (b i j) heads (p q) d",
        p=size,
        q=size,
        three=3,
        heads=geometry.num_heads,
    ).unbind(0)
    if torch.is_grad_enabled() and (bias.requires_grad or qkv.requires_grad):
        # PyTorch's fused attention has no gradient for a bias; its stand-in is three times slower than this.
        scores = (q * q.shape[-1] ** -0.5) @ k.transpose(-2, -1) + bias
        attended = functional.softmax(scores, dim=-1).to(v.dtype) @ v
    else:
        attended = functional.scaled_dot_product_attention(q, k, v, attn_mask=bias[None].to(q.dtype))
    rows, columns = qkv.shape[1] // size, qkv.shape[2] // size
    return rearrange(
        attended, "(b i j) heads (p q) d -> b (i p) (j q) (heads d)", i=rows, j=columns, p=size, q=size
    )


@lru_cache(maxsize=16)
def _shift_masks(window_size: int, shift_size: int, device: torch.device) -> Float[Tensor, "2 2 n n"]:
    # What is kept must serve training too, although an inference may be the first to ask.
    with torch.inference_mode(False):
        masks = windows.shift_masks(window_size, shift_size, device)
    if device.type == "cuda":
        # It must also be there for those who compute on another stream.
        torch.cuda.current_stream(device).synchronize()
    return masks


def transformer_layer(
    x: Float[Tensor, "b h w c"],
    parameters: LayerParameters,
    geometry: LayerGeometry,
    drop_path_scales: Float[Tensor, "b 2"] | None = None,
    *,
    attention: WindowAttention = window_attention,
) -> Float[Tensor, "b h w c"]:
    """Apply one Swin transformer layer (equations 1 and 2 of Liang et al. 2021).

    Under autocast the matrix products run in its precision; the residual stream stays float32. What attention and
    MLP add to an image is multiplied by its two ``drop_path_scales``.
    """
    if windows.is_traced() and attention is window_attention and drop_path_scales is None:
        return traceable.transformer_layer(x, parameters, geometry)
    p = parameters
    channels = x.shape[-1:]
    normed = functional.layer_norm(x, channels, p.norm1_weight, p.norm1_bias, NORM_EPSILON)
    qkv = functional.linear(normed, p.qkv_weight, p.qkv_bias)
    attended = attention(qkv, p.position_bias, geometry)
    projected = functional.linear(attended, p.proj_weight, p.proj_bias)
    x = x + (projected if drop_path_scales is None else drop_path_scales[:, 0, None, None, None] * projected)
    normed = functional.layer_norm(x, channels, p.norm2_weight, p.norm2_bias, NORM_EPSILON)
    hidden = functional.gelu(functional.linear(normed, p.fc1_weight, p.fc1_bias))
    projected = functional.linear(hidden, p.fc2_weight, p.fc2_bias)
    return x + (
        projected if drop_path_scales is None else drop_path_scales[:, 1, None, None, None] * projected
    )


def plain_pytorch(reason: str) -> Backend:
    """Return the reference, chosen for ``reason``."""
    return Backend(
        name="reference",
        reason=f"plain PyTorch: {reason}",
        transformer_layer=transformer_layer,
    )


REFERENCE = plain_pytorch("the definition of correct")
