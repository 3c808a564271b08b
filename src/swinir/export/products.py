"""Norms, linear layers and convolutions of a graph, in float32 or with products in half precision.

Half precision ends at 65504, which the residual stream exceeds. So the stream is float32 in every graph, and what
enters and leaves a product in half precision is kept in range: by bounds that follow from the parameters, where a
norm comes before; by the largest value of the image at hand, where none does.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from math import ceil, log2

import numpy as np
from jaxtyping import Float32
from onnx import TensorProto
from torch import Tensor

from swinir.export.graph import Graph, Value
from swinir.ops.convolution import HALF_LIMIT
from swinir.ops.interface import NORM_EPSILON


@dataclass(frozen=True, kw_only=True)
class Products:
    """Writes what has parameters, which are known by their published names."""

    graph: Graph
    parameters: Mapping[str, Tensor]
    is_half: bool

    def array(self, name: str) -> Float32[np.ndarray, "..."]:
        """Return a parameter."""
        return self.parameters[name].detach().float().numpy()

    def norm(self, rows: Value, name: str) -> Value:
        """Normalise the channels of each row of the stream."""
        affine = (self.graph.constant(self.array(f"{name}.{kind}"), kind) for kind in ("weight", "bias"))
        return self.graph.add("LayerNormalization", rows, *affine, axis=-1, epsilon=NORM_EPSILON)

    def linear(
        self,
        rows: Value,
        weight: Float32[np.ndarray, "out c"],
        bias: Float32[np.ndarray, " out"],
        *,
        is_half: bool,
    ) -> Value:
        """Multiply rows, which already are of the type of the product; so is the result."""
        dtype = np.float16 if is_half else np.float32
        tensors = (self.graph.constant(array.astype(dtype), "weight") for array in (weight, bias))
        return self.graph.add("Gemm", rows, *tensors, transB=1)

    def branch(self, stream: Value, rows: Value, name: str, *, largest: float, is_half: bool) -> Value:
        """Add a linear layer of ``rows`` to the stream; no value of the rows is above ``largest``."""
        add, constant = self.graph.add, self.graph.constant
        weight, bias = self.array(f"{name}.weight"), self.array(f"{name}.bias")
        if not is_half:
            return add("Add", stream, self.linear(rows, weight, bias, is_half=False))
        bound = largest * float(np.abs(weight).sum(axis=1).max())
        scale = 2.0 ** max(ceil(log2(max(bound, 1.0) / HALF_LIMIT)), 0)
        product = self.linear(rows, weight / scale, np.zeros_like(bias), is_half=True)
        product = self.to_float(product)
        if scale > 1:
            product = add("Mul", product, constant(np.float32(scale)))
        return add("Add", add("Add", stream, product), constant(bias, "bias"))

    def convolution(self, image: Value, name: str, slope: float = 1.0, *, is_last: bool = False) -> Value:
        """Convolve an image [b, c, h, w], zeros around it; what comes out below 0 is multiplied by ``slope``.

        The last convolution of a network, which gives the pixels, is in float32 always.
        """
        weight, bias = self.array(f"{name}.weight"), self.array(f"{name}.bias")
        pads = [weight.shape[-1] // 2] * 4
        if self.is_half and not is_last:
            convolved = self._convolution_in_half(image, weight, bias, pads)
        else:
            tensors = (self.graph.constant(array, "weight") for array in (weight, bias))
            convolved = self.graph.add("Conv", image, *tensors, pads=pads)
        return convolved if slope == 1.0 else self.graph.add("LeakyRelu", convolved, alpha=slope)

    def _convolution_in_half(
        self,
        image: Value,
        weight: Float32[np.ndarray, "out c k k"],
        bias: Float32[np.ndarray, " out"],
        pads: list[int],
    ) -> Value:
        """Convolve what was divided by 1, or by more where that or the result might overflow.

        A result is at most the largest input times the largest sum of weights.
        """
        add, constant = self.graph.add, self.graph.constant
        gain = max(1.0, float(np.abs(weight).sum(axis=(1, 2, 3)).max()))
        largest = add("ReduceMax", add("Abs", image), keepdims=0)
        scale = add("Mul", largest, constant(np.float32(gain / HALF_LIMIT)))
        scale = add("Max", scale, constant(np.float32(1.0)))
        half = self.to_half(add("Div", image, scale))
        convolved = add("Conv", half, constant(weight.astype(np.float16), "weight"), pads=pads)
        convolved = add("Mul", self.to_float(convolved), scale)
        return add("Add", convolved, constant(bias[:, None, None], "bias"))

    def to_half(self, value: Value) -> Value:
        """Round to half precision."""
        return self.graph.add("Cast", value, to=TensorProto.FLOAT16)

    def to_float(self, value: Value) -> Value:
        """Return to the type of the stream."""
        return self.graph.add("Cast", value, to=TensorProto.FLOAT)


def largest_behind_norm(
    weight: Float32[np.ndarray, "out c"],
    bias: Float32[np.ndarray, " out"],
    norm_weight: Float32[np.ndarray, " c"],
    norm_bias: Float32[np.ndarray, " c"],
) -> Float32[np.ndarray, " out"]:
    """Bound each result of a linear layer behind a norm: what a norm gives is no longer than √c before its scale."""
    length = np.linalg.norm(weight * norm_weight, axis=1) * len(norm_weight) ** 0.5
    return length + np.abs(weight @ norm_bias + bias)
