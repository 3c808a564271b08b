"""The transformer layer with gradients on a CPU, by the native kernels: an operator of PyTorch.

The forward pass keeps its input and nothing else; the backward pass computes the rest again, window by window, while
it lies in the core's cache. Parameters change with every step, so they are packed in each pass.
"""

import ctypes
from dataclasses import dataclass
from itertools import accumulate
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from swinir.ops import native
from swinir.ops.interface import LayerGeometry, LayerParameters


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
            ValueError: ``x`` is no float32 stream of whole windows on the CPU.
            MemoryError: there is none for what each thread computes with.
        """
        numbers = [geometry.num_heads, geometry.window_size, geometry.shift_size, self.isa.number]
        contiguous = [parameter.float().contiguous() for parameter in parameters]
        scales = None if drop_path_scales is None else drop_path_scales.float().contiguous()
        return _layer(x.contiguous(), contiguous, scales, numbers)


# PyTorch reads the operators' schemas from annotations, which therefore say Tensor and no shapes; ``numbers`` are
# those of the geometry (heads, window, shift) and that of the instruction set.


@torch.library.custom_op("swinir::native_layer", mutates_args=())
def _layer(
    x: Tensor, parameters: list[Tensor], drop_path_scales: Tensor | None, numbers: list[int]
) -> Tensor:
    library = native.require_library()
    p = LayerParameters(*parameters)
    packed = native.PackedLayer(library, library.isas()[numbers[-1]], p, _geometry(numbers))
    return packed(x, drop_path_scales=drop_path_scales)


@torch.library.custom_op("swinir::native_layer_backward", mutates_args=())
def _layer_backward(
    grad_y: Tensor,
    x: Tensor,
    parameters: list[Tensor],
    drop_path_scales: Tensor | None,
    numbers: list[int],
) -> tuple[Tensor, Tensor]:
    """Return the gradient of x, and those of all parameters one behind the other."""
    library, p = native.require_library(), LayerParameters(*parameters)
    grad_x = torch.empty_like(x)
    flat = x.new_empty(sum(parameter.numel() for parameter in parameters))
    gradients = _split(p, flat)
    batch, height, width, _ = x.shape
    status = library.layer_backward(
        numbers[-1],
        ctypes.byref(native.geometry_of(p, _geometry(numbers))),
        ctypes.byref(native.pointers_to(p)),
        x.data_ptr(),
        grad_y.data_ptr(),
        None if drop_path_scales is None else drop_path_scales.data_ptr(),
        grad_x.data_ptr(),
        ctypes.byref(native.pointers_to(LayerParameters(*gradients))),
        batch,
        height,
        width,
        torch.get_num_threads(),
    )
    native.check_status(status)
    return grad_x, flat


@_layer.register_fake
def _(x: Tensor, parameters: list[Tensor], drop_path_scales: Tensor | None, numbers: list[int]) -> Tensor:
    return torch.empty_like(x)


@_layer_backward.register_fake
def _(
    grad_y: Tensor,
    x: Tensor,
    parameters: list[Tensor],
    drop_path_scales: Tensor | None,
    numbers: list[int],
) -> tuple[Tensor, Tensor]:
    return torch.empty_like(x), x.new_empty(sum(parameter.numel() for parameter in parameters))


def _keep(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    x, parameters, drop_path_scales, ctx.numbers = inputs
    ctx.save_for_backward(x, drop_path_scales, *parameters)


def _differentiate(ctx: Any, grad_y: Tensor) -> tuple[Tensor | list[Tensor] | None, ...]:
    x, scales, *parameters = ctx.saved_tensors
    grad_x, flat = _layer_backward(grad_y.contiguous(), x, parameters, scales, ctx.numbers)
    return grad_x, _split(LayerParameters(*parameters), flat), None, None


_layer.register_autograd(_differentiate, setup_context=_keep)


def _geometry(numbers: list[int]) -> LayerGeometry:
    num_heads, window_size, shift_size, _ = numbers
    return LayerGeometry(num_heads=num_heads, window_size=window_size, shift_size=shift_size)


def _split(parameters: LayerParameters, flat: Float[Tensor, " n"]) -> list[Tensor]:
    """Cut what lies one behind the other into views of each parameter's shape."""
    sizes = [parameter.numel() for parameter in parameters]
    starts = accumulate(sizes[:-1], initial=0)
    return [
        flat[start : start + size].view(parameter.shape)
        for parameter, start, size in zip(parameters, starts, sizes, strict=True)
    ]
