"""One transformer layer, many ways, one meaning: the seam where a backend is chosen, once, and can say why."""

from dataclasses import dataclass

import torch

from swinir.ops import reference
from swinir.ops.layer import LayerGeometry, LayerParameters, TransformerLayer

__all__ = ["REFERENCE", "Backend", "LayerGeometry", "LayerParameters", "TransformerLayer", "select_backend"]


@dataclass(frozen=True, kw_only=True)
class Backend:
    """Who computes the transformer layers, and why that one."""

    name: str
    reason: str
    transformer_layer: TransformerLayer


def _reference(reason: str) -> Backend:
    return Backend(name="reference", reason=reason, transformer_layer=reference.transformer_layer)


REFERENCE = _reference("plain PyTorch, the definition of correct")


def select_backend(device: torch.device) -> Backend:
    """Choose the fastest backend that is proven on ``device``; its ``reason`` says what decided."""
    if device.type == "cuda":
        return _reference(
            "plain PyTorch: the fused Triton kernels are proven in Triton's interpreter, not yet on a GPU"
        )
    return _reference(f"plain PyTorch: there is no fused kernel for {device.type} in this version")
