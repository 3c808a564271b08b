"""The transformer layer in a form that tracers take at any size: ``torch.export``, ``torch.jit.trace``, ONNX.

A tracer keeps operations and forgets Python, so nothing here asks for a size, loops over windows or cuts a
rectangle. Tokens are [t, c], every image of the batch and every window in one dimension; which pixel a token is
and what masks a window are computed from positions. No dimension is a number of windows alone, which may be 1:
tracers would take that for another network.
"""

from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional

from swinir.ops import windows
from swinir.ops.interface import NORM_EPSILON, LayerGeometry, LayerParameters


class Positions(NamedTuple):
    """Where the tokens of a batch of t pixels in w windows of n tokens are, for one shift.

    Attributes:
        pixels: pixel of each token, tokens being in the order of shifted windows, pixels in the order of memory.
        tokens: token of each pixel, the inverse.
        mask: what is added to the scores of each window; None without a shift.
    """

    pixels: Int[Tensor, " t"]
    tokens: Int[Tensor, " t"]
    mask: Float[Tensor, "w 1 n n"] | None


def transformer_layer(
    x: Float[Tensor, "b h w c"], parameters: LayerParameters, geometry: LayerGeometry
) -> Float[Tensor, "b h w c"]:
    """Apply one Swin transformer layer: what ``reference.transformer_layer`` defines, for inference."""
    positions = _find_positions(x, geometry)
    p = parameters
    batch, height, width, channels = x.shape
    tokens = batch * height * width
    stream = x.reshape(tokens, channels).index_select(0, positions.pixels)
    normed = functional.layer_norm(stream, (channels,), p.norm1_weight, p.norm1_bias, NORM_EPSILON)
    qkv = functional.linear(normed, p.qkv_weight, p.qkv_bias)
    attended = _attend(qkv, p.position_bias, positions.mask, geometry)
    stream = stream + functional.linear(attended, p.proj_weight, p.proj_bias)
    normed = functional.layer_norm(stream, (channels,), p.norm2_weight, p.norm2_bias, NORM_EPSILON)
    hidden = functional.gelu(functional.linear(normed, p.fc1_weight, p.fc1_bias))
    stream = stream + functional.linear(hidden, p.fc2_weight, p.fc2_bias)
    return stream.index_select(0, positions.tokens).reshape(batch, height, width, channels)


def _attend(
    qkv: Float[Tensor, "t c3"],
    position_bias: Float[Tensor, "heads n n"],
    mask: Float[Tensor, "w 1 n n"] | None,
    geometry: LayerGeometry,
) -> Float[Tensor, "t c"]:
    """Attend within windows, whose tokens follow each other."""
    tokens, channels3 = qkv.shape
    num_heads, n = geometry.num_heads, geometry.window_size**2
    channels = channels3 // 3
    by_window = qkv.reshape(tokens // n, n, 3, num_heads, channels // num_heads)
    q, k, v = (by_window[:, :, index].transpose(1, 2) for index in range(3))
    scores = (q * (channels // num_heads) ** -0.5) @ k.transpose(-2, -1) + position_bias
    if mask is not None:
        scores = scores + mask
    attended = functional.softmax(scores, dim=-1) @ v
    return attended.transpose(1, 2).reshape(tokens, channels)


def _find_positions(x: Float[Tensor, "b h w c"], geometry: LayerGeometry) -> Positions:
    """Compute the positions of a stream's tokens by arithmetic alone."""
    batch, height, width, _ = x.shape
    size, shift = geometry.window_size, geometry.shift_size
    # A number that a tracer knows by name only must be a tensor where it divides.
    zero = torch.zeros((), dtype=torch.int64, device=x.device)
    image_px, rows, columns, row_px = (
        zero + sides for sides in (height * width, height, width, size * width)
    )
    index = torch.arange(batch * height * width, device=x.device)
    within = index % image_px
    first_of_image = index - within

    # Of a token, in the order image, row of windows, column of windows, row in the window, column in it.
    within_band = within % row_px
    window_row = within // row_px
    window_column = within_band // size**2
    y = window_row * size + within_band % size**2 // size + shift
    x_px = window_column * size + within_band % size + shift
    pixels = first_of_image + y % rows * width + x_px % columns

    # Of a pixel, in the order image, row, column; a side or more is added so that nothing is below zero.
    y = (within // columns + (height - shift)) % rows
    x_px = (within + (image_px - shift)) % columns
    tokens = (
        first_of_image + (y - y % size) * width + (x_px - x_px % size) * size + y % size * size + x_px % size
    )
    return Positions(pixels, tokens, _find_mask(zero, x, geometry) if shift else None)


def _find_mask(
    zero: Int[Tensor, ""], x: Float[Tensor, "b h w c"], geometry: LayerGeometry
) -> Float[Tensor, "w 1 n n"]:
    """Choose one of the four shift masks for each window of the batch."""
    batch, height, width, _ = x.shape
    size = geometry.window_size
    rows, columns = height // size, width // size
    masks = windows.shift_masks(size, geometry.shift_size, x.device).reshape(4, 1, size**2, size**2)
    index = torch.arange(batch * rows * columns, device=x.device) % (zero + rows * columns)
    in_last_row = index // (zero + columns) == rows - 1
    in_last_column = index % (zero + columns) == columns - 1
    return masks.index_select(0, in_last_row.long() * 2 + in_last_column.long())
