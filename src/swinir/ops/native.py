"""The fused transformer layer on a CPU: packed layers of the native library, and the instruction sets it has.

The library is plain C behind ``native/include/swinir_native.h``, so ctypes is all that stands between.
"""

import ctypes
import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import lru_cache
from importlib import resources
from pathlib import Path
from typing import Any, NamedTuple, Self

import torch
from jaxtyping import Float
from torch import Tensor

from swinir.errors import UsageError
from swinir.ops.interface import ConvolutionParameters, LayerGeometry, LayerParameters

# The version of the C interface that this file speaks.
_ABI = 3
# What a call of it returns where memory could not be had.
_NO_MEMORY = 1
_BEYOND = (
    "beyond the native kernel (windows of up to 64, up to 16384 channels, a multiple of the heads): set"
    " SWINIR_CPU_ISA=reference"
)
# A library to use in place of the package's own, for tests of other builds.
LIBRARY_VARIABLE = "SWINIR_CPU_LIBRARY"
LIBRARY_NAMES = ("libswinir_cpu.so", "libswinir_cpu.dylib")


class Isa(NamedTuple):
    """An instruction set that the library was built for, and its number there."""

    number: int
    name: str
    runs_here: bool
    is_bf16: bool

    @property
    def products(self) -> str:
        """What it multiplies in."""
        return "bf16" if self.is_bf16 else "fp32"


class _Geometry(ctypes.Structure):
    _fields_ = tuple(
        (name, ctypes.c_int32)
        for name in ("channels", "num_heads", "window_size", "shift_size", "hidden_channels")
    )


class _Parameters(ctypes.Structure):
    _fields_ = tuple((name, ctypes.c_void_p) for name in LayerParameters._fields)


class _ConvolutionSizes(ctypes.Structure):
    _fields_ = (
        ("in_channels", ctypes.c_int32),
        ("out_channels", ctypes.c_int32),
        ("kernel_size", ctypes.c_int32),
        ("slope", ctypes.c_float),
    )


class Library:
    """The native library, loaded."""

    def __init__(self, path: Path) -> None:
        self._native = ctypes.CDLL(str(path))
        try:
            abi = _declare(self._native.swinir_abi, ctypes.c_int32)()
        except AttributeError as error:
            raise OSError(f"{path} is another library") from error
        if abi != _ABI:
            raise OSError(f"{path} has interface {abi}, but this version of swinir speaks {_ABI}")
        self._name = _declare(self._native.swinir_isa_name, ctypes.c_char_p, ctypes.c_int32)
        self._runs_here = _declare(self._native.swinir_isa_runs_here, ctypes.c_int32, ctypes.c_int32)
        self._is_bf16 = _declare(self._native.swinir_isa_is_bf16, ctypes.c_int32, ctypes.c_int32)
        handle, memory, number = ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int32
        image_sizes = (ctypes.c_int64,) * 3
        self.create_layer = _declare(
            self._native.swinir_layer_create,
            handle,
            number,
            ctypes.POINTER(_Geometry),
            ctypes.POINTER(_Parameters),
        )
        self.destroy_layer = _declare(self._native.swinir_layer_destroy, None, handle)
        self.run_layer = _declare(
            self._native.swinir_layer_run, number, handle, *(memory,) * 2, *image_sizes, number
        )
        self.layer_forward = _declare(
            self._native.swinir_layer_forward,
            number,
            number,
            ctypes.POINTER(_Geometry),
            ctypes.POINTER(_Parameters),
            *(memory,) * 3,
            *image_sizes,
            number,
        )
        self.layer_backward = _declare(
            self._native.swinir_layer_backward,
            number,
            number,
            ctypes.POINTER(_Geometry),
            ctypes.POINTER(_Parameters),
            *(memory,) * 4,
            ctypes.POINTER(_Parameters),
            *image_sizes,
            number,
        )
        self.create_convolution = _declare(
            self._native.swinir_convolution_create,
            handle,
            number,
            ctypes.POINTER(_ConvolutionSizes),
            memory,
            memory,
        )
        self.destroy_convolution = _declare(self._native.swinir_convolution_destroy, None, handle)
        self.run_convolution = _declare(
            self._native.swinir_convolution_run, number, handle, *(memory,) * 3, *image_sizes, number
        )

    def isas(self) -> tuple[Isa, ...]:
        """Every instruction set in the library, the fastest first."""
        found: list[Isa] = []
        while (name := self._name(len(found))) is not None:
            index = len(found)
            found.append(Isa(index, name.decode(), bool(self._runs_here(index)), bool(self._is_bf16(index))))
        return tuple(found)


