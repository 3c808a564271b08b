"""Which backend computes is decided here, once, and can be told why."""

import importlib.util
import os
from collections.abc import Callable, Collection

import torch

from swinir.ops import cpu, reference
from swinir.ops.backend import REFERENCE, Backend, plain_pytorch
from swinir.ops.layer import LayerShape

# Names the instruction set of the CPU kernel, or "reference" for plain PyTorch; unset, the best is taken.
ISA_VARIABLE = "SWINIR_CPU_ISA"
# Names who computes on a GPU: "triton" for the fused kernels, "reference" for plain PyTorch; unset, the kernels are
# taken where they can be.
GPU_KERNELS_VARIABLE = "SWINIR_GPU_KERNELS"
TRITON = "triton"
# The first GPUs that multiply bf16 (Ampere).
LEAST_CAPABILITY = (8, 0)


def select_backend(device: torch.device, dtype: torch.dtype, shapes: Collection[LayerShape]) -> Backend:
    """Choose the fastest backend that is right for inference on ``device`` with products in ``dtype``.

    The Triton kernels are tried on the GPU itself, on a small layer of each of the network's ``shapes``, against
    the reference.

    Raises:
        ValueError: ``SWINIR_CPU_ISA`` names an instruction set, or ``SWINIR_GPU_KERNELS`` kernels, that cannot
            be used.
    """
    if device.type == "cpu":
        return _select_on_cpu(dtype, os.environ.get(ISA_VARIABLE))
    if device.type == "cuda":
        return _select_on_gpu(device, dtype, shapes, _triton_inference)
    return plain_pytorch(f"there is no fused kernel for {device.type} in this version")


def select_training_backend(
    device: torch.device, dtype: torch.dtype, shapes: Collection[LayerShape]
) -> Backend:
    """Choose the fastest backend that is right with gradients on ``device``; see ``select_backend``.

    Raises:
        ValueError: ``SWINIR_GPU_KERNELS`` names kernels that cannot be used.
    """
    if device.type == "cuda":
        return _select_on_gpu(device, dtype, shapes, _triton_training)
    return plain_pytorch(f"there is no fused kernel with gradients for {device.type} in this version")


def _select_on_gpu(
    device: torch.device,
    dtype: torch.dtype,
    shapes: Collection[LayerShape],
    build: Callable[[torch.device, torch.dtype, Collection[LayerShape]], Backend | str],
) -> Backend:
    """Take the Triton kernels unless something is against them, which is an error if they are asked for."""
    asked = os.environ.get(GPU_KERNELS_VARIABLE)
    if asked == REFERENCE.name:
        return plain_pytorch(f"{GPU_KERNELS_VARIABLE} asks for it")
    if asked and asked != TRITON:
        raise ValueError(
            f"{GPU_KERNELS_VARIABLE} is {asked!r}, which is no choice: {TRITON} or {REFERENCE.name}"
        )
    backend = _obstacle(device, dtype) or build(device, dtype, shapes)
    if isinstance(backend, Backend):
        return backend
    if asked:
        raise ValueError(f"{GPU_KERNELS_VARIABLE} is {TRITON}, but {backend}")
    return plain_pytorch(backend)


def _obstacle(device: torch.device, dtype: torch.dtype) -> str | None:
    """Say why the Triton kernels cannot even be tried."""
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
    from swinir.ops import gpu_inference, trial  # noqa: PLC0415

    packer = gpu_inference.Packer(dtype)
    return trial.problem_of_packed(packer, shapes, device, dtype) or Backend(
        name=TRITON,
        reason=f"fused Triton kernels, products in {_name(dtype)}, right on this device in a trial",
        transformer_layer=reference.transformer_layer,
        packer=packer,
    )


def _triton_training(
    device: torch.device, dtype: torch.dtype, shapes: Collection[LayerShape]
) -> Backend | str:
    from swinir.ops import gpu, trial  # noqa: PLC0415

    return trial.problem_of_training(gpu.transformer_layer, shapes, device, dtype) or Backend(
        name=TRITON,
        reason="fused Triton kernels with gradients, right on this device in a trial",
        transformer_layer=gpu.transformer_layer,
    )


def _name(dtype: torch.dtype) -> str:
    return {torch.bfloat16: "bf16", torch.float16: "fp16"}.get(dtype, "fp32")


def native_multiplies_bf16() -> bool:
    """Tell whether the native library has a kernel for this processor's own bf16 products."""
    library = cpu.load_library()
    return isinstance(library, cpu.Library) and any(isa.runs_here and isa.is_bf16 for isa in library.isas())


def _select_on_cpu(dtype: torch.dtype, forced: str | None) -> Backend:
    if forced == REFERENCE.name:
        return plain_pytorch(f"{ISA_VARIABLE} asks for it")
    library = cpu.load_library()
    if isinstance(library, str):
        if forced:
            raise ValueError(f"{ISA_VARIABLE} is {forced}, but {library}")
        return plain_pytorch(f"{library}")
    wants_bf16 = dtype is torch.bfloat16
    if forced:
        isa = _forced_isa(library, forced)
        if isa.is_bf16 and not wants_bf16:
            raise ValueError(f"{ISA_VARIABLE} is {forced}, which computes in bf16: choose precision bf16")
        reason = f"{ISA_VARIABLE} asks for it"
    else:
        usable = [isa for isa in library.isas() if isa.runs_here and (wants_bf16 or not isa.is_bf16)]
        if not usable:
            return plain_pytorch("the native library has nothing that this processor runs")
        isa = usable[0]
        reason = "the best that this processor runs"
    products = "bf16" if isa.is_bf16 else "fp32"
    return Backend(
        name=f"cpu-{isa.name}",
        reason=f"fused native kernel, products in {products}: {reason}",
        transformer_layer=reference.transformer_layer,
        packer=cpu.Packer(library, isa),
    )


def _forced_isa(library: cpu.Library, name: str) -> cpu.Isa:
    isas = {isa.name: isa for isa in library.isas()}
    if name not in isas or not isas[name].runs_here:
        usable = [isa.name for isa in isas.values() if isa.runs_here]
        raise ValueError(
            f"{ISA_VARIABLE} is {name!r}, which this {'processor' if name in isas else 'build'} does not have:"
            f" choose {', '.join(usable)} or {REFERENCE.name}"
        )
    return isas[name]
