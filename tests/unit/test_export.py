"""Networks as files of other programs: what is written restores as PyTorch does, or is not written."""

import json
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import openvino
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper

from swinir import SwinIR, SwinIRConfig
from swinir.cli.main import main
from swinir.errors import ExportError, MissingPackageError, RestoreError
from swinir.export import (
    Difference,
    Runtime,
    export_model,
    list_devices,
    open_model,
    runtimes,
    verification,
)
from swinir.export.onnx_file import build_model
from swinir.export.rounding import keep_roundings
from swinir.options import Precision
from swinir.weights import save_checkpoint

BASE = {"in_channels": 3, "embed_dim": 8, "depths": (2, 1), "num_heads": (2, 4)}
CONFIGS = {
    "direct": SwinIRConfig(scale=2, upsampler="pixelshuffledirect", **BASE),
    "shuffle": SwinIRConfig(scale=4, upsampler="pixelshuffle", **BASE),
    "shuffle-x3": SwinIRConfig(scale=3, upsampler="pixelshuffle", **BASE),
    "nearest-x2": SwinIRConfig(scale=2, upsampler="nearest+conv", **BASE),
    "nearest": SwinIRConfig(scale=4, upsampler="nearest+conv", residual_conv="3conv", **BASE),
    "grey-jpeg": SwinIRConfig(
        scale=1, upsampler="", window_size=7, image_range=255.0, **BASE | {"in_channels": 1}
    ),
    "unshuffled": SwinIRConfig(
        scale=1, upsampler="nearest+conv", unshuffle=4, num_feat=12, qkv_bias=False, **BASE
    ),
    "position-embedding": SwinIRConfig(
        scale=1,
        upsampler="pixelshuffledirect",
        patch_norm=False,
        position_embedding_px=16,
        **BASE | {"in_channels": 4},
    ),
}
# What converters for TensorRT, DirectML, CoreML and the web take, all of it from ONNX itself.
STANDARD = {
    "Abs", "Add", "Cast", "Concat", "Conv", "DepthToSpace", "Div", "Erf", "Gather", "Gemm", "LayerNormalization",
    "LeakyRelu", "MatMul", "Max", "Min", "Mod", "Mul", "Range", "ReduceMax", "Reshape", "Resize", "Shape", "Slice",
    "Softmax", "Split", "Sub", "Transpose", "Unsqueeze",
}  # fmt: skip


def network_of(config: SwinIRConfig) -> SwinIR:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return SwinIR(config).eval().requires_grad_(False)


def written(network: SwinIR, *, is_half: bool = False) -> bytes:
    return build_model(network.config, network.state_dict(), is_half=is_half).SerializeToString()


def differences(network: SwinIR, model: bytes, *, optimize: bool = True) -> list[Difference]:
    restore = open_model(Runtime.ONNXRUNTIME, model, device="cpu", threads=1, optimize=optimize)
    return verification.compare(
        network, [lambda image: torch.from_numpy(restore(image.numpy()))], channels=network.config.in_channels
    )


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    network = network_of(CONFIGS["direct"])
    save_checkpoint(
        tmp_path / "tiny.safetensors", network.config, network.state_dict(), metadata={"licence": "CC0-1.0"}
    )
    return tmp_path / "tiny.safetensors"


@pytest.mark.parametrize("name", CONFIGS)
def test_every_reconstruction_restores_as_pytorch_does_at_every_size(name: str) -> None:
    network = network_of(CONFIGS[name])
    assert max(found.largest for found in differences(network, written(network))) < 1e-5


@pytest.mark.parametrize("name", CONFIGS)
def test_half_precision_keeps_the_picture(name: str) -> None:
    network = network_of(CONFIGS[name])
    found = differences(network, keep_roundings(written(network, is_half=True)), optimize=False)
    # Rounded, and not by much.
    assert 70 < min(each.psnr_db for each in found) < 130


