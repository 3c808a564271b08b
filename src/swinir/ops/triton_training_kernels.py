"""Triton kernels of the transformer layer: three forward, three backward, nothing in memory between their steps.

Every kernel works on tokens, the rows of a contiguous [tokens, channels] view of [b, h, w, channels]. Channels,
heads and windows are padded to powers of two in registers only. A cyclic shift and a window are addresses, the
shift mask is arithmetic on token numbers. Statistics, softmax and sums are float32; products take operands of
the compute type, which ``qkv`` and the weights of linear layers are in.

Gradients of parameters are summed by each program over the tiles it walks, in a fixed order, and stored as one
row per program: the caller adds the rows, so a run is exact to the bit. Such a program reads weights once and keeps
them in registers.
"""

# Triton's language is not Python to a type checker: parameters are pointers and numbers, constants are annotated.
# pyright: basic, reportMissingParameterType=false, reportUntypedFunctionDecorator=false
# pyright: reportArgumentType=false, reportOperatorIssue=false, reportAttributeAccessIssue=false
# pyright: reportCallIssue=false, reportIndexIssue=false, reportGeneralTypeIssues=false, reportUnannotatedClassAttribute=false
# ruff: noqa: ANN001, ANN202, ANN201, N803

import triton
import triton.language as tl

from swinir.ops.triton_common import MASKED, NORM_EPSILON, dot, locate_window, normal_cdf


@triton.jit
def _rows(pointer, rows, row_is_valid, stride: tl.constexpr, start, count: tl.constexpr, block: tl.constexpr):
    """Load ``count`` of ``block`` elements from each row, zeros beyond."""
    columns = tl.arange(0, block)
    mask = row_is_valid[:, None] & (columns < count)[None, :]
    return tl.load(pointer + rows[:, None] * stride + start + columns[None, :], mask=mask, other=0.0)


@triton.jit
def _store_rows(
    pointer, rows, row_is_valid, values, stride: tl.constexpr, start, count: tl.constexpr, block: tl.constexpr
):
    columns = tl.arange(0, block)
    mask = row_is_valid[:, None] & (columns < count)[None, :]
    tl.store(
        pointer + rows[:, None] * stride + start + columns[None, :],
        values.to(pointer.dtype.element_ty),
        mask=mask,
    )


@triton.jit
def _matrix(
    pointer, rows: tl.constexpr, columns: tl.constexpr, block_rows: tl.constexpr, block_columns: tl.constexpr
):
    """Load a row-major [rows, columns] matrix, zeros beyond."""
    index = tl.arange(0, block_rows)
    return _rows(pointer, index, index < rows, columns, 0, columns, block_columns)


@triton.jit
def _store_matrix(
    pointer,
    values,
    rows: tl.constexpr,
    columns: tl.constexpr,
    block_rows: tl.constexpr,
    block_columns: tl.constexpr,
):
    index = tl.arange(0, block_rows)
    _store_rows(pointer, index, index < rows, values, columns, 0, columns, block_columns)


@triton.jit
def _vector(pointer, count: tl.constexpr, block: tl.constexpr):
    index = tl.arange(0, block)
    return tl.load(pointer + index, mask=index < count, other=0.0)


@triton.jit
def _store_vector(pointer, values, count: tl.constexpr, block: tl.constexpr):
    index = tl.arange(0, block)
    tl.store(pointer + index, values, mask=index < count)


@triton.jit
def _standardise(x, C: tl.constexpr, BLOCK_C: tl.constexpr):
    """Return (x - mean) / std of each row, zeros beyond C, and 1 / std."""
    is_channel = (tl.arange(0, BLOCK_C) < C)[None, :]
    mean = tl.sum(x, axis=1) / C
    centred = tl.where(is_channel, x - mean[:, None], 0.0)
    inverse_std = tl.rsqrt(tl.sum(centred * centred, axis=1) / C + NORM_EPSILON)
    return centred * inverse_std[:, None], inverse_std


@triton.jit
def _standardise_backward(grad, standardised, inverse_std, C: tl.constexpr):
    """Gradient of ``_standardise``'s input; ``grad`` is zero beyond C."""
    mean_grad = tl.sum(grad, axis=1) / C
    mean_product = tl.sum(grad * standardised, axis=1) / C
    return (grad - mean_grad[:, None] - standardised * mean_product[:, None]) * inverse_std[:, None]


