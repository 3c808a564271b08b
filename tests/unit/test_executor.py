"""What overlaps: what is queued where, what waits for what, and how long memory is held."""

import inspect
from collections.abc import Callable, Generator
from contextlib import contextmanager

import numpy as np
import pytest
import torch
from torch import Tensor

from streams import FakeGpu, MemoryReusedError, Pass
from swinir.engine.cuda_graphs import CudaGraphCache
from swinir.engine.cuda_streams import GpuStreams
from swinir.engine.executor import OverlappedExecutor, SerialExecutor

CPU = torch.device("cpu")


def enlarge(lq: Tensor) -> Tensor:
    """Stand for a network that enlarges twice."""
    return 3 * lq.repeat_interleave(2, dim=-1).repeat_interleave(2, dim=-2) + 1


def batches(count: int) -> list[list[np.ndarray]]:
    random = np.random.default_rng(0)
    return [[random.random((5, 7, 3), np.float32) for _ in range(2)] for _ in range(count)]


def overlapped(gpu: FakeGpu, forward: Callable[[Tensor], Tensor] = enlarge) -> OverlappedExecutor:
    graphs = CudaGraphCache(gpu, gpu.later(forward, 2))  # type: ignore[arg-type]
    return OverlappedExecutor(gpu, graphs, graphs)  # type: ignore[arg-type]


def serial() -> SerialExecutor:
    return SerialExecutor(CPU, Pass(enlarge))


def test_serial_executor_restores_what_it_is_given() -> None:
    (tiles,) = batches(1)
    executor = serial()
    restored = executor.send(tiles)()
    expected = enlarge(torch.from_numpy(np.stack(tiles)).permute(0, 3, 1, 2)).permute(0, 2, 3, 1).numpy()
    assert np.array_equal(restored.tiles, expected)
    assert restored.is_finite


@pytest.mark.parametrize("is_late", [False, True])
def test_overlapped_executor_returns_what_the_serial_one_does_however_late_streams_run(is_late: bool) -> None:
    executor, plain = overlapped(FakeGpu(is_late=is_late)), serial()
    given = batches(4)
    expected = [plain.send(tiles)().tiles for tiles in given]
    results = [executor.send(tiles) for tiles in given]
    for result, tiles in zip(results, expected, strict=True):
        restored = result()
        assert np.array_equal(restored.tiles, tiles)
        assert restored.is_finite


def test_results_may_be_asked_for_in_any_order() -> None:
    executor, plain = overlapped(FakeGpu(is_late=True)), serial()
    first, second = batches(2)
    first_result, second_result = executor.send(first), executor.send(second)
    assert np.array_equal(second_result().tiles, plain.send(second)().tiles)
    assert np.array_equal(first_result().tiles, plain.send(first)().tiles)


def test_nothing_waits_for_a_batch_that_is_not_asked_for() -> None:
    gpu = FakeGpu(is_late=True)
    executor = overlapped(gpu)
    first, second = batches(2)
    result, _ = executor.send(first), executor.send(second)
    assert gpu.log == []
    result()
    assert gpu.log == ["upload", "compute", "arrange", "download", "download"]


@pytest.mark.parametrize("value", [np.inf, -np.inf, np.nan])
@pytest.mark.parametrize("is_late", [False, True])
def test_one_value_that_is_not_finite_is_seen(value: float, is_late: bool) -> None:
    (tiles,) = batches(1)
    tiles[1][2, 3, 1] = value
    executor, plain = overlapped(FakeGpu(is_late=is_late)), serial()
    assert not executor.send(tiles)().is_finite
    assert not plain.send(tiles)().is_finite


def test_a_batch_that_fails_takes_nothing_from_the_one_before_it() -> None:
    gpu = FakeGpu(is_late=True)
    executor, plain = overlapped(gpu), serial()
    first, second = batches(2)

    def fail(_: Tensor) -> Tensor:
        raise torch.OutOfMemoryError("CUDA out of memory")

    result = executor.send(first)
    with pytest.raises(torch.OutOfMemoryError):
        executor.send(second, fail)
    assert np.array_equal(result().tiles, plain.send(first)().tiles)


def test_this_gpu_notices_memory_that_is_dropped_too_early() -> None:
    gpu = FakeGpu(is_late=True)
    with gpu.on(gpu.uploads):
        lq = gpu.upload(torch.ones(1, 1, 4, 4))
        uploaded = gpu.record_event()
    with gpu.on(gpu.computing):
        gpu.wait_event(uploaded)
        gpu.later(enlarge, 2)(lq.view(1, 1, 4, 4))
        del lq
    with pytest.raises(MemoryReusedError):
        gpu.synchronize()


def test_this_gpu_takes_what_the_real_one_takes() -> None:
    for name, method in inspect.getmembers(GpuStreams, inspect.isfunction):
        if not name.startswith("_"):
            played = inspect.signature(getattr(FakeGpu, name))
            assert list(played.parameters) == list(inspect.signature(method).parameters), name


class LoggingStream:
    """Lists what waits for what."""

    device = torch.device("cuda")

    def __init__(self, log: list[str], name: str) -> None:
        self.log = log
        self.name = name

    def wait_stream(self, other: "LoggingStream") -> None:
        self.log.append(f"{self.name} waits for {other.name}")


class SharedTensor(torch.Tensor):
    """Lists the streams beside its own that use it."""

    def record_stream(self, stream: LoggingStream) -> None:
        stream.log.append(f"{stream.name} uses the result")


def test_a_batch_on_the_device_runs_between_what_its_caller_queues(monkeypatch: pytest.MonkeyPatch) -> None:
    log: list[str] = []
    streams = [LoggingStream(log, "outside")]

    @contextmanager
    def on(stream: LoggingStream) -> Generator[None]:
        streams.append(stream)
        yield
        streams.pop()

    def forward(lq: Tensor) -> Tensor:
        log.append(f"computed {streams[-1].name}")
        return lq

    monkeypatch.setattr(torch.cuda, "Stream", lambda _: LoggingStream(log, "inside"))
    monkeypatch.setattr(torch.cuda, "current_stream", lambda _: streams[-1])
    gpu = GpuStreams(torch.device("cuda"))
    log.clear()
    monkeypatch.setattr(gpu, "on", on)
    gpu.compute_for_caller(forward, torch.zeros(1).as_subclass(SharedTensor))
    assert log == [
        "inside waits for outside",
        "computed inside",
        "outside waits for inside",
        "outside uses the result",
    ]
