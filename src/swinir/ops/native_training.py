"""The transformer layer with gradients on a CPU, by the native kernels: an operator of PyTorch.

The forward pass keeps its input and its parameters, nothing between; the backward pass computes the rest again,
window by window, while it lies in the core's cache. Parameters change with every step, so each pass packs them.
"""

import ctypes
from dataclasses import dataclass
from functools import lru_cache
from itertools import accumulate
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from swinir.errors import UsageError
from swinir.ops import native
from swinir.ops.interface import LayerGeometry, LayerParameters

_BYTES_OF_FLOAT = 4


@dataclass(frozen=True)
class NativeLayer:
    """The transformer layer of one instruction set, its parameters given with every call."""

    isa: native.Isa

    def __call__(
        self,
        x: Float[Tensor, "b h w c"],
        parameters: LayerParameters,
        geometry: LayerGeometry,
        drop_path_scales: Float[Tensor, "b 2"] | None = None,
    ) -> Float[Tensor, "b h w c"]:
        """Apply one Swin transformer layer to a float32 stream; autocast does not change the products.

        Raises:
            UsageError: ``x`` is no float32 stream of whole windows on the CPU, parameters or scales are not as many
                as the layer and the batch take, or the layer is beyond the kernel.
            MemoryError: there is none for what each thread computes with.
        """
        native.check_stream(x, parameters.proj_bias.shape[0])
        native.check_windows(x, geometry.window_size)
        hidden_channels = parameters.fc1_bias.shape[0]
        numbers = [
            self.isa.number,
            hidden_channels,
            geometry.num_heads,
            geometry.window_size,
            geometry.shift_size,
        ]
        # One tensor instead of thirteen: an operator's way through PyTorch costs by the tensor.
        flat = torch.cat([parameter.float().flatten() for parameter in parameters])
        if drop_path_scales is not None and drop_path_scales.shape != (x.shape[0], 2):
            raise UsageError(
                f"drop_path_scales is {tuple(drop_path_scales.shape)}, but must be [{x.shape[0]}, 2]"
            )
        scales = None if drop_path_scales is None else drop_path_scales.float().contiguous()
        return _layer(x, flat, scales, numbers)


# PyTorch reads the operators' schemas from annotations, which therefore say Tensor and no shapes. ``parameters`` are
# those of LayerParameters one behind the other; ``numbers`` are the instruction set's, the hidden channels, and the
# geometry's (heads, window, shift).


@torch.library.custom_op("swinir::native_layer", mutates_args=())
def _layer(x: Tensor, parameters: Tensor, drop_path_scales: Tensor | None, numbers: list[int]) -> Tensor:
    batch, height, width, channels = x.shape
    isa, *sizes = numbers
    layer = _describe(channels, *sizes)
    x = x.contiguous()
    y = torch.empty_like(x)
    status = native.require_library().layer_forward(
        isa,
        ctypes.byref(layer.geometry),
        ctypes.byref(layer.parameters_in(parameters)),
        x.data_ptr(),
        _address_of(drop_path_scales),
        y.data_ptr(),
        batch,
        height,
        width,
        torch.get_num_threads(),
    )
    native.check_status(status)
    return y


@torch.library.custom_op("swinir::native_layer_backward", mutates_args=())
def _layer_backward(
    grad_y: Tensor, x: Tensor, parameters: Tensor, drop_path_scales: Tensor | None, numbers: list[int]
) -> tuple[Tensor, Tensor]:
    """Return the gradient of x, and those of all parameters one behind the other."""
    batch, height, width, channels = x.shape
    isa, *sizes = numbers
    layer = _describe(channels, *sizes)
    x, grad_y = x.contiguous(), grad_y.contiguous()
    grad_x, gradients = torch.empty_like(x), torch.empty_like(parameters)
    status = native.require_library().layer_backward(
        isa,
        ctypes.byref(layer.geometry),
        ctypes.byref(layer.parameters_in(parameters)),
        x.data_ptr(),
        grad_y.data_ptr(),
        _address_of(drop_path_scales),
        grad_x.data_ptr(),
        ctypes.byref(layer.parameters_in(gradients)),
        batch,
        height,
        width,
        torch.get_num_threads(),
    )
    native.check_status(status)
    return grad_x, gradients


@_layer.register_fake
def _(x: Tensor, parameters: Tensor, drop_path_scales: Tensor | None, numbers: list[int]) -> Tensor:
    return torch.empty_like(x, memory_format=torch.contiguous_format)


@_layer_backward.register_fake
def _(
    grad_y: Tensor, x: Tensor, parameters: Tensor, drop_path_scales: Tensor | None, numbers: list[int]
) -> tuple[Tensor, Tensor]:
    grad_x = torch.empty_like(x, memory_format=torch.contiguous_format)
    return grad_x, torch.empty_like(parameters)


def _keep(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    x, parameters, drop_path_scales, ctx.numbers = inputs
    ctx.save_for_backward(x, parameters, drop_path_scales)


def _differentiate(ctx: Any, grad_y: Tensor) -> tuple[Tensor | None, ...]:
    grad_x, gradients = _layer_backward(grad_y, *ctx.saved_tensors, ctx.numbers)
    return grad_x, gradients, None, None


_layer.register_autograd(_differentiate, setup_context=_keep)


@dataclass(frozen=True)
class _Description:
    """A layer as the library is told of it, and where each of its parameters begins."""

    geometry: ctypes.Structure
    starts: tuple[int, ...]
    size: int

    def parameters_in(self, flat: Tensor) -> ctypes.Structure:
        """Point to parameters, or their gradients, that lie one behind the other.

        Raises:
            UsageError: they are not as many as the layer has.
        """
        if flat.numel() != self.size:
            raise UsageError(f"a layer of {self.size} parameters was given {flat.numel()}")
        first = flat.data_ptr()
        return native.native_parameters(first + _BYTES_OF_FLOAT * start for start in self.starts)


@lru_cache(maxsize=64)
def _describe(
    channels: int, hidden_channels: int, num_heads: int, window_size: int, shift_size: int
) -> _Description:
    geometry = LayerGeometry(num_heads=num_heads, window_size=window_size, shift_size=shift_size)
    sizes = {
        "norm1_weight": channels,
        "norm1_bias": channels,
        "qkv_weight": 3 * channels**2,
        "qkv_bias": 3 * channels,
        "position_bias": num_heads * window_size**4,
        "proj_weight": channels**2,
        "proj_bias": channels,
        "norm2_weight": channels,
        "norm2_bias": channels,
        "fc1_weight": hidden_channels * channels,
        "fc1_bias": hidden_channels,
        "fc2_weight": channels * hidden_channels,
        "fc2_bias": channels,
    }
    *starts, size = accumulate((sizes[name] for name in LayerParameters._fields), initial=0)
    return _Description(
        geometry=native.native_geometry(channels, hidden_channels, geometry), starts=tuple(starts), size=size
    )


def _address_of(tensor: Tensor | None) -> int | None:
    return None if tensor is None else tensor.data_ptr()