@triton.jit
def norm_qkv_forward(
    x, norm_weight, norm_bias, qkv_weight, qkv_bias, qkv, tokens,
    C: tl.constexpr, BLOCK_C: tl.constexpr, BLOCK_M: tl.constexpr,
):  # fmt: skip
    """Compute qkv [tokens, 3C] = norm(x) · qkv_weightᵀ + qkv_bias."""
    row = tl.program_id(0) * BLOCK_M + tl.arange(0, BLOCK_M).to(tl.int64)
    valid = row < tokens
    standardised, _ = _standardise(_rows(x, row, valid, C, 0, C, BLOCK_C), C, BLOCK_C)
    normed = standardised * _vector(norm_weight, C, BLOCK_C)[None, :]
    normed = (normed + _vector(norm_bias, C, BLOCK_C)[None, :]).to(qkv.dtype.element_ty)
    for part in tl.static_range(3):
        weight = _matrix(qkv_weight + part * C * C, C, C, BLOCK_C, BLOCK_C)
        projected = dot(normed, tl.trans(weight)) + _vector(qkv_bias + part * C, C, BLOCK_C)[None, :]
        _store_rows(qkv, row, valid, projected, 3 * C, part * C, C, BLOCK_C)


@triton.jit
def norm_qkv_backward(
    x, norm_weight, norm_bias, qkv_weight, grad_qkv, grad_x1, grad_x, grad_parameters, tokens,
    C: tl.constexpr, BLOCK_C: tl.constexpr, BLOCK_M: tl.constexpr,
):  # fmt: skip
    """Add to grad_x1 what flows back through ``norm_qkv_forward``, into grad_x.

    A row of grad_parameters is (norm_weight [C], norm_bias [C], qkv_weight [3C, C], qkv_bias [3C]).
    """
    compute = grad_qkv.dtype.element_ty
    gamma = _vector(norm_weight, C, BLOCK_C)[None, :]
    beta = _vector(norm_bias, C, BLOCK_C)[None, :]
    grad_gamma = tl.zeros([BLOCK_C], tl.float32)
    grad_beta = tl.zeros([BLOCK_C], tl.float32)
    grad_wq = tl.zeros([BLOCK_C, BLOCK_C], tl.float32)
    grad_wk = tl.zeros([BLOCK_C, BLOCK_C], tl.float32)
    grad_wv = tl.zeros([BLOCK_C, BLOCK_C], tl.float32)
    grad_bq = tl.zeros([BLOCK_C], tl.float32)
    grad_bk = tl.zeros([BLOCK_C], tl.float32)
    grad_bv = tl.zeros([BLOCK_C], tl.float32)
    wq = _matrix(qkv_weight, C, C, BLOCK_C, BLOCK_C)
    wk = _matrix(qkv_weight + C * C, C, C, BLOCK_C, BLOCK_C)
    wv = _matrix(qkv_weight + 2 * C * C, C, C, BLOCK_C, BLOCK_C)
    for tile in range(tl.program_id(0), tl.cdiv(tokens, BLOCK_M), tl.num_programs(0)):
        row = tile * BLOCK_M + tl.arange(0, BLOCK_M).to(tl.int64)
        valid = row < tokens
        standardised, inverse_std = _standardise(_rows(x, row, valid, C, 0, C, BLOCK_C), C, BLOCK_C)
        normed = (standardised * gamma + beta).to(compute)

        grad_q = _rows(grad_qkv, row, valid, 3 * C, 0, C, BLOCK_C)
        grad_normed = dot(grad_q, wq)
        grad_wq += dot(tl.trans(grad_q), normed)
        grad_bq += tl.sum(grad_q.to(tl.float32), axis=0)
        grad_k = _rows(grad_qkv, row, valid, 3 * C, C, C, BLOCK_C)
        grad_normed += dot(grad_k, wk)
        grad_wk += dot(tl.trans(grad_k), normed)
        grad_bk += tl.sum(grad_k.to(tl.float32), axis=0)
        grad_v = _rows(grad_qkv, row, valid, 3 * C, 2 * C, C, BLOCK_C)
        grad_normed += dot(grad_v, wv)
        grad_wv += dot(tl.trans(grad_v), normed)
        grad_bv += tl.sum(grad_v.to(tl.float32), axis=0)

        grad_gamma += tl.sum(grad_normed * standardised, axis=0)
        grad_beta += tl.sum(grad_normed, axis=0)
        flowing = _standardise_backward(grad_normed * gamma, standardised, inverse_std, C)
        total = flowing + _rows(grad_x1, row, valid, C, 0, C, BLOCK_C)
        _store_rows(grad_x, row, valid, total, C, 0, C, BLOCK_C)

    mine = grad_parameters + tl.program_id(0) * (3 * C * C + 5 * C)
    _store_vector(mine, grad_gamma, C, BLOCK_C)
    _store_vector(mine + C, grad_beta, C, BLOCK_C)
    _store_matrix(mine + 2 * C, grad_wq, C, C, BLOCK_C, BLOCK_C)
    _store_matrix(mine + 2 * C + C * C, grad_wk, C, C, BLOCK_C, BLOCK_C)
    _store_matrix(mine + 2 * C + 2 * C * C, grad_wv, C, C, BLOCK_C, BLOCK_C)
    mine += 2 * C + 3 * C * C
    _store_vector(mine, grad_bq, C, BLOCK_C)
    _store_vector(mine + C, grad_bk, C, BLOCK_C)
    _store_vector(mine + 2 * C, grad_bv, C, BLOCK_C)


