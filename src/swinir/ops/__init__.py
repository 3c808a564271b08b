"""One transformer layer, many ways, one meaning: the seam where a backend is chosen, once, and can say why."""

from dataclasses import dataclass

import torch

from swinir.ops import reference
from swinir.ops.layer import LayerGeometry, LayerParameters, TransformerLayer

__all__ = ["Backend", "LayerGeometry", "LayerParameters", "TransformerLayer", "select_backend"]


@dataclass(frozen=True, kw_only=True)
class Backend:
    """Who computes the transformer layers, and why that one."""

    name: str
    reason: str
    transformer_layer: TransformerLayer


REFERENCE = Backend(
    name="reference",
    reason="plain PyTorch, the definition of correct",
    transformer_layer=reference.transformer_layer,
)


def select_backend(device: torch.device) -> Backend:
    """Choose the fastest backend that works on ``device``."""
    return REFERENCE
