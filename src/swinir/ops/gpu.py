"""The transformer layer by fused Triton kernels, forward and backward; ``gpu_kernels`` holds the kernels.

Narrow layers (padded channels that fit one tile, SwinIR-S) are fused whole: norm + QKV, attention, projection +
MLP. Wide ones take PyTorch's matrix products around the fused attention.
"""

# Triton takes launch options (num_warps) that no kernel declares.
# pyright: reportCallIssue=false

from functools import partial
from typing import Any

import torch
import triton
from jaxtyping import Float
from torch import Tensor

from swinir.ops import gpu_kernels as kernels
from swinir.ops import reference
from swinir.ops.layer import LayerGeometry, LayerParameters

# A whole layer's weight gradients stay in one program's registers up to this many padded channels.
WIDEST_FUSED = 64
# Smallest side of a matrix product in Triton.
SMALLEST_BLOCK = 16
# Programs that share the summation of parameter gradients when there is no GPU to ask (Triton's interpreter).
INTERPRETED_PROGRAMS = 2


def transformer_layer(
    x: Float[Tensor, "b h w c"], parameters: LayerParameters, geometry: LayerGeometry
) -> Float[Tensor, "b h w c"]:
    """Apply one Swin transformer layer; products run in autocast's precision, or float32 without autocast."""
    channels = x.shape[-1]
    hidden = parameters.fc1_weight.shape[0]
    if _block(channels) > WIDEST_FUSED or _block(hidden) > 2 * WIDEST_FUSED:
        return reference.transformer_layer(x, parameters, geometry, window_attention)
    return _FusedLayer.apply(x.contiguous(), geometry, _compute_dtype(x.device), *parameters)


def window_attention(
    qkv: Float[Tensor, "b h w 3c"], position_bias: Float[Tensor, "heads n n"], geometry: LayerGeometry
) -> Float[Tensor, "b h w c"]:
    """Attend within shifted windows that are only addresses: nothing is rolled, partitioned or masked in memory."""
    return _Attention.apply(qkv.contiguous(), position_bias.contiguous(), geometry)


def _compute_dtype(device: torch.device) -> torch.dtype:
    if torch.is_autocast_enabled(device.type):
        return torch.get_autocast_dtype(device.type)
    return torch.float32


def _block(size: int) -> int:
    return max(triton.next_power_of_2(size), SMALLEST_BLOCK)


def _num_programs(device: torch.device) -> int:
    if device.type != "cuda":
        return INTERPRETED_PROGRAMS
    return torch.cuda.get_device_properties(device).multi_processor_count


def _attention_constants(channels: int, geometry: LayerGeometry) -> dict[str, Any]:
    head_dim = channels // geometry.num_heads
    return {
        "scale": head_dim**-0.5,
        "C": channels,
        "HEADS": geometry.num_heads,
        "D": head_dim,
        "WINDOW": geometry.window_size,
        "SHIFT": geometry.shift_size,
        "BLOCK_N": _block(geometry.window_size**2),
        "BLOCK_D": _block(head_dim),
        "num_warps": 4,
    }