@triton.jit
def _probabilities(q, k, bias, region, valid, scale):
    """Softmax over keys of q·kᵀ·scale + bias, tokens of other regions masked; rows of padding are harmless."""
    scores = dot(q, tl.trans(k)) * scale + bias
    scores = tl.where(region[:, None] == region[None, :], scores, scores + MASKED)
    scores = tl.where(valid[None, :], scores, float("-inf"))
    exponentials = tl.exp(scores - tl.max(scores, axis=1)[:, None])
    return exponentials / tl.sum(exponentials, axis=1)[:, None]


@triton.jit
def attention_forward(
    qkv, position_bias, attended, height, width, scale,
    C: tl.constexpr, HEADS: tl.constexpr, D: tl.constexpr, WINDOW: tl.constexpr, SHIFT: tl.constexpr,
    BLOCK_N: tl.constexpr, BLOCK_D: tl.constexpr,
):  # fmt: skip
    """Attend within one window, head after head."""
    n: tl.constexpr = WINDOW * WINDOW
    position, valid, region = locate_window(tl.program_id(0), height, width, WINDOW, SHIFT, BLOCK_N)
    for head in range(HEADS):
        q = _rows(qkv, position, valid, 3 * C, head * D, D, BLOCK_D)
        k = _rows(qkv, position, valid, 3 * C, C + head * D, D, BLOCK_D)
        v = _rows(qkv, position, valid, 3 * C, 2 * C + head * D, D, BLOCK_D)
        bias = _matrix(position_bias + head * n * n, n, n, BLOCK_N, BLOCK_N)
        p = _probabilities(q, k, bias, region, valid, scale)
        _store_rows(attended, position, valid, dot(p.to(v.dtype), v), C, head * D, D, BLOCK_D)


@triton.jit
def attention_backward(
    qkv, position_bias, grad_attended, grad_qkv, grad_bias, height, width, windows, scale,
    C: tl.constexpr, HEADS: tl.constexpr, D: tl.constexpr, WINDOW: tl.constexpr, SHIFT: tl.constexpr,
    BLOCK_N: tl.constexpr, BLOCK_D: tl.constexpr,
):  # fmt: skip
    """Differentiate one head over every so-many-th window; grad_bias is [programs, HEADS, n, n] partial sums."""
    n: tl.constexpr = WINDOW * WINDOW
    head = tl.program_id(0)
    bias = _matrix(position_bias + head * n * n, n, n, BLOCK_N, BLOCK_N)
    bias_sum = tl.zeros([BLOCK_N, BLOCK_N], tl.float32)
    for window in range(tl.program_id(1), windows, tl.num_programs(1)):
        position, valid, region = locate_window(window, height, width, WINDOW, SHIFT, BLOCK_N)
        q = _rows(qkv, position, valid, 3 * C, head * D, D, BLOCK_D)
        k = _rows(qkv, position, valid, 3 * C, C + head * D, D, BLOCK_D)
        v = _rows(qkv, position, valid, 3 * C, 2 * C + head * D, D, BLOCK_D)
        grad_out = _rows(grad_attended, position, valid, C, head * D, D, BLOCK_D)
        p = _probabilities(q, k, bias, region, valid, scale)
        grad_p = dot(grad_out, tl.trans(v))
        grad_scores = p * (grad_p - tl.sum(p * grad_p, axis=1)[:, None])
        bias_sum += grad_scores
        grad_v = dot(tl.trans(p.to(v.dtype)), grad_out)
        scaled = (grad_scores * scale).to(q.dtype)
        _store_rows(grad_qkv, position, valid, dot(scaled, k), 3 * C, head * D, D, BLOCK_D)
        _store_rows(grad_qkv, position, valid, dot(tl.trans(scaled), q), 3 * C, C + head * D, D, BLOCK_D)
        _store_rows(grad_qkv, position, valid, grad_v, 3 * C, 2 * C + head * D, D, BLOCK_D)
    mine = grad_bias + (tl.program_id(1) * HEADS + head) * n * n
    _store_matrix(mine, bias_sum, n, n, BLOCK_N, BLOCK_N)


