"""An ONNX graph while it is written: operations and tensors, values being names."""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import NodeProto, TensorProto, helper, numpy_helper

# The first set of operators with LayerNormalization, and one that every converter of the last years reads. GELU is
# of set 20, which few of them know; runtimes recognise its five operators.
OPSET = 17
# The version of the file format of that time (ONNX 1.12).
IR_VERSION = 8

# vs-mlrt tells TensorRT the size of an input of this name, and others expect it too.
INPUT, OUTPUT = "input", "output"

# A value of the graph, or a whole number that becomes a constant.
Value = str
Operand = str | int


class Graph:
    """Collects what an ONNX file holds; equal constants and equal operations on whole numbers are written once."""

    def __init__(self) -> None:
        self.nodes: list[NodeProto] = []
        self.tensors: list[TensorProto] = []
        self._constants: dict[tuple[str, tuple[int, ...], bytes], Value] = {}
        self._numbers: dict[tuple[object, ...], Value] = {}

    def constant(self, array: NDArray[Any] | list[int] | int | np.generic, name: str = "constant") -> Value:
        """Store an array, whole numbers as int64, and return the value."""
        stored = np.array(array, order="C")
        key = (stored.dtype.str, stored.shape, stored.tobytes())
        if key not in self._constants:
            self._constants[key] = f"{name}_{len(self._constants)}"
            self.tensors.append(numpy_helper.from_array(stored, self._constants[key]))
        return self._constants[key]

    def add(self, operator: str, *inputs: Operand, output: Value | None = None, **attributes: Any) -> Value:
        """Append an operation with one result, and return that."""
        return self.add_split(operator, [output or self._new_name(operator)], *inputs, **attributes)[0]

    def add_split(
        self, operator: str, outputs: int | list[Value], *inputs: Operand, **attributes: Any
    ) -> list[Value]:
        """Append an operation with several results, and return them."""
        if isinstance(outputs, int):
            outputs = [f"{self._new_name(operator)}_{index}" for index in range(outputs)]
        values = [value if isinstance(value, str) else self.constant(value) for value in inputs]
        self.nodes.append(
            helper.make_node(operator, values, outputs, name=self._new_name(operator), **attributes)
        )
        return outputs

    def number(self, operator: str, *inputs: Operand) -> Value:
        """Append an operation on whole numbers, or return the result of the same one before."""
        key = (operator, *inputs)
        if key not in self._numbers:
            self._numbers[key] = self.add(operator, *inputs)
        return self._numbers[key]

    def vector(self, *numbers: Operand) -> Value:
        """Join whole numbers to a vector, such as a shape."""
        axis = self.constant([0])
        return self.add("Concat", *(self.number("Unsqueeze", number, axis) for number in numbers), axis=0)

    def _new_name(self, operator: str) -> Value:
        return f"{operator}_{len(self.nodes)}"
