"""SwinIR as an ONNX model."""

from collections.abc import Mapping

from onnx import ModelProto, TensorProto, checker, helper
from torch import Tensor

from swinir.export.graph import INPUT, IR_VERSION, OPSET, OUTPUT, Graph
from swinir.export.network import write_network
from swinir.model import SwinIRConfig


def build_model(
    config: SwinIRConfig,
    parameters: Mapping[str, Tensor],
    *,
    is_half: bool = False,
    metadata: Mapping[str, str] | None = None,
) -> ModelProto:
    """Write a network as an ONNX model that takes and gives float32 images of any size.

    Args:
        config: the network.
        parameters: the state dict of ``swinir.SwinIR(config)``.
        is_half: compute products in half precision; the residual stream and the image are float32 always.
        metadata: notes that travel in the file.
    """
    graph = Graph()
    write_network(graph, config, parameters, is_half=is_half)
    channels, scale = config.in_channels, config.scale
    enlarged = [side if scale == 1 else f"{scale} * {side}" for side in ("height", "width")]
    image = helper.make_tensor_value_info(INPUT, TensorProto.FLOAT, ["batch", channels, "height", "width"])
    restored = helper.make_tensor_value_info(OUTPUT, TensorProto.FLOAT, ["batch", channels, *enlarged])
    model = helper.make_model(
        helper.make_graph(graph.nodes, "swinir", [image], [restored], graph.tensors),
        opset_imports=[helper.make_opsetid("", OPSET)],
        ir_version=IR_VERSION,
        producer_name="swinir",
    )
    helper.set_model_props(model, dict(metadata or {}))
    checker.check_model(model, full_check=True)
    return model
