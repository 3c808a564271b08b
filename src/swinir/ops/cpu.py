"""The fused transformer layer on a CPU: packed layers of the native library, and the instruction sets it has.

The library is plain C behind ``native/include/swinir_native.h``, so ctypes is all that stands between.
"""

import ctypes
import os
from collections.abc import Callable
from functools import lru_cache
from importlib import resources
from pathlib import Path
from typing import Any, NamedTuple, Self

import torch
from jaxtyping import Float
from torch import Tensor

from swinir.ops.layer import LayerGeometry, LayerParameters

# The version of the C interface that this file speaks.
_ABI = 1
# A library to use in place of the package's own, for tests of other builds.
LIBRARY_VARIABLE = "SWINIR_CPU_LIBRARY"
LIBRARY_NAMES = ("libswinir_cpu.so", "libswinir_cpu.dylib")


class Isa(NamedTuple):
    """An instruction set that the library was built for; ``index`` is its number there."""

    index: int
    name: str
    runs_here: bool
    is_bf16: bool


class _Geometry(ctypes.Structure):
    _fields_ = tuple(
        (name, ctypes.c_int32)
        for name in ("channels", "num_heads", "window_size", "shift_size", "hidden_channels")
    )


class _Parameters(ctypes.Structure):
    _fields_ = tuple((name, ctypes.c_void_p) for name in LayerParameters._fields)


class Library:
    """The native library, loaded."""

    def __init__(self, path: Path) -> None:
        self._native = ctypes.CDLL(str(path))
        self._native.swinir_abi.restype = ctypes.c_int32
        if (abi := self._native.swinir_abi()) != _ABI:
            raise OSError(f"{path} has interface {abi}, but this version of swinir speaks {_ABI}")
        self._name = _declare(self._native.swinir_isa_name, ctypes.c_char_p, ctypes.c_int32)
        self._runs_here = _declare(self._native.swinir_isa_runs_here, ctypes.c_int32, ctypes.c_int32)
        self._is_bf16 = _declare(self._native.swinir_isa_is_bf16, ctypes.c_int32, ctypes.c_int32)
        self.create = _declare(
            self._native.swinir_layer_create,
            ctypes.c_void_p,
            ctypes.c_int32,
            ctypes.POINTER(_Geometry),
            ctypes.POINTER(_Parameters),
        )
        self.destroy = _declare(self._native.swinir_layer_destroy, None, ctypes.c_void_p)
        self.run = _declare(
            self._native.swinir_layer_run,
            ctypes.c_int32,
            *(ctypes.c_void_p,) * 3,
            *(ctypes.c_int64,) * 3,
            ctypes.c_int32,
        )

    def isas(self) -> tuple[Isa, ...]:
        """Every instruction set in the library, the fastest first."""
        found: list[Isa] = []
        while (name := self._name(len(found))) is not None:
            index = len(found)
            found.append(
                Isa(index, name.decode(), bool(self._runs_here(index)), bool(self._is_bf16(index)))
            )
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


class PackedLayer:
    """One transformer layer, its parameters packed for an instruction set: what changes later is not seen.

    Raises:
        ValueError: no such layer can be packed.
    """

    def __init__(
        self, library: Library, isa: Isa, parameters: LayerParameters, geometry: LayerGeometry
    ) -> None:
        self._library = library
        self._window_size = geometry.window_size
        self._channels = parameters.proj_bias.shape[0]
        sizes = _Geometry(
            self._channels,
            geometry.num_heads,
            geometry.window_size,
            geometry.shift_size,
            parameters.fc1_bias.shape[0],
        )
        # Named, so that they live until the library has read them.
        tensors = [tensor.detach().to("cpu", torch.float32).contiguous() for tensor in parameters]
        pointers = _Parameters(*(tensor.data_ptr() for tensor in tensors))
        self._handle = library.create(isa.index, ctypes.byref(sizes), ctypes.byref(pointers))
        if self._handle is None:
            raise ValueError(f"a layer of {self._channels} channels with {geometry} cannot run on {isa.name}")

    def __call__(self, x: Float[Tensor, "b h w c"], *, overwrite: bool = False) -> Float[Tensor, "b h w c"]:
        """Compute the layer, into ``x`` itself if that may be overwritten, on as many threads as PyTorch's.

        Raises:
            ValueError: ``x`` is no float32 stream of whole windows on the CPU, or wants gradients.
            MemoryError: there is none for one window per thread.
        """
        self._check(x)
        x = x.contiguous()
        result = x if overwrite else torch.empty_like(x)
        batch, height, width, _ = x.shape
        status = self._library.run(
            self._handle, x.data_ptr(), result.data_ptr(), batch, height, width, torch.get_num_threads()
        )
        if status != 0:
            raise MemoryError("no memory for the transformer layer's windows")
        return result

    def _check(self, x: Tensor) -> None:
        if x.device.type != "cpu" or x.dtype is not torch.float32:
            raise ValueError(f"the native layer computes float32 on the CPU, got {x.dtype} on {x.device}")
        _, height, width, channels = x.shape
        if channels != self._channels or height % self._window_size or width % self._window_size:
            raise ValueError(
                f"x is {tuple(x.shape)}, but the layer has {self._channels} channels"
                f" and windows of {self._window_size}"
            )
        if x.requires_grad and torch.is_grad_enabled():
            raise ValueError("a packed layer has no gradients: train with the reference backend")

    def __del__(self) -> None:
        if getattr(self, "_handle", None) is not None:
            self._library.destroy(self._handle)

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        """Nothing in it ever changes, so a copy is the same."""
        return self