def _declare(function: Any, result: Any, *arguments: Any) -> Callable[..., Any]:
    function.restype = result
    function.argtypes = arguments
    return function


@lru_cache(maxsize=1)
def load_library() -> Library | str:
    """Load the native library, once; where that cannot be, tell why."""
    if chosen := os.environ.get(LIBRARY_VARIABLE):
        candidates = [Path(chosen)]
    else:
        here = resources.files("swinir.ops")
        candidates = [Path(str(here.joinpath(name))) for name in LIBRARY_NAMES]
    path = next((candidate for candidate in candidates if candidate.is_file()), None)
    if path is None:
        return f"no {candidates[0].name} was built with this installation (that takes a C++ compiler)"
    try:
        return Library(path)
    except OSError as error:
        return f"the native library cannot be loaded: {error}"


def require_library() -> Library:
    """Return the native library.

    Raises:
        RuntimeError: it cannot be loaded.
    """
    library = load_library()
    if isinstance(library, str):
        raise RuntimeError(library)
    return library


class PackedLayer:
    """One transformer layer, its parameters packed for an instruction set: what changes later is not seen.

    Raises:
        UsageError: no such layer can be packed.
    """

    def __init__(
        self, library: Library, isa: Isa, parameters: LayerParameters, geometry: LayerGeometry
    ) -> None:
        self._library = library
        self._window_size = geometry.window_size
        self._channels = parameters.proj_bias.shape[0]
        sizes = native_geometry(self._channels, parameters.fc1_bias.shape[0], geometry)
        n = geometry.window_size**2
        if parameters.position_bias.shape != (geometry.num_heads, n, n):
            raise UsageError(
                f"position_bias is {tuple(parameters.position_bias.shape)}, but must be [heads, n, n] of {geometry}"
            )
        # Named, so that they live until the library has read them.
        tensors = LayerParameters(*map(_as_native, parameters))
        pointers = native_parameters(tensor.data_ptr() for tensor in tensors)
        self._handle = library.create_layer(isa.number, ctypes.byref(sizes), ctypes.byref(pointers))
        if self._handle is None:
            raise UsageError(f"a layer of {self._channels} channels with {geometry} is {_BEYOND}")

    def __call__(self, x: Float[Tensor, "b h w c"], *, overwrite: bool = False) -> Float[Tensor, "b h w c"]:
        """Compute the layer, into ``x`` itself if that may be overwritten, on as many threads as PyTorch's.

        Raises:
            UsageError: ``x`` is no float32 stream of whole windows on the CPU, or wants gradients.
            MemoryError: there is none for one window per thread.
        """
        _check_inference_stream(x, self._channels)
        check_windows(x, self._window_size)
        batch, height, width, _ = x.shape
        x = x.contiguous()
        result = x if overwrite else torch.empty_like(x)
        status = self._library.run_layer(
            self._handle,
            x.data_ptr(),
            result.data_ptr(),
            batch,
            height,
            width,
            torch.get_num_threads(),
        )
        check_status(status)
        return result

    def __del__(self) -> None:
        if getattr(self, "_handle", None) is not None:
            self._library.destroy_layer(self._handle)

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        """Nothing in it ever changes, so a copy is the same."""
        return self


