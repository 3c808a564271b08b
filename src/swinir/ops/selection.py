"""Where the backend is chosen, once, with the reason for the choice."""

import importlib.util
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass

import torch

from swinir.errors import UsageError
from swinir.ops import native, reference
from swinir.ops.interface import Backend, LayerShape
from swinir.ops.reference import REFERENCE, plain_pytorch
from swinir.options import BackendChoice

# Names the instruction set of the CPU kernel, or "reference" for plain PyTorch; unset, the best is taken.
ISA_VARIABLE = "SWINIR_CPU_ISA"
# Names who computes on a GPU: "triton" for the fused kernels, "reference" for plain PyTorch; unset, the kernels are
# taken where they can be.
GPU_KERNELS_VARIABLE = "SWINIR_GPU_KERNELS"
TRITON = BackendChoice.TRITON.value
# The first GPUs that multiply bf16 (Ampere).
LEAST_CAPABILITY = (8, 0)


_BuildNative = Callable[[native.Library, native.Isa, str], Backend]
_BuildTriton = Callable[[torch.device, torch.dtype, Collection[LayerShape]], Backend | str]


@dataclass(frozen=True)
class _Builders:
    """What makes backends for one purpose; the one by Triton returns a reason if the kernels cannot be used."""

    kernel: str
    native: _BuildNative
    triton: _BuildTriton


@dataclass(frozen=True)
class BackendRequest:
    """A backend, or an instruction set of the native kernels, that is asked for by name.

    Attributes:
        name: empty for the fastest that is right.
        source: what asks, in messages.
    """

    name: str = ""
    source: str = "backend"


ANY_BACKEND = BackendRequest()


def request_backend(
    choice: BackendChoice, device: torch.device, environment: Mapping[str, str]
) -> BackendRequest:
    """Read what is asked for on ``device``: the choice or, where that is automatic, the environment's default.

    Raises:
        UsageError: the choice is for other devices.
    """
    is_possible = {BackendChoice.NATIVE: device.type == "cpu", BackendChoice.TRITON: device.type == "cuda"}
    if not is_possible.get(choice, True):
        raise UsageError(f"backend {choice} does not compute on {device}: choose auto or reference")
    if choice is not BackendChoice.AUTO:
        return BackendRequest(choice.value)
    variable = {"cpu": ISA_VARIABLE, "cuda": GPU_KERNELS_VARIABLE}.get(device.type, "")
    return BackendRequest(environment.get(variable, ""), variable)


def select_backend(
    device: torch.device,
    dtype: torch.dtype,
    shapes: Collection[LayerShape],
    request: BackendRequest = ANY_BACKEND,
) -> Backend:
    """Choose the fastest backend that is right for inference on ``device`` with products in ``dtype``.

    The Triton kernels are checked on the GPU itself, on a small layer of each of the network's ``shapes``, against
    the reference.

    Raises:
        UsageError: what is asked for cannot be used.
    """
    return _select(device, dtype, shapes, request, _INFERENCE)


def select_training_backend(
    device: torch.device,
    dtype: torch.dtype,
    shapes: Collection[LayerShape],
    request: BackendRequest = ANY_BACKEND,
) -> Backend:
    """Choose the fastest backend that is right with gradients on ``device``; see ``select_backend``.

    Raises:
        UsageError: what is asked for cannot be used.
    """
    return _select(device, dtype, shapes, request, _TRAINING)


def _select(
    device: torch.device,
    dtype: torch.dtype,
    shapes: Collection[LayerShape],
    request: BackendRequest,
    builders: _Builders,
) -> Backend:
    if device.type == "cpu":
        return _select_on_cpu(dtype, request, builders.native)
    if device.type == "cuda":
        return _select_on_gpu(device, dtype, shapes, request, builders.triton)
    return plain_pytorch(f"there is no {builders.kernel} for {device.type} in this version")


def _select_on_gpu(
    device: torch.device,
    dtype: torch.dtype,
    shapes: Collection[LayerShape],
    request: BackendRequest,
    build: _BuildTriton,
) -> Backend:
    """Take the Triton kernels unless something is against them, which is an error if they are asked for."""
    if request.name == REFERENCE.name:
        return plain_pytorch(f"{request.source} asks for it")
    if request.name and request.name != TRITON:
        raise UsageError(
            f"{request.source} is {request.name!r}, which is no choice: {TRITON} or {REFERENCE.name}"
        )
    backend = _obstacle(device, dtype) or build(device, dtype, shapes)
    if isinstance(backend, Backend):
        return backend
    if request.name:
        raise UsageError(f"{request.source} is {TRITON}, but {backend}")
    return plain_pytorch(backend)


