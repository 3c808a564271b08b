"""The transformer layer by fused Triton kernels with gradients; ``triton_training_kernels`` holds the kernels.

Narrow layers (padded channels that fit one tile, SwinIR-S) are fused whole: norm + QKV, attention, projection +
MLP. Wide ones take PyTorch's matrix products around the fused attention. Both are operators of PyTorch, so that
``torch.compile`` and CUDA graphs take them as they are.
"""

# Triton takes launch options (num_warps) that no kernel declares.
# pyright: reportCallIssue=false

from itertools import accumulate
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from swinir.ops import reference
from swinir.ops import triton_training_kernels as kernels
from swinir.ops.interface import LayerGeometry, LayerParameters
from swinir.ops.triton_common import block_size

# A whole layer's weight gradients stay in one program's registers up to this many padded channels.
WIDEST_FUSED = 64
# Programs that share the summation of parameter gradients when there is no GPU to ask (Triton's interpreter).
INTERPRETED_PROGRAMS = 2
# Rows of a tile and warps of a program. What sums weight gradients has little room beside them: with 64 rows its
# eight warps compute everything twice. In fp32 there are no tensor cores, and a thread holds whole rows of both
# factors. Registers and shared memory of each on sm_90: docs/gpu.md.
TILES_OF_16_BITS = {
    "norm_qkv_forward": (128, 4),
    "norm_qkv_backward": (32, 8),
    "proj_mlp_forward": (128, 8),
    "proj_mlp_backward": (32, 8),
}
TILES_OF_32_BITS = dict.fromkeys(TILES_OF_16_BITS, (16, 8))
LAUNCH_OPTIONS = {
    # Triton's own choice, three, keeps that many copies of every operand: more shared memory than there is.
    "num_stages": 1,
    # a · b + c in one instruction. Triton warns where nobody says so, because it is about to change its mind.
    "enable_fp_fusion": True,
}
# What kernels multiply with: read in the compute type.
MULTIPLIED = ("qkv_weight", "proj_weight", "fc1_weight", "fc2_weight")
# What each backward kernel stores of the parameters' gradients, in this order.
SUMMED_BY_PROJ_MLP = (
    "proj_weight",
    "proj_bias",
    "norm2_weight",
    "norm2_bias",
    "fc1_weight",
    "fc1_bias",
    "fc2_weight",
    "fc2_bias",
)
SUMMED_BY_NORM_QKV = ("norm1_weight", "norm1_bias", "qkv_weight", "qkv_bias")


def transformer_layer(
    x: Float[Tensor, "b h w c"],
    parameters: LayerParameters,
    geometry: LayerGeometry,
    drop_path_scales: Float[Tensor, "b 2"] | None = None,
) -> Float[Tensor, "b h w c"]:
    """Apply one Swin transformer layer; products run in autocast's precision, or float32 without autocast."""
    channels, hidden_channels = x.shape[-1], parameters.fc1_weight.shape[0]
    if block_size(channels) > WIDEST_FUSED or block_size(hidden_channels) > 2 * WIDEST_FUSED:
        return reference.transformer_layer(
            x, parameters, geometry, drop_path_scales, attention=window_attention
        )
    contiguous = [parameter.contiguous() for parameter in parameters]
    scales = None if drop_path_scales is None else drop_path_scales.contiguous()
    return _fused_layer(x.contiguous(), contiguous, scales, _numbers(geometry), _compute_dtype(x.device))[0]


def window_attention(
    qkv: Float[Tensor, "b h w c3"], position_bias: Float[Tensor, "heads n n"], geometry: LayerGeometry
) -> Float[Tensor, "b h w c"]:
    """Attend within shifted windows that are only addresses: nothing is rolled, partitioned or masked in memory."""
    return _window_attention(qkv.contiguous(), position_bias.contiguous(), _numbers(geometry))


