"""Tensors of an untrusted file: plain, dense, finite, and no larger than the file they came from."""

from collections.abc import Mapping

import torch
from torch import Tensor
from torch.nn import Parameter

from swinir.errors import UsageError

# What weights may be stored in.
DTYPES = (torch.float32, torch.float16, torch.bfloat16, torch.float64)


def require_plain(name: str, value: object) -> Tensor:
    """Return ``value`` without whatever hangs on it (gradients, hooks, attributes), if it is a plain tensor.

    Raises:
        UsageError: it is something else, or not of real numbers.
    """
    if type(value) is not Tensor and type(value) is not Parameter:
        raise UsageError(f"{name} is not a tensor but a {type(value).__name__}")
    # Called on the class, since a file can give a tensor attributes that hide its methods.
    tensor = Tensor.detach(value)
    if tensor.dtype not in DTYPES:
        raise UsageError(f"tensor {name} is of type {dtype_name(tensor.dtype)}, but weights are real numbers")
    return tensor


def check_size(tensors: Mapping[str, Tensor], file_bytes: int) -> None:
    """Require that the file can hold all these values: strides of 0 make a small file claim any size.

    Raises:
        UsageError: it cannot.
    """
    claimed_bytes = sum(tensor.numel() * tensor.element_size() for tensor in tensors.values())
    if claimed_bytes > file_bytes:
        raise UsageError(f"its tensors claim {claimed_bytes} bytes, but the whole file has {file_bytes}")


def copied(tensors: Mapping[str, Tensor], dtype: torch.dtype) -> dict[str, Tensor]:
    """Copy to contiguous tensors on the CPU that share memory with nothing.

    Raises:
        UsageError: a value is NaN or infinite, or becomes so in ``dtype``; the message names its tensor.
    """
    copies = {name: _copy(tensor, dtype) for name, tensor in tensors.items()}
    for name, tensor in copies.items():
        if not tensor.isfinite().all():
            bad = int(tensor.isfinite().logical_not().sum())
            raise UsageError(f"tensor {name} has {bad} values that are not finite in {dtype_name(dtype)}")
    return copies


def dtype_name(dtype: torch.dtype) -> str:
    """Name a type as people write it: ``float32``."""
    return str(dtype).removeprefix("torch.")


def _copy(tensor: Tensor, dtype: torch.dtype) -> Tensor:
    return torch.empty(tensor.shape, dtype=dtype).copy_(tensor.detach())