def _attend(qkv: Tensor, position_bias: Tensor, geometry: LayerGeometry) -> Tensor:
    batch, height, width, channels3 = qkv.shape
    attended = qkv.new_empty(batch, height, width, channels3 // 3)
    windows = batch * (height // geometry.window_size) * (width // geometry.window_size)
    kernels.attention_forward[(windows,)](
        qkv, position_bias, attended, height, width, **_attention_constants(channels3 // 3, geometry)
    )
    return attended


def _attend_backward(
    qkv: Tensor, position_bias: Tensor, grad_attended: Tensor, geometry: LayerGeometry
) -> tuple[Tensor, Tensor]:
    """Return the gradients of qkv and of the position bias."""
    batch, height, width, channels3 = qkv.shape
    windows = batch * (height // geometry.window_size) * (width // geometry.window_size)
    programs = min(windows, _num_programs(qkv.device))
    grad_qkv = torch.empty_like(qkv)
    grad_bias = position_bias.new_empty(programs, *position_bias.shape)
    kernels.attention_backward[(geometry.num_heads, programs)](
        qkv,
        position_bias,
        grad_attended,
        grad_qkv,
        grad_bias,
        height,
        width,
        windows,
        **_attention_constants(channels3 // 3, geometry),
    )
    return grad_qkv, grad_bias.sum(0)


class _Attention(torch.autograd.Function):
    """Window attention alone."""

    @staticmethod
    def forward(ctx: Any, qkv: Tensor, position_bias: Tensor, geometry: LayerGeometry) -> Tensor:
        ctx.save_for_backward(qkv, position_bias)
        ctx.geometry = geometry
        return _attend(qkv, position_bias, geometry)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        qkv, position_bias = ctx.saved_tensors
        return *_attend_backward(qkv, position_bias, grads[0].contiguous(), ctx.geometry), None


class _FusedLayer(torch.autograd.Function):
    """A whole narrow layer; what the backward pass needs again is x, qkv, attended and x1."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, geometry: LayerGeometry, compute: torch.dtype, *parameters: Tensor
    ) -> Tensor:
        p = LayerParameters(*parameters)
        p = p._replace(position_bias=p.position_bias.contiguous())
        channels, tokens = x.shape[-1], x.numel() // x.shape[-1]
        block_c = _block(channels)
        qkv = torch.empty(*x.shape[:-1], 3 * channels, dtype=compute, device=x.device)
        rows = partial(triton.cdiv, tokens)
        kernels.norm_qkv_forward[(rows(128),)](
            x, p.norm1_weight, p.norm1_bias, p.qkv_weight, p.qkv_bias, qkv, tokens,
            C=channels, BLOCK_C=block_c, BLOCK_M=128, num_warps=4,
        )  # fmt: skip
        attended = _attend(qkv, p.position_bias, geometry)
        x1, y = torch.empty_like(x), torch.empty_like(x)
        hidden = p.fc1_weight.shape[0]
        kernels.proj_mlp_forward[(rows(128),)](
            x, attended, p.proj_weight, p.proj_bias, p.norm2_weight, p.norm2_bias,
            p.fc1_weight, p.fc1_bias, p.fc2_weight, p.fc2_bias, x1, y, tokens,
            C=channels, HIDDEN=hidden, BLOCK_C=block_c, BLOCK_HIDDEN=_block(hidden), BLOCK_M=128, num_warps=8,
        )  # fmt: skip
        ctx.save_for_backward(x, qkv, attended, x1, *p)
        ctx.geometry = geometry
        return y

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        x, qkv, attended, x1, *parameters = ctx.saved_tensors
        p = LayerParameters(*parameters)
        channels, tokens = x.shape[-1], x.numel() // x.shape[-1]
        hidden = p.fc1_weight.shape[0]
        block_c, block_hidden = _block(channels), _block(hidden)
        programs = _num_programs(x.device)

        grad_attended, grad_x1 = torch.empty_like(attended), torch.empty_like(x)
        shapes = {
            name: getattr(p, name).shape
            for name in (
                "proj_weight", "proj_bias", "norm2_weight", "norm2_bias",
                "fc1_weight", "fc1_bias", "fc2_weight", "fc2_bias",
            )
        }  # fmt: skip
        partial_sums = x.new_empty(programs, sum(shape.numel() for shape in shapes.values()))
        kernels.proj_mlp_backward[(programs,)](
            attended, x1, grads[0].contiguous(), p.proj_weight, p.norm2_weight, p.norm2_bias,
            p.fc1_weight, p.fc1_bias, p.fc2_weight, grad_attended, grad_x1, partial_sums, tokens,
            C=channels, HIDDEN=hidden, BLOCK_C=block_c, BLOCK_HIDDEN=block_hidden, BLOCK_M=64, num_warps=8,
        )  # fmt: skip
        gradients = _split(partial_sums, shapes)
        grad_qkv, grad_bias = _attend_backward(qkv, p.position_bias, grad_attended, ctx.geometry)

        grad_x = torch.empty_like(x)
        shapes = {
            name: getattr(p, name).shape for name in ("norm1_weight", "norm1_bias", "qkv_weight", "qkv_bias")
        }
        partial_sums = x.new_empty(programs, sum(shape.numel() for shape in shapes.values()))
        kernels.norm_qkv_backward[(programs,)](
            x, p.norm1_weight, p.norm1_bias, p.qkv_weight, grad_qkv, grad_x1, grad_x, partial_sums, tokens,
            C=channels, BLOCK_C=block_c, BLOCK_M=64, num_warps=8,
        )  # fmt: skip
        gradients |= _split(partial_sums, shapes)
        return grad_x, None, None, *LayerParameters(position_bias=grad_bias, **gradients)


def _split(partial_sums: Tensor, shapes: dict[str, torch.Size]) -> dict[str, Tensor]:
    """Add the programs' rows and cut the sum into parameters."""
    pieces = partial_sums.sum(0).split([shape.numel() for shape in shapes.values()])
    return {name: piece.view(shape) for (name, shape), piece in zip(shapes.items(), pieces, strict=True)}