def test_half_precision_keeps_its_range_where_the_stream_grows_beyond_it() -> None:
    network = network_of(CONFIGS["nearest"])
    network.patch_embed.norm.weight.mul_(2e5)
    for name, parameter in network.named_parameters():
        if "norm2.weight" in name:
            parameter.mul_(1e3)
    largest: list[float] = []
    hook = network.layers[1].conv.register_forward_pre_hook(
        lambda _, inputs: largest.append(float(inputs[0].abs().max()))
    )
    network(torch.rand(1, 3, 16, 16, generator=torch.Generator().manual_seed(0)))
    hook.remove()
    assert largest[0] > 4 * 65504
    found = differences(network, keep_roundings(written(network, is_half=True)), optimize=False)
    assert min(each.psnr_db for each in found) > 55


def test_a_rounding_that_overflows_is_seen_where_no_processor_rounds() -> None:
    nodes = [
        helper.make_node("Cast", ["input"], ["half"], to=TensorProto.FLOAT16),
        helper.make_node("MatMul", ["half", "weight"], ["product"]),
        helper.make_node("Cast", ["product"], ["output"], to=TensorProto.FLOAT),
    ]
    values = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, 1, 2, 2]) for name in ("input", "output")
    ]
    weight = numpy_helper.from_array(np.eye(2, dtype=np.float16), "weight")
    graph = helper.make_graph(nodes, "halves", values[:1], values[1:], [weight])
    model = helper.make_model(
        graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8
    ).SerializeToString()
    image = np.array([1e5, 1e5, 1.0003, 1.0003], np.float32).reshape(1, 1, 2, 2)
    exact = open_model(Runtime.ONNXRUNTIME, model, device="cpu")(image)
    rounded = open_model(Runtime.ONNXRUNTIME, keep_roundings(model), device="cpu", optimize=False)(image)
    assert exact.flatten().tolist() == image.flatten().tolist()
    assert not np.isfinite(rounded[..., 0, :]).any()
    assert rounded[..., 1, :].flatten().tolist() == [1.0, 1.0]


@pytest.mark.parametrize("is_half", [False, True])
def test_a_graph_has_standard_operators_no_control_flow_and_dynamic_sizes(is_half: bool) -> None:
    for config in CONFIGS.values():
        model = onnx.load_from_string(written(network_of(config), is_half=is_half))
        assert {node.op_type for node in model.graph.node} <= STANDARD
        assert [(opset.domain, opset.version) for opset in model.opset_import] == [("", 17)]
        (image,), (restored,) = model.graph.input, model.graph.output
        assert (image.name, restored.name) == ("input", "output")
        assert [dim.dim_param for dim in image.type.tensor_type.shape.dim] == ["batch", "", "height", "width"]
        assert image.type.tensor_type.elem_type == restored.type.tensor_type.elem_type == TensorProto.FLOAT
        shapes = onnx.shape_inference.infer_shapes(model).graph.value_info
        # CoreML takes no more dimensions.
        assert max(len(value.type.tensor_type.shape.dim) for value in shapes) <= 5


def test_positions_and_masks_are_computed_once_for_all_layers() -> None:
    deep = network_of(replace(CONFIGS["direct"], depths=(6, 6), num_heads=(2, 2)))
    operators = Counter(node.op_type for node in onnx.load_from_string(written(deep)).graph.node)
    assert operators["Range"] == 4  # rows and columns of the image, tokens, windows


def test_a_fixed_size_is_computed_as_any_other() -> None:
    network = network_of(CONFIGS["direct"])
    image = torch.rand(1, 3, 9, 17, generator=torch.Generator().manual_seed(0))
    for runtime in Runtime:
        restore = open_model(runtime, written(network), device="cpu", threads=1, size=(1, 9, 17))
        assert torch.allclose(torch.from_numpy(restore(image.numpy())), network(image), atol=1e-2)
        with pytest.raises(RestoreError, match=r"cannot restore 9×16 pixels .*: use smaller tiles"):
            restore(image[..., :16].numpy())