@triton.jit
def _image_rows(tile, image_tokens, BLOCK_M: tl.constexpr):
    """Return the image of a tile, its rows among all tokens, and which of them exist: no tile spans two images."""
    tiles = tl.cdiv(image_tokens, BLOCK_M)
    image = tile // tiles
    token = (tile % tiles) * BLOCK_M + tl.arange(0, BLOCK_M)
    return image, image.to(tl.int64) * image_tokens + token, token < image_tokens


@triton.jit
def _scaled(values, drop_path_scales, image, branch: tl.constexpr, DROP_PATH: tl.constexpr):
    """Multiply what ``branch`` (0 attention, 1 MLP) adds to an image, or its gradient, by the scale of both."""
    if DROP_PATH:
        values *= tl.load(drop_path_scales + 2 * image + branch)
    return values


@triton.jit
def proj_mlp_forward(
    x, attended, proj_weight, proj_bias, norm_weight, norm_bias,
    fc1_weight, fc1_bias, fc2_weight, fc2_bias, drop_path_scales, x1, y, image_tokens,
    C: tl.constexpr, HIDDEN: tl.constexpr, DROP_PATH: tl.constexpr,
    BLOCK_C: tl.constexpr, BLOCK_HIDDEN: tl.constexpr, BLOCK_M: tl.constexpr,
):  # fmt: skip
    """Compute x1 = x + s0 · proj(attended) and y = x1 + s1 · mlp(norm(x1)), with the exact GELU.

    drop_path_scales are (s0, s1) of each image of ``image_tokens`` rows; without DROP_PATH they are 1 and not read.
    """
    compute = attended.dtype.element_ty
    image, row, valid = _image_rows(tl.program_id(0), image_tokens, BLOCK_M)
    weight = _matrix(proj_weight, C, C, BLOCK_C, BLOCK_C)
    middle = dot(_rows(attended, row, valid, C, 0, C, BLOCK_C), tl.trans(weight))
    middle += _vector(proj_bias, C, BLOCK_C)[None, :]
    middle = _scaled(middle, drop_path_scales, image, 0, DROP_PATH)
    middle += _rows(x, row, valid, C, 0, C, BLOCK_C)
    _store_rows(x1, row, valid, middle, C, 0, C, BLOCK_C)

    standardised, _ = _standardise(middle, C, BLOCK_C)
    normed = (
        standardised * _vector(norm_weight, C, BLOCK_C)[None, :] + _vector(norm_bias, C, BLOCK_C)[None, :]
    )
    weight = _matrix(fc1_weight, HIDDEN, C, BLOCK_HIDDEN, BLOCK_C)
    hidden = dot(normed.to(compute), tl.trans(weight)) + _vector(fc1_bias, HIDDEN, BLOCK_HIDDEN)[None, :]
    hidden = (hidden * normal_cdf(hidden)).to(compute)
    weight = _matrix(fc2_weight, C, HIDDEN, BLOCK_C, BLOCK_HIDDEN)
    added = dot(hidden, tl.trans(weight)) + _vector(fc2_bias, C, BLOCK_C)[None, :]
    added = _scaled(added, drop_path_scales, image, 1, DROP_PATH)
    _store_rows(y, row, valid, middle + added, C, 0, C, BLOCK_C)