class PackedConvolution:
    """One convolution on channels-last features, packed for an instruction set; zeros lie around the image.

    Raises:
        UsageError: no such convolution can be packed.
    """

    def __init__(self, library: Library, isa: Isa, parameters: ConvolutionParameters) -> None:
        self._library = library
        self._out_channels, self._in_channels, kernel_size, kernel_width = parameters.weight.shape
        if kernel_width != kernel_size or parameters.bias.shape != (self._out_channels,):
            raise UsageError(
                f"weight is {tuple(parameters.weight.shape)} and bias {tuple(parameters.bias.shape)}, but they"
                " must be [out, c, k, k] and [out]"
            )
        sizes = _ConvolutionSizes(
            self._in_channels, self._out_channels, kernel_size, parameters.negative_slope
        )
        weight, bias = _as_native(parameters.weight), _as_native(parameters.bias)
        self._handle = library.create_convolution(
            isa.number, ctypes.byref(sizes), weight.data_ptr(), bias.data_ptr()
        )
        if self._handle is None:
            raise UsageError(
                f"a convolution of {tuple(weight.shape)} is beyond the native kernel (1×1 or 3×3, 16384"
                " channels): set SWINIR_CPU_ISA=reference"
            )

    def __call__(
        self,
        x: Float[Tensor, "b h w c"],
        residual: Float[Tensor, "b h w out"] | None = None,
        *,
        overwrite: bool = False,
    ) -> Float[Tensor, "b h w out"]:
        """Compute the convolution plus ``residual``, into ``residual`` itself if that may be overwritten.

        Raises:
            UsageError: ``x`` or ``residual`` is no float32 stream on the CPU, wants gradients, or is of another
                size than the other.
            MemoryError: there is none for one strip per thread.
        """
        _check_inference_stream(x, self._in_channels)
        batch, height, width, _ = x.shape
        x = x.contiguous()
        if residual is not None:
            _check_inference_stream(residual, self._out_channels)
            if residual.shape[:3] != x.shape[:3]:
                raise UsageError(
                    f"residual is {tuple(residual.shape)}, but must be of x's size {tuple(x.shape[:3])}"
                )
            residual = residual.contiguous()
        if residual is not None and overwrite:
            result = residual
        else:
            result = x.new_empty(batch, height, width, self._out_channels)
        status = self._library.run_convolution(
            self._handle,
            x.data_ptr(),
            None if residual is None else residual.data_ptr(),
            result.data_ptr(),
            batch,
            height,
            width,
            torch.get_num_threads(),
        )
        check_status(status)
        return result

    def __del__(self) -> None:
        if getattr(self, "_handle", None) is not None:
            self._library.destroy_convolution(self._handle)

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        """Nothing in it ever changes, so a copy is the same."""
        return self


@dataclass(frozen=True)
class Packer:
    """Packs for one instruction set."""

    library: Library
    isa: Isa

    def layer(self, parameters: LayerParameters, geometry: LayerGeometry) -> PackedLayer:
        """Pack a transformer layer."""
        return PackedLayer(self.library, self.isa, parameters, geometry)

    def convolution(self, parameters: ConvolutionParameters) -> PackedConvolution:
        """Pack a convolution."""
        return PackedConvolution(self.library, self.isa, parameters)


def native_geometry(channels: int, hidden_channels: int, geometry: LayerGeometry) -> ctypes.Structure:
    """Describe a layer to the library."""
    return _Geometry(channels, geometry.num_heads, geometry.window_size, geometry.shift_size, hidden_channels)


def native_parameters(addresses: Iterable[int]) -> ctypes.Structure:
    """Point the library to contiguous float32 memory that the caller keeps alive, in ``LayerParameters``' order."""
    return _Parameters(*addresses)


def _as_native(parameter: Tensor) -> Tensor:
    return parameter.detach().to("cpu", torch.float32).contiguous()


def check_stream(x: Tensor, channels: int) -> None:
    """Raise UsageError unless this is a float32 stream of so many channels on the CPU."""
    if x.device.type != "cpu" or x.dtype is not torch.float32:
        raise UsageError(f"the native library computes float32 on the CPU, got {x.dtype} on {x.device}")
    if x.dim() != 4 or x.shape[3] != channels:
        raise UsageError(f"x is {tuple(x.shape)}, but must be [b, h, w, {channels}]")


def check_windows(x: Float[Tensor, "b h w c"], window_size: int) -> None:
    """Raise UsageError where an image is not of whole windows."""
    if x.shape[1] % window_size or x.shape[2] % window_size:
        raise UsageError(f"x is {tuple(x.shape)}, but the layer has windows of {window_size}")


def _check_inference_stream(x: Tensor, channels: int) -> None:
    check_stream(x, channels)
    if x.requires_grad and torch.is_grad_enabled():
        raise UsageError("what is packed has no gradients: train with the reference backend")


def check_status(status: int) -> None:
    """Raise what a status of the library stands for: MemoryError, or UsageError where it cannot compute this."""
    if status == _NO_MEMORY:
        raise MemoryError("not enough memory for what each thread computes with")
    if status != 0:
        raise UsageError(f"this layer is {_BEYOND}")
