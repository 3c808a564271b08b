"""Half precision made visible where no processor has it, so that an export in fp16 can be proven anywhere.

ONNX Runtime on a CPU computes operations in half precision in float32, and takes out casts that face each other:
nothing is rounded and nothing overflows. An Identity behind each such operation keeps them apart.
"""

from onnx import ModelProto, TensorProto, helper, shape_inference


def keep_roundings(model: bytes) -> bytes:
    """Return the same model, every result in half precision being rounded to it where optimisations are off."""
    rounded = ModelProto.FromString(model)
    inferred = shape_inference.infer_shapes(rounded, check_type=True, strict_mode=True)
    halves = {
        value.name
        for value in inferred.graph.value_info
        if value.type.tensor_type.elem_type == TensorProto.FLOAT16
    }
    nodes = list(rounded.graph.node)
    del rounded.graph.node[:]
    for node in nodes:
        rounded.graph.node.append(node)
        for index, name in enumerate(node.output):
            if name in halves:
                rounded.graph.node[-1].output[index] = f"{name}_exact"
        rounded.graph.node.extend(
            helper.make_node("Identity", [f"{name}_exact"], [name]) for name in node.output if name in halves
        )
    return rounded.SerializeToString()
