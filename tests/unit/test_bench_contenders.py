"""Who can be compared with, and that each restores what we do."""

import importlib.util
import time
from collections.abc import Callable
from dataclasses import replace

import pytest
import torch

from swinir import Restorer, SwinIR, SwinIRConfig
from swinir.bench import CONTENDERS, Task, check_names, contenders, original
from swinir.bench.sitting import LARGEST_RELATIVE_ERROR, difference, random_image
from swinir.engine.hardware import Precision
from swinir.errors import MissingPackageError
from swinir.ops import LayerGeometry

TINY = SwinIRConfig(
    scale=2,
    in_channels=3,
    embed_dim=12,
    depths=(2,),
    num_heads=(2,),
    upsampler="pixelshuffledirect",
)
NEEDED = {"onnxruntime": ("onnxruntime", "onnxscript"), "openvino": ("openvino", "onnxscript")}


def task_of(config: SwinIRConfig, precision: str = "fp32") -> Task:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        state_dict = SwinIR(config).state_dict()
    return Task(
        restorer=Restorer(config, state_dict, device="cpu", precision=precision),
        state_dict=state_dict,
        image=random_image(config.in_channels, (17, 24), torch.Generator().manual_seed(0)),
        threads=torch.get_num_threads(),
    )


@pytest.mark.parametrize(
    ("name", "nearest"), [("openvin", "but openvino"), ("onnx", "but onnxruntime"), ("", "")]
)
def test_an_unknown_contender_is_an_error_that_names_the_nearest(name: str, nearest: str) -> None:
    with pytest.raises(ValueError, match=rf"no contender '{name}'{', ' if nearest else ''}{nearest}.*rcan"):
        check_names([name], torch.device("cpu"))


def test_a_contender_is_named_once() -> None:
    with pytest.raises(ValueError, match="'rcan' is named twice"):
        check_names(["rcan", "original", "rcan"], torch.device("cpu"))


@pytest.mark.parametrize("name", NEEDED)
def test_a_missing_package_is_named_with_how_to_get_it(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(contenders, "find_spec", lambda _: None)
    with pytest.raises(MissingPackageError, match=rf"{name} needs .*pip install onnx onnxscript {name}"):
        check_names(["reference", name], torch.device("cpu"))


def test_compile_asks_for_a_compiler(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CXX", "no-such-compiler")
    with pytest.raises(MissingPackageError, match="compile needs a C\\+\\+ compiler"):
        check_names(["compile"], torch.device("cpu"))


@pytest.mark.parametrize("name", ["reference", "original", "original-kept-masks", "swinir-no-graphs"])
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_the_same_network_gives_the_same_picture(name: str, precision: str) -> None:
    task = task_of(TINY, precision)
    expected = contenders.reference(task, Precision.FP32).restore(task.image)
    found = CONTENDERS[name](task).restore(task.image)
    assert difference(found, expected).relative_error <= LARGEST_RELATIVE_ERROR


def test_kept_masks_are_built_once_for_a_size(monkeypatch: pytest.MonkeyPatch) -> None:
    built: list[tuple[int, int]] = []

    def build(height: int, width: int, geometry: LayerGeometry, device: torch.device | None = None):
        built.append((height, width))
        return attention_mask(height, width, geometry, device)

    attention_mask = original.attention_mask
    monkeypatch.setattr(original, "attention_mask", build)
    original.kept_mask.cache_clear()
    task = task_of(replace(TINY, depths=(4,)))
    for _ in range(2):
        CONTENDERS["original"](task).restore(task.image)
    assert built == [(24, 24)] * 4
    built.clear()
    for _ in range(2):
        CONTENDERS["original-kept-masks"](task).restore(task.image)
    assert built == [(24, 24)]


def test_what_is_compiled_for_a_gpu_is_one_graph_that_copies_nothing_from_the_processor() -> None:
    graphs: list[torch.fx.GraphModule] = []

    def keep(graph: torch.fx.GraphModule, _inputs: list[torch.Tensor]) -> Callable[..., object]:
        graphs.append(graph)
        return graph.forward

    task = task_of(TINY)
    network = contenders.network(task, original.KEPT_MASKS)
    with torch.no_grad():
        traced = torch.compile(network, dynamic=False, fullgraph=True, backend=keep)(task.image)
    expected = contenders.reference(task, Precision.FP32).restore(task.image)
    assert difference(traced, expected).relative_error <= 1e-4
    (graph,) = graphs
    placed = [node.kwargs.get("device") for node in graph.graph.nodes if node.target is torch.zeros]
    assert placed == [task.image.device]
    assert not [node for node in graph.graph.nodes if node.target == "cpu"]


def test_a_batch_is_restored_image_by_image() -> None:
    task = task_of(TINY)
    batch = replace(task, image=random_image(3, (17, 24), torch.Generator().manual_seed(1), batch=3))
    for name in ("original", "original-kept-masks"):
        one_by_one = torch.cat([CONTENDERS[name](task).restore(image[None]) for image in batch.image])
        assert difference(CONTENDERS[name](batch).restore(batch.image), one_by_one).relative_error <= 1e-5
    assert CONTENDERS["rcan"](batch).multiply_adds == 3 * CONTENDERS["rcan"](task).multiply_adds


def test_ours_is_what_restorer_computes() -> None:
    task = task_of(TINY)
    restored = contenders.ours(task).restore(task.image)[0].permute(1, 2, 0).clamp(0, 1)
    through_restorer = task.restorer(task.image[0].permute(1, 2, 0).contiguous().numpy())
    assert torch.equal(restored, torch.from_numpy(through_restorer))


@pytest.mark.slow
@pytest.mark.parametrize("name", NEEDED)
def test_other_runtimes_give_the_same_picture(name: str) -> None:
    for package in NEEDED[name]:
        if importlib.util.find_spec(package) is None:
            pytest.skip(f"needs {package}, which is not installed")
    task = task_of(TINY)
    expected = contenders.reference(task, Precision.FP32).restore(task.image)
    found = CONTENDERS[name](task).restore(task.image)
    assert difference(found, expected).relative_error <= 1e-4


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
    task = task_of(TINY)
    built = CONTENDERS["compile"](task)
    assert calls == [task.image.shape]
    expected = contenders.reference(task, Precision.FP32).restore(task.image)
    assert difference(built.restore(task.image), expected).relative_error <= 1e-4


def test_a_runtime_is_given_the_graph_it_is_faster_with(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(contenders, "onnx_bytes", lambda _, graph: graph.encode())

    def load(graph: bytes) -> Callable[[torch.Tensor], torch.Tensor]:
        def restore(image: torch.Tensor) -> torch.Tensor:
            time.sleep(0.0 if graph == b"reference" else 0.05)
            return image

        return restore

    assert contenders.fastest_graph(task_of(TINY), load)[0] == "reference"


def test_rcan_is_refused_where_nothing_is_enlarged() -> None:
    config = SwinIRConfig(
        scale=1, in_channels=1, embed_dim=12, depths=(1,), num_heads=(2,), upsampler="", window_size=7
    )
    with pytest.raises(ValueError, match="leave rcan out"):
        CONTENDERS["rcan"](task_of(config))
