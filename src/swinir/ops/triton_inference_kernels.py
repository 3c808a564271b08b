"""The Triton kernel of inference: a whole transformer layer of one window, nothing in memory between.

A window's tokens are read once and written once, to the same places, so a layer may work in the memory of its
input. Channels and hidden channels are walked in chunks, so that 60 of them cost what 64 do and 180 what 192 do;
heads and windows are padded to powers of two. None of this padding is in memory but that of the weights, which
``triton_inference`` packs: norms folded in, queries in units of log2.
"""

# Triton's language is not Python to a type checker: parameters are pointers and numbers, constants are annotated.
# pyright: basic, reportMissingParameterType=false, reportUntypedFunctionDecorator=false
# pyright: reportArgumentType=false, reportOperatorIssue=false, reportAttributeAccessIssue=false
# pyright: reportCallIssue=false, reportIndexIssue=false, reportGeneralTypeIssues=false
# ruff: noqa: ANN001, ANN202, ANN201, N803

import triton
import triton.language as tl

from swinir.ops.triton_common import MASKED, NORM_EPSILON, dot, locate_window, normal_cdf

LOG2_E = tl.constexpr(1.4426950408889634)


@triton.jit
def _load(pointer, rows, columns, stride):
    return tl.load(pointer + rows[:, None] * stride + columns[None, :])


@triton.jit
def _standardise_chunks(chunks, C: tl.constexpr, CHUNK: tl.constexpr, dtype: tl.constexpr):
    """Return (x - mean) / std of rows whose channels are a tuple of chunks, zeros beyond C."""
    total = tl.sum(chunks[0], axis=1)
    for c in tl.static_range(1, len(chunks)):
        total += tl.sum(chunks[c], axis=1)
    mean = (total / C)[:, None]
    squares = tl.zeros_like(total)
    for c in tl.static_range(len(chunks)):
        is_channel = (c * CHUNK + tl.arange(0, CHUNK) < C)[None, :]
        centred = tl.where(is_channel, chunks[c] - mean, 0.0)
        squares += tl.sum(centred * centred, axis=1)
    inverse_std = tl.rsqrt(squares / C + NORM_EPSILON)[:, None]
    standardised = ()
    for c in tl.static_range(len(chunks)):
        is_channel = (c * CHUNK + tl.arange(0, CHUNK) < C)[None, :]
        normed = tl.where(is_channel, (chunks[c] - mean) * inverse_std, 0.0)
        standardised = standardised + (normed.to(dtype),)  # noqa: RUF005 - all that Triton can add to a tuple
    return standardised


@triton.jit
def _product(chunks, weight, columns, stride, CHUNK: tl.constexpr):
    """Multiply rows, a tuple of chunks of their channels, with columns of a [chunks · CHUNK, stride] matrix."""
    inner = tl.arange(0, CHUNK)
    total = dot(chunks[0], _load(weight, inner, columns, stride))
    for c in tl.static_range(1, len(chunks)):
        total += dot(chunks[c], _load(weight, c * CHUNK + inner, columns, stride))
    return total


@triton.jit
def _add_product(sums, rows, weight, inner, stride, CHUNK: tl.constexpr):
    """Add to each chunk of ``sums`` the product of ``rows`` and its columns of the matrix's rows ``inner``."""
    result = ()
    for c in tl.static_range(len(sums)):
        columns = c * CHUNK + tl.arange(0, CHUNK)
        result = result + (sums[c] + dot(rows, _load(weight, inner, columns, stride)),)  # noqa: RUF005
    return result


@triton.jit
def _add_vector(sums, vector, CHUNK: tl.constexpr):
    result = ()
    for c in tl.static_range(len(sums)):
        result = result + (sums[c] + tl.load(vector + c * CHUNK + tl.arange(0, CHUNK))[None, :],)  # noqa: RUF005
    return result


