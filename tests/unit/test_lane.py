"""How tiles travel: what is queued where, what waits for what, and who holds which memory how long."""

import inspect
from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor

from streams import FakeGpu, MemoryReusedError
from swinir.engine.cuda import Gpu
from swinir.engine.graphs import Graphs
from swinir.engine.lane import GpuLane, PlainLane

CPU = torch.device("cpu")


def enlarge(lq: Tensor) -> Tensor:
    """Stand for a network that enlarges twice."""
    return 3 * lq.repeat_interleave(2, dim=-1).repeat_interleave(2, dim=-2) + 1


def batches(count: int) -> list[list[np.ndarray]]:
    random = np.random.default_rng(0)
    return [[random.random((5, 7, 3), np.float32) for _ in range(2)] for _ in range(count)]


def lane_on(gpu: FakeGpu, forward: Callable[[Tensor], Tensor] = enlarge) -> GpuLane:
    run = gpu.later(forward, 2)
    return GpuLane(gpu, Graphs(gpu, run, uncounted=run, after_replay=lambda _: None))  # type: ignore[arg-type]


def test_plain_lane_restores_what_it_is_given() -> None:
    (tiles,) = batches(1)
    lane = PlainLane(CPU, enlarge)
    landing = lane.send(tiles, lane.run)()
    expected = enlarge(torch.from_numpy(np.stack(tiles)).permute(0, 3, 1, 2)).permute(0, 2, 3, 1).numpy()
    assert np.array_equal(landing.tiles, expected)
    assert landing.is_finite


@pytest.mark.parametrize("is_late", [False, True])
def test_gpu_lane_brings_back_what_the_plain_one_does_however_late_streams_run(is_late: bool) -> None:
    lane, plain = lane_on(FakeGpu(is_late=is_late)), PlainLane(CPU, enlarge)
    given = batches(4)
    expected = [plain.send(tiles, plain.run)().tiles for tiles in given]
    landings = [lane.send(tiles, lane.run) for tiles in given]
    for land, tiles in zip(landings, expected, strict=True):
        landing = land()
        assert np.array_equal(landing.tiles, tiles)
        assert landing.is_finite


def test_results_may_be_asked_for_in_any_order() -> None:
    lane, plain = lane_on(FakeGpu(is_late=True)), PlainLane(CPU, enlarge)
    first, second = batches(2)
    land_first, land_second = lane.send(first, lane.run), lane.send(second, lane.run)
    assert np.array_equal(land_second().tiles, plain.send(second, plain.run)().tiles)
    assert np.array_equal(land_first().tiles, plain.send(first, plain.run)().tiles)


def test_nothing_waits_for_a_batch_that_nobody_asks_for() -> None:
    gpu = FakeGpu(is_late=True)
    lane = lane_on(gpu)
    first, second = batches(2)
    land, _ = lane.send(first, lane.run), lane.send(second, lane.run)
    assert gpu.log == []
    land()
    assert gpu.log == ["upload", "compute", "arrange", "download", "download"]


@pytest.mark.parametrize("value", [np.inf, -np.inf, np.nan])
@pytest.mark.parametrize("is_late", [False, True])
def test_one_value_that_is_not_finite_is_seen(value: float, is_late: bool) -> None:
    (tiles,) = batches(1)
    tiles[1][2, 3, 1] = value
    lane, plain = lane_on(FakeGpu(is_late=is_late)), PlainLane(CPU, enlarge)
    assert not lane.send(tiles, lane.run)().is_finite
    assert not plain.send(tiles, plain.run)().is_finite


def test_a_batch_that_fails_takes_nothing_from_the_one_before_it() -> None:
    gpu = FakeGpu(is_late=True)
    lane, plain = lane_on(gpu), PlainLane(CPU, enlarge)
    first, second = batches(2)

    def fail(_: Tensor) -> Tensor:
        raise torch.OutOfMemoryError("CUDA out of memory")

    land = lane.send(first, lane.run)
    with pytest.raises(torch.OutOfMemoryError):
        lane.send(second, fail)
    assert np.array_equal(land().tiles, plain.send(first, plain.run)().tiles)


def test_this_gpu_notices_memory_that_is_dropped_too_early() -> None:
    gpu = FakeGpu(is_late=True)
    with gpu.on(gpu.uploads):
        lq = gpu.upload(torch.ones(1, 1, 4, 4))
        uploaded = gpu.mark()
    with gpu.on(gpu.computing):
        gpu.wait(uploaded)
        gpu.later(enlarge, 2)(lq.view(1, 1, 4, 4))
        del lq
    with pytest.raises(MemoryReusedError):
        gpu.finish()


def test_this_gpu_takes_what_the_real_one_takes() -> None:
    for name, method in inspect.getmembers(Gpu, inspect.isfunction):
        if not name.startswith("_"):
            played = inspect.signature(getattr(FakeGpu, name))
            assert list(played.parameters) == list(inspect.signature(method).parameters), name