@pytest.mark.parametrize(("suffix", "files"), [(".onnx", {"m.onnx"}), (".xml", {"m.xml", "m.bin"})])
@pytest.mark.parametrize("precision", [Precision.FP32, Precision.FP16])
def test_an_export_is_whole_proven_and_says_what_it_is(
    suffix: str, files: set[str], precision: Precision, weights: Path, tmp_path: Path
) -> None:
    (tmp_path / "out").mkdir()
    exported = export_model(weights, tmp_path / "out" / f"m{suffix}", precision=precision)
    assert (
        {path.name for path in exported.files}
        == files
        == {path.name for path in (tmp_path / "out").iterdir()}
    )
    assert [difference.size for difference in exported.differences] == list(verification.SIZES)
    if suffix == ".onnx":
        metadata = {entry.key: entry.value for entry in onnx.load(tmp_path / "out" / "m.onnx").metadata_props}
    else:
        network = openvino.Core().read_model(tmp_path / "out" / "m.xml")
        keys = ("task", "scale", "licence", "precision", "weights_sha256", "swinir_config")
        metadata = {key: network.get_rt_info(["model_info", key]).astype(str) for key in keys}
    assert metadata["task"] == "super-resolution"
    assert metadata["scale"] == "2"
    assert metadata["licence"] == "CC0-1.0"
    assert metadata["precision"] == precision
    assert len(metadata["weights_sha256"]) == 64
    assert SwinIRConfig.from_dict(json.loads(metadata["swinir_config"])) == CONFIGS["direct"]


def test_a_torch_program_takes_every_size(tmp_path: Path) -> None:
    network = network_of(replace(CONFIGS["direct"], depths=(1,), num_heads=(2,)))
    save_checkpoint(tmp_path / "tiny.safetensors", network.config, network.state_dict())
    export_model(tmp_path / "tiny.safetensors", tmp_path / "m.pt2")
    notes = {"metadata.json": ""}
    program = torch.export.load(tmp_path / "m.pt2", extra_files=notes)
    assert json.loads(notes["metadata.json"])["name"] == "tiny"
    assert program.module()(torch.rand(1, 3, 5, 6)).shape == (1, 3, 10, 12)


@pytest.mark.parametrize("suffix", [".onnx", ".xml"])
def test_an_export_that_differs_leaves_what_was_there(
    suffix: str, weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(verification, "MOST_DIFFERENCE", 0.0)
    (tmp_path / f"m{suffix}").write_text("of yesterday")
    before = {path.name for path in tmp_path.iterdir()}
    with pytest.raises(ExportError, match=r"differs from PyTorch \(.*×.*0e\+00 is allowed"):
        export_model(weights, tmp_path / f"m{suffix}")
    assert {path.name for path in tmp_path.iterdir()} == before
    assert (tmp_path / f"m{suffix}").read_text() == "of yesterday"


def test_what_cannot_be_written_is_one_sentence(weights: Path, tmp_path: Path) -> None:
    with pytest.raises(
        ValueError, match=r"m.png names no format: choose a name that ends in .onnx, .xml, .pt2"
    ):
        export_model(weights, tmp_path / "m.png")
    with pytest.raises(ValueError, match=r"a .pt2 file cannot be in fp16: choose fp32"):
        export_model(weights, tmp_path / "m.pt2", precision=Precision.FP16)
    with pytest.raises(ExportError, match=r"nowhere/m.onnx cannot be written \(No such file or directory\)"):
        export_model(weights, tmp_path / "nowhere" / "m.onnx")


def test_missing_packages_are_named_with_how_to_get_them(
    weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runtimes, "find_spec", lambda _: None)
    with pytest.raises(MissingPackageError, match=r"pip install onnx onnxruntime, or .*extra 'export'"):
        export_model(weights, tmp_path / "m.onnx")


@pytest.mark.parametrize("runtime", Runtime)
def test_a_device_that_is_not_here_is_an_error_that_names_those_that_are(runtime: Runtime) -> None:
    assert "cpu" in list_devices(runtime)
    with pytest.raises(ValueError, match=r"device 'vulkan' is not here .*choose auto, .*cpu"):
        open_model(runtime, b"", device="vulkan")
    with pytest.raises(RestoreError, match="cannot load the network"):
        open_model(runtime, b"nothing", device="cpu")


def test_the_command_exports_a_bundled_model(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    target = tmp_path / "x2.onnx"
    assert main(["export", "lightweight-x2", "-o", str(target), "--precision", "fp16"]) == 0
    assert "63×65: " in capsys.readouterr().out
    assert target.stat().st_size < 2_500_000
    assert main(["export", "lightweight-x2", "-o", str(target)]) == 1
    assert "exists: choose another name, or add --overwrite" in capsys.readouterr().err