def _obstacle(device: torch.device, dtype: torch.dtype) -> str | None:
    """Say why the Triton kernels cannot even be checked."""
    if dtype is torch.float32:
        return "the fused kernels are for products in bf16 and fp16"
    if importlib.util.find_spec("triton") is None:
        return "Triton is not installed: pip install triton"
    capability = torch.cuda.get_device_capability(device)
    if capability < LEAST_CAPABILITY:
        least = ".".join(map(str, LEAST_CAPABILITY))
        return (
            f"{device} has compute capability {'.'.join(map(str, capability))}, and the kernels need {least}"
        )
    return None


# Importing Triton takes a second, and there is none on many systems.


def _triton_inference(
    device: torch.device, dtype: torch.dtype, shapes: Collection[LayerShape]
) -> Backend | str:
    from swinir.ops import selfcheck, triton_inference  # noqa: PLC0415

    packer = triton_inference.Packer(dtype)
    return selfcheck.check_inference_kernels(packer, shapes, device, dtype) or Backend(
        name=TRITON,
        reason=f"fused Triton kernels, products in {_name(dtype)}, which passed their self-check on this device",
        transformer_layer=reference.transformer_layer,
        packer=packer,
    )


def _triton_training(
    device: torch.device, dtype: torch.dtype, shapes: Collection[LayerShape]
) -> Backend | str:
    from swinir.ops import selfcheck, triton_training  # noqa: PLC0415

    return selfcheck.check_training_kernels(
        triton_training.transformer_layer, shapes, device, dtype
    ) or Backend(
        name=TRITON,
        reason="fused Triton kernels with gradients, which passed their self-check on this device",
        transformer_layer=triton_training.transformer_layer,
    )


def _name(dtype: torch.dtype) -> str:
    return {torch.bfloat16: "bf16", torch.float16: "fp16"}.get(dtype, "fp32")


def native_multiplies_bf16() -> bool:
    """Tell whether the native library has a kernel for this processor's own bf16 products."""
    library = native.load_library()
    return isinstance(library, native.Library) and any(
        isa.runs_here and isa.is_bf16 for isa in library.isas()
    )


def _select_on_cpu(dtype: torch.dtype, request: BackendRequest, build: _BuildNative) -> Backend:
    """Take the best instruction set, or the one asked for."""
    if request.name == REFERENCE.name:
        return plain_pytorch(f"{request.source} asks for it")
    library = native.load_library()
    if isinstance(library, str):
        if request.name:
            raise UsageError(f"{request.source} is {request.name}, but {library}")
        return plain_pytorch(f"{library}")
    wants_bf16 = dtype is torch.bfloat16
    if request.name not in ("", BackendChoice.NATIVE):
        isa = _requested_isa(library, request)
        if isa.is_bf16 and not wants_bf16:
            raise UsageError(
                f"{request.source} is {request.name}, which computes in bf16: choose precision bf16"
            )
        return build(library, isa, f"{request.source} asks for it")
    usable = [isa for isa in library.isas() if isa.runs_here and (wants_bf16 or not isa.is_bf16)]
    if usable:
        return build(library, usable[0], "the best that this processor runs")
    if request.name:
        raise UsageError(
            f"{request.source} is {request.name}, but the native library has nothing that this processor runs"
        )
    return plain_pytorch("the native library has nothing that this processor runs")


def _native_inference(library: native.Library, isa: native.Isa, reason: str) -> Backend:
    return Backend(
        name=f"cpu-{isa.name}",
        reason=f"fused native kernel, products in {isa.products}: {reason}",
        transformer_layer=reference.transformer_layer,
        packer=native.Packer(library, isa),
    )


def _native_training(library: native.Library, isa: native.Isa, reason: str) -> Backend:
    from swinir.ops import native_training  # noqa: PLC0415  it registers operators of PyTorch

    return Backend(
        name=f"cpu-{isa.name}",
        reason=f"fused native kernel with gradients, products in {isa.products}: {reason}",
        transformer_layer=native_training.NativeLayer(isa),
    )


def _requested_isa(library: native.Library, request: BackendRequest) -> native.Isa:
    name = request.name
    isas = {isa.name: isa for isa in library.isas()}
    if name not in isas or not isas[name].runs_here:
        usable = [isa.name for isa in isas.values() if isa.runs_here]
        raise UsageError(
            f"{request.source} is {name!r}, which this {'processor' if name in isas else 'build'} does not have:"
            f" choose {', '.join(usable)} or {REFERENCE.name}"
        )
    return isas[name]


_INFERENCE = _Builders("fused kernel", _native_inference, _triton_inference)
_TRAINING = _Builders("fused kernel with gradients", _native_training, _triton_training)