def attention_constants(channels: int, geometry: LayerGeometry, compute: torch.dtype) -> dict[str, Any]:
    """Give the constants and threads that both attention kernels are compiled with."""
    return {
        "C": channels,
        "HEADS": geometry.num_heads,
        "D": channels // geometry.num_heads,
        "WINDOW": geometry.window_size,
        "SHIFT": geometry.shift_size,
        "BLOCK_N": block_size(geometry.window_size**2),
        "BLOCK_D": block_size(channels // geometry.num_heads),
        "num_warps": 8 if compute is torch.float32 else 4,
        **LAUNCH_OPTIONS,
    }


def row_constants(
    kernel: str, channels: int, hidden_channels: int, compute: torch.dtype, *, drop_path: bool = False
) -> dict[str, Any]:
    """Give the constants and threads that a kernel which walks rows is compiled with."""
    rows, warps = (TILES_OF_32_BITS if compute is torch.float32 else TILES_OF_16_BITS)[kernel]
    constants = {"C": channels, "BLOCK_C": block_size(channels), "BLOCK_M": rows}
    if kernel.startswith("proj_mlp"):
        constants |= {
            "HIDDEN": hidden_channels,
            "BLOCK_HIDDEN": block_size(hidden_channels),
            "DROP_PATH": drop_path,
        }
    return {**constants, "num_warps": warps, **LAUNCH_OPTIONS}


def _numbers(geometry: LayerGeometry) -> list[int]:
    return [geometry.num_heads, geometry.window_size, geometry.shift_size]


def _geometry(numbers: list[int]) -> LayerGeometry:
    num_heads, window_size, shift_size = numbers
    return LayerGeometry(num_heads=num_heads, window_size=window_size, shift_size=shift_size)


def _compute_dtype(device: torch.device) -> torch.dtype:
    if torch.is_autocast_enabled(device.type):
        return torch.get_autocast_dtype(device.type)
    return torch.float32


def _num_programs(device: torch.device) -> int:
    if device.type != "cuda":
        return INTERPRETED_PROGRAMS
    return torch.cuda.get_device_properties(device).multi_processor_count


def _num_windows(qkv: Float[Tensor, "b h w c3"], geometry: LayerGeometry) -> int:
    batch, height, width, _ = qkv.shape
    return batch * (height // geometry.window_size) * (width // geometry.window_size)


def _attend(qkv: Tensor, position_bias: Tensor, geometry: LayerGeometry) -> Tensor:
    _, height, width, channels3 = qkv.shape
    channels = channels3 // 3
    attended = qkv.new_empty(*qkv.shape[:-1], channels)
    kernels.attention_forward[(_num_windows(qkv, geometry),)](
        qkv, position_bias, attended, height, width, (channels // geometry.num_heads) ** -0.5,
        **attention_constants(channels, geometry, qkv.dtype),
    )  # fmt: skip
    return attended


def _attend_backward(
    qkv: Tensor, position_bias: Tensor, grad_attended: Tensor, geometry: LayerGeometry
) -> tuple[Tensor, Tensor]:
    """Return the gradients of qkv and of the position bias."""
    _, height, width, channels3 = qkv.shape
    channels, windows = channels3 // 3, _num_windows(qkv, geometry)
    programs = min(windows, _num_programs(qkv.device))
    grad_qkv = torch.empty_like(qkv)
    grad_bias = position_bias.new_empty(programs, *position_bias.shape)
    kernels.attention_backward[(geometry.num_heads, programs)](
        qkv, position_bias, grad_attended, grad_qkv, grad_bias, height, width, windows,
        (channels // geometry.num_heads) ** -0.5, **attention_constants(channels, geometry, qkv.dtype),
    )  # fmt: skip
    return grad_qkv, grad_bias.sum(0)


# Operators: PyTorch reads their schemas from annotations, which therefore say Tensor and no shapes; ``numbers`` are
# a geometry's.


@torch.library.custom_op("swinir::window_attention", mutates_args=())
def _window_attention(qkv: Tensor, position_bias: Tensor, numbers: list[int]) -> Tensor:
    with torch.cuda.device_of(qkv):
        return _attend(qkv, position_bias, _geometry(numbers))


@torch.library.custom_op("swinir::window_attention_backward", mutates_args=())
def _window_attention_backward(
    grad_attended: Tensor, qkv: Tensor, position_bias: Tensor, numbers: list[int]
) -> tuple[Tensor, Tensor]:
    with torch.cuda.device_of(qkv):
        return _attend_backward(qkv, position_bias, grad_attended, _geometry(numbers))


@torch.library.custom_op("swinir::fused_layer", mutates_args=())
def _fused_layer(
    x: Tensor,
    parameters: list[Tensor],
    drop_path_scales: Tensor | None,
    numbers: list[int],
    compute: torch.dtype,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return y, and what the backward pass needs again: qkv, attended and x1."""
    p = _to_multiply(LayerParameters(*parameters), compute)
    channels, tokens, hidden_channels = x.shape[-1], x.numel() // x.shape[-1], p.fc1_weight.shape[0]
    with torch.cuda.device_of(x):
        qkv = torch.empty(*x.shape[:-1], 3 * channels, dtype=compute, device=x.device)
        constants = row_constants("norm_qkv_forward", channels, hidden_channels, compute)
        kernels.norm_qkv_forward[(-(-tokens // constants["BLOCK_M"]),)](
            x, p.norm1_weight, p.norm1_bias, p.qkv_weight, p.qkv_bias, qkv, tokens, **constants
        )
        attended = _attend(qkv, p.position_bias, _geometry(numbers))
        x1, y = torch.empty_like(x), torch.empty_like(x)
        image_tokens = tokens // x.shape[0]
        constants = row_constants(
            "proj_mlp_forward", channels, hidden_channels, compute, drop_path=drop_path_scales is not None
        )
        kernels.proj_mlp_forward[(x.shape[0] * -(-image_tokens // constants["BLOCK_M"]),)](
            x, attended, p.proj_weight, p.proj_bias, p.norm2_weight, p.norm2_bias,
            p.fc1_weight, p.fc1_bias, p.fc2_weight, p.fc2_bias,
            x if drop_path_scales is None else drop_path_scales, x1, y, image_tokens, **constants,
        )  # fmt: skip
    return y, qkv, attended, x1


@torch.library.custom_op("swinir::fused_layer_backward", mutates_args=())
def _fused_layer_backward(
    grad_y: Tensor,
    kept: list[Tensor],
    parameters: list[Tensor],
    drop_path_scales: Tensor | None,
    numbers: list[int],
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return the gradients of x and of the position bias, and those that each row kernel summed, in a row."""
    x, qkv, attended, x1 = kept
    p = _to_multiply(LayerParameters(*parameters), qkv.dtype)
    channels, tokens, hidden_channels = x.shape[-1], x.numel() // x.shape[-1], p.fc1_weight.shape[0]
    programs = _num_programs(x.device)
    with torch.cuda.device_of(x):
        grad_attended, grad_x1 = torch.empty_like(attended), torch.empty_like(x)
        of_proj_mlp = x.new_empty(programs, _num_summed(p, SUMMED_BY_PROJ_MLP))
        kernels.proj_mlp_backward[(programs,)](
            attended, x1, grad_y, p.proj_weight, p.norm2_weight, p.norm2_bias,
            p.fc1_weight, p.fc1_bias, p.fc2_weight, x if drop_path_scales is None else drop_path_scales,
            grad_attended, grad_x1, of_proj_mlp, x.shape[0], tokens // x.shape[0],
            **row_constants(
                "proj_mlp_backward", channels, hidden_channels, qkv.dtype, drop_path=drop_path_scales is not None
            ),
        )  # fmt: skip
        grad_qkv, grad_bias = _attend_backward(qkv, p.position_bias, grad_attended, _geometry(numbers))
        grad_x = torch.empty_like(x)
        of_norm_qkv = x.new_empty(programs, _num_summed(p, SUMMED_BY_NORM_QKV))
        kernels.norm_qkv_backward[(programs,)](
            x, p.norm1_weight, p.norm1_bias, p.qkv_weight, grad_qkv, grad_x1, grad_x, of_norm_qkv, tokens,
            **row_constants("norm_qkv_backward", channels, hidden_channels, qkv.dtype),
        )  # fmt: skip
        return grad_x, grad_bias, of_proj_mlp.sum(0), of_norm_qkv.sum(0)


# What each returns, without computing it, for torch.compile.


@_window_attention.register_fake
def _(qkv: Tensor, position_bias: Tensor, numbers: list[int]) -> Tensor:
    return qkv.new_empty(*qkv.shape[:-1], qkv.shape[-1] // 3)


@_window_attention_backward.register_fake
def _(grad_attended: Tensor, qkv: Tensor, position_bias: Tensor, numbers: list[int]) -> tuple[Tensor, Tensor]:
    return torch.empty_like(qkv), torch.empty_like(position_bias)


@_fused_layer.register_fake
def _(
    x: Tensor,
    parameters: list[Tensor],
    drop_path_scales: Tensor | None,
    numbers: list[int],
    compute: torch.dtype,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    qkv = x.new_empty(*x.shape[:-1], 3 * x.shape[-1], dtype=compute)
    return torch.empty_like(x), qkv, torch.empty_like(x, dtype=compute), torch.empty_like(x)


@_fused_layer_backward.register_fake
def _(
    grad_y: Tensor,
    kept: list[Tensor],
    parameters: list[Tensor],
    drop_path_scales: Tensor | None,
    numbers: list[int],
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    x, p = kept[0], LayerParameters(*parameters)
    of_proj_mlp = x.new_empty(_num_summed(p, SUMMED_BY_PROJ_MLP))
    of_norm_qkv = x.new_empty(_num_summed(p, SUMMED_BY_NORM_QKV))
    return torch.empty_like(x), torch.empty_like(p.position_bias), of_proj_mlp, of_norm_qkv


def _keep_attention(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    qkv, position_bias, ctx.numbers = inputs
    ctx.save_for_backward(qkv, position_bias)


def _differentiate_attention(ctx: Any, grad_attended: Tensor) -> tuple[Tensor | None, ...]:
    qkv, position_bias = ctx.saved_tensors
    return *_window_attention_backward(grad_attended.contiguous(), qkv, position_bias, ctx.numbers), None


def _keep_layer(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
    x, parameters, drop_path_scales, ctx.numbers, _ = inputs
    ctx.save_for_backward(x, *output[1:], drop_path_scales, *parameters)
    # Nobody differentiates by what was kept, and no gradient of zeros shall be made for it.
    ctx.set_materialize_grads(False)


def _differentiate_layer(ctx: Any, *grads: Tensor) -> tuple[Tensor | list[Tensor] | None, ...]:
    kept, drop_path_scales, parameters = (
        list(ctx.saved_tensors[:4]),
        ctx.saved_tensors[4],
        list(ctx.saved_tensors[5:]),
    )
    grad_x, grad_bias, of_proj_mlp, of_norm_qkv = _fused_layer_backward(
        grads[0].contiguous(), kept, parameters, drop_path_scales, ctx.numbers
    )
    p = LayerParameters(*parameters)
    gradients = _split(p, SUMMED_BY_PROJ_MLP, of_proj_mlp) | _split(p, SUMMED_BY_NORM_QKV, of_norm_qkv)
    return grad_x, list(LayerParameters(position_bias=grad_bias, **gradients)), None, None, None


_window_attention.register_autograd(_differentiate_attention, setup_context=_keep_attention)
_fused_layer.register_autograd(_differentiate_layer, setup_context=_keep_layer)


def _to_multiply(parameters: LayerParameters, compute: torch.dtype) -> LayerParameters:
    """Convert what kernels multiply with, all of it at once."""
    flat = torch.cat([getattr(parameters, name).flatten() for name in MULTIPLIED]).to(compute)
    return parameters._replace(**_split(parameters, MULTIPLIED, flat))


def _num_summed(parameters: LayerParameters, names: tuple[str, ...]) -> int:
    return sum(getattr(parameters, name).numel() for name in names)


def _split(
    parameters: LayerParameters, names: tuple[str, ...], row: Float[Tensor, " n"]
) -> dict[str, Tensor]:
    """Cut a row of numbers into the parameters that it holds."""
    shapes = [getattr(parameters, name).shape for name in names]
    ends = list(accumulate(shape.numel() for shape in shapes))
    return {
        name: row[end - shape.numel() : end].view(shape)
        for name, shape, end in zip(names, shapes, ends, strict=True)
    }
