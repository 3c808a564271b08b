"""One transformer layer, many ways, one meaning: the seam where a backend is chosen, once, and can say why."""

import importlib.util
import os
from dataclasses import dataclass
from typing import Protocol

import torch

from swinir.ops import cpu, reference
from swinir.ops.layer import (
    ConvolutionParameters,
    LayerGeometry,
    LayerParameters,
    PackedConvolution,
    PackedTransformerLayer,
    TransformerLayer,
)

__all__ = [
    "GPU_KERNELS_VARIABLE",
    "ISA_VARIABLE",
    "REFERENCE",
    "Backend",
    "ConvolutionParameters",
    "LayerGeometry",
    "LayerParameters",
    "PackedConvolution",
    "PackedTransformerLayer",
    "Packer",
    "TransformerLayer",
    "native_multiplies_bf16",
    "select_backend",
    "select_training_backend",
]

# Names the instruction set of the CPU kernel, or "reference" for plain PyTorch; unset, the best is taken.
ISA_VARIABLE = "SWINIR_CPU_ISA"
# Names who computes on a GPU: "triton" for the fused kernels, "reference" for plain PyTorch, which is also the
# choice where it is unset, until the kernels are proven on a card.
GPU_KERNELS_VARIABLE = "SWINIR_GPU_KERNELS"
TRITON = "triton"
# The first GPUs that multiply bf16 (Ampere).
LEAST_CAPABILITY = (8, 0)


class Packer(Protocol):
    """Builds parameters into what computes with them; what changes in them later is not seen."""

    def layer(self, parameters: LayerParameters, geometry: LayerGeometry) -> PackedTransformerLayer:
        """Pack a transformer layer."""
        ...

    def convolution(self, parameters: ConvolutionParameters) -> PackedConvolution:
        """Pack a convolution."""
        ...


@dataclass(frozen=True, kw_only=True)
class Backend:
    """Who computes the transformer layers, and why that one.

    ``transformer_layer`` takes the parameters with every call. Where there is a ``packer``, inference goes
    through what it packs, the convolutions that close residual groups among it.
    """

    name: str
    reason: str
    transformer_layer: TransformerLayer
    packer: Packer | None = None


def _reference(reason: str) -> Backend:
    return Backend(name="reference", reason=reason, transformer_layer=reference.transformer_layer)


REFERENCE = _reference("plain PyTorch, the definition of correct")


def select_backend(device: torch.device, dtype: torch.dtype) -> Backend:
    """Choose the fastest proven backend for inference on ``device`` with products in ``dtype``.

    Raises:
        ValueError: ``SWINIR_CPU_ISA`` names an instruction set, or ``SWINIR_GPU_KERNELS`` kernels, that cannot
            be used.
    """
    if device.type == "cpu":
        return _select_on_cpu(dtype, os.environ.get(ISA_VARIABLE))
    return select_training_backend(device)


def select_training_backend(device: torch.device) -> Backend:
    """Choose the fastest proven backend with gradients on ``device``.

    Raises:
        ValueError: ``SWINIR_GPU_KERNELS`` names kernels that cannot be used.
    """
    if device.type == "cuda":
        return _select_on_gpu(device, os.environ.get(GPU_KERNELS_VARIABLE))
    return _reference(
        f"plain PyTorch: there is no fused kernel with gradients for {device.type} in this version"
    )


def _select_on_gpu(device: torch.device, forced: str | None) -> Backend:
    if not forced:
        return _reference(
            "plain PyTorch: the fused Triton kernels are proven in Triton's interpreter, not yet on a GPU "
            f"({GPU_KERNELS_VARIABLE}={TRITON} takes them)"
        )
    if forced == REFERENCE.name:
        return _reference(f"plain PyTorch: {GPU_KERNELS_VARIABLE} asks for it")
    if forced != TRITON:
        raise ValueError(
            f"{GPU_KERNELS_VARIABLE} is {forced!r}, which is no choice: {TRITON} or {REFERENCE.name}"
        )
    if importlib.util.find_spec("triton") is None:
        raise ValueError(
            f"{GPU_KERNELS_VARIABLE} is {TRITON}, but Triton is not installed: pip install triton"
        )
    capability = torch.cuda.get_device_capability(device)
    if capability < LEAST_CAPABILITY:
        raise ValueError(
            f"{GPU_KERNELS_VARIABLE} is {TRITON}, but {device} has compute capability "
            f"{capability[0]}.{capability[1]}, and the kernels need {LEAST_CAPABILITY[0]}.{LEAST_CAPABILITY[1]}"
        )
    # Importing Triton takes a second, and there is none on many systems.
    from swinir.ops import gpu  # noqa: PLC0415

    return Backend(
        name=TRITON,
        reason=f"fused Triton kernels: {GPU_KERNELS_VARIABLE} asks for them",
        transformer_layer=gpu.transformer_layer,
    )


def native_multiplies_bf16() -> bool:
    """Tell whether the native library has a kernel for this processor's own bf16 products."""
    library = cpu.load_library()
    return isinstance(library, cpu.Library) and any(isa.runs_here and isa.is_bf16 for isa in library.isas())


def _select_on_cpu(dtype: torch.dtype, forced: str | None) -> Backend:
    if forced == REFERENCE.name:
        return _reference(f"plain PyTorch: {ISA_VARIABLE} asks for it")
    library = cpu.load_library()
    if isinstance(library, str):
        if forced:
            raise ValueError(f"{ISA_VARIABLE} is {forced}, but {library}")
        return _reference(f"plain PyTorch: {library}")
    wants_bf16 = dtype is torch.bfloat16
    if forced:
        isa = _forced_isa(library, forced)
        if isa.is_bf16 and not wants_bf16:
            raise ValueError(f"{ISA_VARIABLE} is {forced}, which computes in bf16: choose precision bf16")
        reason = f"{ISA_VARIABLE} asks for it"
    else:
        usable = [isa for isa in library.isas() if isa.runs_here and (wants_bf16 or not isa.is_bf16)]
        if not usable:
            return _reference("plain PyTorch: the native library has nothing that this processor runs")
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
