"""What is timed on a GPU lies between its events, and memory is counted from a mark of its own."""

import pytest
import torch

from swinir.bench import check_names
from swinir.bench.gauge import GpuGauge, ProcessorGauge, gauge_of
from swinir.bench.sitting import warm_up
from swinir.engine.hardware import Precision
from unit.test_bench_sitting import contender

GPU = torch.device("cuda", 1)


class Card:
    """Stands in for torch.cuda: a log of what was asked of it, and a clock that runs do turn."""

    def __init__(self, log: list[str]) -> None:
        self.log = log
        self.now_ms = 0.0
        self.bytes = 100
        self.peak = 0

    def Event(self, *, enable_timing: bool) -> "Event":  # noqa: N802 - PyTorch's name
        assert enable_timing
        return Event(self)

    def device(self, device: torch.device):
        assert device == GPU
        return torch.no_grad()

    def synchronize(self, device: torch.device) -> None:
        self.log.append("synchronize")

    def reset_peak_memory_stats(self, device: torch.device) -> None:
        self.peak = self.bytes

    def memory_allocated(self, device: torch.device) -> int:
        return self.bytes

    def max_memory_allocated(self, device: torch.device) -> int:
        return self.peak


class Event:
    def __init__(self, card: Card) -> None:
        self.card = card

    def record(self) -> None:
        self.at_ms = self.card.now_ms

    def synchronize(self) -> None:
        self.card.log.append("reached")

    def elapsed_time(self, end: "Event") -> float:
        assert self.card.log[-1] == "reached"
        return end.at_ms - self.at_ms


@pytest.fixture
def card(monkeypatch):
    card = Card([])
    for name in ("Event", "device", "synchronize", "reset_peak_memory_stats"):
        monkeypatch.setattr(torch.cuda, name, getattr(card, name))
    for name in ("memory_allocated", "max_memory_allocated"):
        monkeypatch.setattr(torch.cuda, name, getattr(card, name))
    return card


def test_each_device_has_its_gauge():
    assert isinstance(gauge_of(torch.device("cpu")), ProcessorGauge)
    assert isinstance(gauge_of(GPU), GpuGauge)


def test_seconds_lie_between_two_events(card):
    def run():
        card.now_ms += 250.0

    card.now_ms = 7.0
    assert GpuGauge(GPU).seconds_of(run) == 0.25


def test_the_peak_is_that_of_the_run_alone(card):
    def run():
        card.peak = max(card.peak, card.bytes + 50)

    card.peak = 9999
    assert GpuGauge(GPU).peak_during(run) == 150


def test_a_contender_is_warm_when_it_is_timed_and_its_first_pass_is_weighed(card):
    class Image(torch.Tensor):
        device = GPU

    passes = []

    def restore(image):
        # The first pass takes most; later ones are recorded, and tell nothing.
        passes.append(image)
        card.peak = max(card.peak, card.bytes + (70 if len(passes) == 1 else 0))
        return torch.tensor(float(len(passes)))

    image = torch.zeros(1, 1, 2, 2).as_subclass(Image)
    peak, restored = warm_up(contender(restore=restore), image, GpuGauge(GPU))
    assert (peak, restored.item(), len(passes)) == (70, 3.0, GpuGauge.warm_ups)


@pytest.mark.parametrize("name", ["onnxruntime", "openvino"])
def test_runtimes_of_processors_are_refused_on_a_gpu(name):
    with pytest.raises(ValueError, match=f"contender '{name}' computes on the CPU here"):
        check_names([name], GPU)


def test_limits_are_of_what_a_device_computes_in():
    assert set(ProcessorGauge.limits) == {Precision.FP32, Precision.BF16}
    assert set(GpuGauge.limits) == set(Precision)
