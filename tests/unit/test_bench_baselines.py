"""Methods to compare with, and that each restores what ours does."""

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch

from swinir import Restorer, SwinIR, SwinIRConfig
from swinir.bench import BASELINES, Workload, baselines, check_names, original
from swinir.bench.comparison import LARGEST_RELATIVE_ERROR, compute_difference
from swinir.bench.workload import build_network, draw_image
from swinir.errors import MissingPackageError
from swinir.options import Precision

TINY = SwinIRConfig(
    scale=2,
    in_channels=3,
    embed_dim=12,
    depths=(2,),
    num_heads=(2,),
    upsampler="pixelshuffledirect",
)
RUNTIMES = ("onnxruntime", "openvino")


def make_workload(config: SwinIRConfig, precision: str = "fp32") -> Workload:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        state_dict = SwinIR(config).state_dict()
    return Workload(
        restorer=Restorer(config, state_dict, device="cpu", precision=precision),
        state_dict=state_dict,
        image=draw_image(config.in_channels, (17, 24), torch.Generator().manual_seed(0)),
        threads=torch.get_num_threads(),
    )


@pytest.mark.parametrize(
    ("name", "nearest"), [("openvin", "but openvino"), ("onnx", "but onnxruntime"), ("", "")]
)
def test_an_unknown_baseline_is_an_error_that_names_the_nearest(name: str, nearest: str) -> None:
    with pytest.raises(
        ValueError, match=rf"no baseline '{name}'{', ' if nearest else ''}{nearest}.*openvino"
    ):
        check_names([name], torch.device("cpu"))


def test_a_baseline_is_named_once() -> None:
    with pytest.raises(ValueError, match="'compile' is named twice"):
        check_names(["compile", "original", "compile"], torch.device("cpu"))


@pytest.mark.parametrize("name", RUNTIMES)
def test_a_missing_package_is_named_with_how_to_get_it(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("swinir.export.runtimes.find_spec", lambda _: None)
    with pytest.raises(MissingPackageError, match=rf"{name} needs .*pip install onnx {name}, .*'export'"):
        check_names(["reference", name], torch.device("cpu"))


def test_compile_asks_for_a_compiler(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CXX", "no-such-compiler")
    with pytest.raises(MissingPackageError, match="compile needs a C\\+\\+ compiler"):
        check_names(["compile"], torch.device("cpu"))


@pytest.mark.parametrize("name", ["reference", "original"])
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_the_same_network_gives_the_same_picture(name: str, precision: str) -> None:
    workload = make_workload(TINY, precision)
    expected = baselines.reference(workload, Precision.FP32).restore(workload.image)
    found = BASELINES[name](workload).restore(workload.image)
    assert compute_difference(found, expected).relative_error <= LARGEST_RELATIVE_ERROR


def test_what_is_compiled_for_a_gpu_is_one_graph_that_copies_nothing_from_the_processor() -> None:
    graphs: list[torch.fx.GraphModule] = []

    def keep(graph: torch.fx.GraphModule, _inputs: list[torch.Tensor]) -> Callable[..., object]:
        graphs.append(graph)
        return graph.forward

    workload = make_workload(TINY)
    network = build_network(workload, original.ORIGINAL_MANNER)
    with torch.no_grad():
        traced = torch.compile(network, dynamic=False, fullgraph=True, backend=keep)(workload.image)
    expected = baselines.reference(workload, Precision.FP32).restore(workload.image)
    assert compute_difference(traced, expected).relative_error <= 1e-4
    (graph,) = graphs
    placed = [node.kwargs.get("device") for node in graph.graph.nodes if node.target is torch.zeros]
    assert placed == [workload.image.device]
    assert not [node for node in graph.graph.nodes if node.target == "cpu"]


def test_a_batch_is_restored_image_by_image() -> None:
    workload = make_workload(TINY)
    batch = replace(workload, image=draw_image(3, (17, 24), torch.Generator().manual_seed(1), batch=3))
    one_by_one = torch.cat([BASELINES["original"](workload).restore(image[None]) for image in batch.image])
    at_once = BASELINES["original"](batch).restore(batch.image)
    assert compute_difference(at_once, one_by_one).relative_error <= 1e-5


def test_ours_is_what_restorer_computes_of_a_batch() -> None:
    workload = make_workload(TINY)
    restored = baselines.ours(workload).restore(workload.image)
    assert torch.equal(restored.clamp(0, 1), workload.restorer.restore_batch(workload.image))


@pytest.mark.parametrize("name", RUNTIMES)
def test_other_runtimes_give_the_same_picture(name: str) -> None:
    pytest.importorskip("onnx")
    pytest.importorskip(name)
    workload = make_workload(TINY)
    workload = replace(workload, image=draw_image(3, (17, 24), torch.Generator().manual_seed(1), batch=2))
    expected = baselines.reference(workload, Precision.FP32).restore(workload.image)
    found = BASELINES[name](workload).restore(workload.image)
    assert compute_difference(found, expected).relative_error <= 1e-4


def test_compiled_code_is_compiled_for_one_size_before_it_is_timed(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[torch.Size] = []

    def compile_in_no_time(
        module: torch.nn.Module, *, dynamic: bool, mode: str | None
    ) -> Callable[[torch.Tensor], torch.Tensor]:
        assert not dynamic
        assert mode is None

        def run(image: torch.Tensor) -> torch.Tensor:
            calls.append(image.shape)
            return module(image)

        return run

    monkeypatch.setattr(torch, "compile", compile_in_no_time)
    workload = make_workload(TINY)
    built = BASELINES["compile"](workload)
    assert calls == [workload.image.shape]
    expected = baselines.reference(workload, Precision.FP32).restore(workload.image)
    assert compute_difference(built.restore(workload.image), expected).relative_error <= 1e-4