@triton.jit
def layer_forward(
    x, y, qkv_weight, qkv_bias, position_bias, proj_weight, proj_bias, fc1_weight, fc1_bias, fc2_weight, fc2_bias,
    height, width, hidden_scale,
    C: tl.constexpr, HEADS: tl.constexpr, WINDOW: tl.constexpr, SHIFT: tl.constexpr,
    BLOCK_N: tl.constexpr, BLOCK_D: tl.constexpr, CHUNK: tl.constexpr,
    CHUNKS: tl.constexpr, HIDDEN_CHUNKS: tl.constexpr,
):  # fmt: skip
    """Compute one window of y = x1 + mlp(norm(x1)), x1 = x + proj(attention(norm(x))); y may be x.

    Matrices are [in, out]: qkv_weight [HEADS, 3, padded C, BLOCK_D], proj_weight [HEADS · BLOCK_D, padded C],
    fc1_weight [padded C, padded hidden], fc2_weight [padded hidden, padded C], in the compute type; biases are
    float32, position_bias [HEADS, BLOCK_N, BLOCK_N], in units of log2, is of any type.
    """
    dtype: tl.constexpr = qkv_weight.dtype.element_ty
    padded_c: tl.constexpr = CHUNK * CHUNKS
    padded_hidden: tl.constexpr = CHUNK * HIDDEN_CHUNKS
    position, valid, region = locate_window(tl.program_id(0), height, width, WINDOW, SHIFT, BLOCK_N)
    channel = tl.arange(0, CHUNK)
    stream = ()
    for c in tl.static_range(CHUNKS):
        mask = valid[:, None] & (c * CHUNK + channel < C)[None, :]
        pixels = tl.load(x + position[:, None] * C + c * CHUNK + channel[None, :], mask=mask, other=0.0)
        stream = stream + (pixels,)  # noqa: RUF005

    normed = _standardise_chunks(stream, C, CHUNK, dtype)
    stream = _add_vector(stream, proj_bias, CHUNK)
    token = tl.arange(0, BLOCK_N)
    feature = tl.arange(0, BLOCK_D)
    seen = tl.where(region[:, None] == region[None, :], 0.0, MASKED * LOG2_E)
    seen = tl.where(valid[None, :], seen, float("-inf"))
    for head in tl.range(HEADS):
        weight = qkv_weight + head * (3 * padded_c * BLOCK_D)
        bias = qkv_bias + head * (3 * BLOCK_D) + feature
        q = _product(normed, weight, feature, BLOCK_D, CHUNK) + tl.load(bias)[None, :]
        weight += padded_c * BLOCK_D
        k = _product(normed, weight, feature, BLOCK_D, CHUNK) + tl.load(bias + BLOCK_D)[None, :]
        weight += padded_c * BLOCK_D
        v = _product(normed, weight, feature, BLOCK_D, CHUNK) + tl.load(bias + 2 * BLOCK_D)[None, :]
        scores = dot(q.to(dtype), tl.trans(k.to(dtype))) + seen
        scores += _load(position_bias + head * (BLOCK_N * BLOCK_N), token, token, BLOCK_N).to(tl.float32)
        p = tl.exp2(scores - tl.max(scores, axis=1)[:, None])
        attended = dot(p.to(dtype), v.to(dtype)) / tl.sum(p, axis=1)[:, None]
        stream = _add_product(
            stream, attended.to(dtype), proj_weight, head * BLOCK_D + feature, padded_c, CHUNK
        )

    normed = _standardise_chunks(stream, C, CHUNK, dtype)
    stream = _add_vector(stream, fc2_bias, CHUNK)
    for chunk in tl.range(HIDDEN_CHUNKS):
        columns = chunk * CHUNK + channel
        hidden = (
            _product(normed, fc1_weight, columns, padded_hidden, CHUNK) + tl.load(fc1_bias + columns)[None, :]
        )
        hidden = (hidden * normal_cdf(hidden) * hidden_scale).to(dtype)
        stream = _add_product(stream, hidden, fc2_weight, columns, padded_c, CHUNK)

    for c in tl.static_range(CHUNKS):
        mask = valid[:, None] & (c * CHUNK + channel < C)[None, :]
        tl.store(y + position[:, None] * C + c * CHUNK + channel[None, :], stream[c], mask=mask)