@triton.jit
def proj_mlp_backward(
    attended, x1, grad_y, proj_weight, norm_weight, norm_bias, fc1_weight, fc1_bias, fc2_weight,
    drop_path_scales, grad_attended, grad_x1, grad_parameters, images, image_tokens,
    C: tl.constexpr, HIDDEN: tl.constexpr, DROP_PATH: tl.constexpr,
    BLOCK_C: tl.constexpr, BLOCK_HIDDEN: tl.constexpr, BLOCK_M: tl.constexpr,
):  # fmt: skip
    """Differentiate ``proj_mlp_forward`` with respect to attended and x1 (which is also x's residual gradient).

    A row of grad_parameters is (proj_weight [C, C], proj_bias [C], norm_weight [C], norm_bias [C],
    fc1_weight [HIDDEN, C], fc1_bias [HIDDEN], fc2_weight [C, HIDDEN], fc2_bias [C]).
    """
    compute = attended.dtype.element_ty
    gamma = _vector(norm_weight, C, BLOCK_C)[None, :]
    beta = _vector(norm_bias, C, BLOCK_C)[None, :]
    grad_wp = tl.zeros([BLOCK_C, BLOCK_C], tl.float32)
    grad_bp = tl.zeros([BLOCK_C], tl.float32)
    grad_gamma = tl.zeros([BLOCK_C], tl.float32)
    grad_beta = tl.zeros([BLOCK_C], tl.float32)
    grad_w1 = tl.zeros([BLOCK_HIDDEN, BLOCK_C], tl.float32)
    grad_b1 = tl.zeros([BLOCK_HIDDEN], tl.float32)
    grad_w2 = tl.zeros([BLOCK_C, BLOCK_HIDDEN], tl.float32)
    grad_b2 = tl.zeros([BLOCK_C], tl.float32)
    w1 = _matrix(fc1_weight, HIDDEN, C, BLOCK_HIDDEN, BLOCK_C)
    w2 = _matrix(fc2_weight, C, HIDDEN, BLOCK_C, BLOCK_HIDDEN)
    wp = _matrix(proj_weight, C, C, BLOCK_C, BLOCK_C)
    tiles = images * tl.cdiv(image_tokens, BLOCK_M)
    for tile in range(tl.program_id(0), tiles, tl.num_programs(0)):
        image, row, valid = _image_rows(tile, image_tokens, BLOCK_M)
        standardised, inverse_std = _standardise(_rows(x1, row, valid, C, 0, C, BLOCK_C), C, BLOCK_C)
        normed = (standardised * gamma + beta).to(compute)
        hidden = dot(normed, tl.trans(w1)) + _vector(fc1_bias, HIDDEN, BLOCK_HIDDEN)[None, :]
        cdf = normal_cdf(hidden)
        derivative = cdf + hidden * 0.3989422804014327 * tl.exp(-0.5 * hidden * hidden)

        grad_out = _rows(grad_y, row, valid, C, 0, C, BLOCK_C)
        grad_added = _scaled(grad_out, drop_path_scales, image, 1, DROP_PATH)
        grad_b2 += tl.sum(grad_added, axis=0)
        grad_low = grad_added.to(compute)
        grad_w2 += dot(tl.trans(grad_low), (hidden * cdf).to(compute))
        grad_hidden = dot(grad_low, w2) * derivative
        grad_b1 += tl.sum(grad_hidden, axis=0)
        grad_hidden_low = grad_hidden.to(compute)
        grad_w1 += dot(tl.trans(grad_hidden_low), normed)
        grad_normed = dot(grad_hidden_low, w1)
        grad_gamma += tl.sum(grad_normed * standardised, axis=0)
        grad_beta += tl.sum(grad_normed, axis=0)
        middle = grad_out + _standardise_backward(grad_normed * gamma, standardised, inverse_std, C)
        _store_rows(grad_x1, row, valid, middle, C, 0, C, BLOCK_C)

        middle = _scaled(middle, drop_path_scales, image, 0, DROP_PATH)
        grad_bp += tl.sum(middle, axis=0)
        middle_low = middle.to(compute)
        grad_wp += dot(tl.trans(middle_low), _rows(attended, row, valid, C, 0, C, BLOCK_C))
        back = dot(middle_low, wp)
        _store_rows(grad_attended, row, valid, back, C, 0, C, BLOCK_C)

    mine = grad_parameters + tl.program_id(0) * (C * C + 2 * HIDDEN * C + 4 * C + HIDDEN)
    _store_matrix(mine, grad_wp, C, C, BLOCK_C, BLOCK_C)
    mine += C * C
    _store_vector(mine, grad_bp, C, BLOCK_C)
    _store_vector(mine + C, grad_gamma, C, BLOCK_C)
    _store_vector(mine + 2 * C, grad_beta, C, BLOCK_C)
    mine += 3 * C
    _store_matrix(mine, grad_w1, HIDDEN, C, BLOCK_HIDDEN, BLOCK_C)
    _store_vector(mine + HIDDEN * C, grad_b1, HIDDEN, BLOCK_HIDDEN)
    mine += HIDDEN * C + HIDDEN
    _store_matrix(mine, grad_w2, C, HIDDEN, BLOCK_C, BLOCK_HIDDEN)
    _store_vector(mine + HIDDEN * C, grad_b2, C, BLOCK_C)
