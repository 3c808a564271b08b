"""Passes that are recorded when their shape comes again: when, which, how many, and what a failure does."""

import logging
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from streams import FakeGpu, Recorded
from swinir.engine import cuda_graphs
from swinir.engine.cuda_graphs import PAUSE_S, CudaGraphCache


class Network:
    """Lists what it computes, and what a replay counts: all four layers of each image at once."""

    num_layers = 4

    def __init__(self, gpu: FakeGpu) -> None:
        self.seen: list[tuple[int, ...]] = []
        self.replayed: list[int] = []
        self.now_s = 0.0
        self.cache = CudaGraphCache(gpu, self, clock=lambda: self.now_s)  # type: ignore[arg-type]

    def __call__(self, lq: Tensor, on_layers: Callable[[int], None] | None = None) -> Tensor:
        if on_layers is not None:
            self.seen.append(tuple(lq.shape))
        return 2 * lq + 1

    def run(self, lq: Tensor) -> Tensor:
        return self.cache(lq, self.replayed.append)


@pytest.fixture
def gpu() -> FakeGpu:
    return FakeGpu()


def image(batch: int = 2, height: int = 8, width: int = 16) -> Tensor:
    return torch.rand(batch, 3, height, width)


def test_a_shape_is_recorded_when_it_comes_again_and_replayed_from_then_on(gpu: FakeGpu) -> None:
    network = Network(gpu)
    for _ in range(5):
        lq = image()
        assert torch.equal(network.run(lq), 2 * lq + 1)
    assert gpu.captures == [(2, 3, 8, 16)]
    assert network.seen == 2 * [(2, 3, 8, 16)]
    assert network.replayed == [8, 8, 8]


def test_a_shape_that_comes_once_is_not_recorded(gpu: FakeGpu) -> None:
    network = Network(gpu)
    for width in range(8, 80, 8):
        network.run(image(width=width))
    assert gpu.captures == []


def test_a_batch_so_large_that_launching_costs_nothing_is_not_recorded(
    gpu: FakeGpu, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cuda_graphs, "MOST_PIXELS", 2 * 8 * 16)
    network = Network(gpu)
    for _ in range(2):
        network.run(image())
        network.run(image(batch=3))
    assert gpu.captures == [(2, 3, 8, 16)]


def test_the_graph_that_was_used_longest_ago_makes_room(
    gpu: FakeGpu, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cuda_graphs, "MOST_GRAPHS", 2)
    network = Network(gpu)
    for width in (8, 16, 8, 24):
        for _ in range(2):
            network.run(image(width=width))
    network.replayed.clear()
    network.run(image(width=8))
    network.run(image(width=24))
    assert network.replayed == [8, 8]
    network.run(image(width=16))
    assert network.replayed == [8, 8]


def test_graphs_share_memory_with_one_that_is_kept(gpu: FakeGpu, monkeypatch: pytest.MonkeyPatch) -> None:
    beside: list[Recorded | None] = []
    capture = gpu.capture
    monkeypatch.setattr(gpu, "capture", lambda *given: beside.append(given[2]) or capture(*given))
    network = Network(gpu)
    for width in (8, 16):
        for _ in range(2):
            network.run(image(width=width))
    assert beside[0] is None
    assert isinstance(beside[1], Recorded)


def test_what_cannot_be_recorded_runs_as_it_is_from_then_on_and_is_logged_once(
    gpu: FakeGpu, caplog: pytest.LogCaptureFixture
) -> None:
    gpu.problem = RuntimeError("operation not permitted when stream is capturing\nmore")
    network = Network(gpu)
    with caplog.at_level(logging.WARNING):
        for _ in range(4):
            for width in (8, 16):
                lq = image(width=width)
                assert torch.equal(network.run(lq), 2 * lq + 1)
            network.now_s += PAUSE_S
    assert len(gpu.captures) == 1
    assert network.replayed == []
    (record,) = caplog.records
    assert "operation not permitted" in record.getMessage()
    assert "\n" not in record.getMessage()


def test_memory_too_short_to_record_pauses_recording(gpu: FakeGpu) -> None:
    gpu.problem = torch.OutOfMemoryError("CUDA out of memory. Tried to allocate")
    network = Network(gpu)
    for _ in range(4):
        network.run(image())
    assert len(gpu.captures) == 1
    network.now_s += PAUSE_S
    gpu.problem = None
    for _ in range(2):
        network.run(image())
    assert len(gpu.captures) == 2
    assert network.replayed == [8]


def test_a_replay_that_gives_something_else_is_never_used(
    gpu: FakeGpu, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(gpu, "capture", lambda *_: Recorded(lambda lq: 2 * lq + 1.1))
    network = Network(gpu)
    for _ in range(4):
        lq = image()
        assert torch.equal(network.run(lq), 2 * lq + 1)
    assert "differs" in caplog.text


def test_an_overflow_is_not_taken_for_a_wrong_recording(gpu: FakeGpu) -> None:
    network = Network(gpu)
    for _ in range(3):
        network.run(torch.full((1, 3, 8, 8), torch.inf) * 0)
    assert network.replayed == [4]


def test_freed_graphs_are_recorded_again_after_a_pause(gpu: FakeGpu) -> None:
    network = Network(gpu)
    assert not network.cache.free()
    for _ in range(3):
        network.run(image())
    assert network.cache.free()
    assert not network.cache.free()
    for _ in range(3):
        network.run(image())
    assert len(gpu.captures) == 1
    network.now_s = PAUSE_S
    network.run(image())
    assert len(gpu.captures) == 2
    assert network.replayed == [8]
