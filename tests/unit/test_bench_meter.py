"""What is timed on a GPU lies between its events, and memory is counted from a mark of its own."""

from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from swinir.bench import check_names
from swinir.bench.comparison import warm_up
from swinir.bench.meter import CpuMeter, GpuMeter, choose_meter, read_driver_version, without_tf32
from swinir.options import Precision
from unit.test_bench_comparison import make_method

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


class Image(torch.Tensor):
    """Says that it is on the GPU."""

    device = GPU


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


def test_each_device_has_its_meter():
    assert isinstance(choose_meter(torch.device("cpu")), CpuMeter)
    assert isinstance(choose_meter(GPU), GpuMeter)


def test_seconds_lie_between_two_events(card):
    def run():
        card.now_ms += 250.0

    card.now_ms = 7.0
    assert GpuMeter(GPU).measure_seconds(run) == 0.25


def test_the_peak_is_that_of_the_run_alone(card):
    def run():
        card.peak = max(card.peak, card.bytes + 50)

    card.peak = 9999
    assert GpuMeter(GPU).measure_peak(run) == 150


def test_a_method_is_warm_when_it_is_timed_and_its_first_pass_is_weighed(card):
    passes = []

    def restore(image):
        # The first pass takes most; later ones are recorded, and tell nothing.
        passes.append(image)
        card.peak = max(card.peak, card.bytes + (70 if len(passes) == 1 else 0))
        return torch.tensor(float(len(passes)))

    image = torch.zeros(1, 1, 2, 2).as_subclass(Image)
    peak, restored = warm_up(make_method(restore=restore), image, GpuMeter(GPU))
    assert (peak, restored.item(), len(passes)) == (70, 3.0, GpuMeter.warm_ups)


@pytest.mark.parametrize("name", ["onnxruntime", "openvino"])
def test_runtimes_of_processors_are_refused_on_a_gpu(name):
    with pytest.raises(ValueError, match=f"baseline '{name}' computes on the CPU here"):
        check_names([name], GPU)


def test_matrix_products_are_timed_in_every_precision_of_a_device():
    assert set(CpuMeter.gemm_precisions) == {Precision.FP32, Precision.BF16}
    assert set(GpuMeter.gemm_precisions) == set(Precision) - {Precision.AUTO}


def test_what_others_are_held_to_is_convolved_without_tf32():
    before = torch.backends.cudnn.allow_tf32, torch.backends.cudnn.enabled
    with without_tf32():
        assert torch.backends.cudnn.allow_tf32 is False
        assert torch.backends.cudnn.enabled is True
    assert (torch.backends.cudnn.allow_tf32, torch.backends.cudnn.enabled) == before


def install_tool(folder: Path, script: str) -> None:
    tool = folder / "nvidia-smi"
    tool.write_text(f"#!/bin/sh\n{script}\n")
    tool.chmod(0o755)


@pytest.mark.parametrize(
    ("script", "version"),
    [
        ("echo 580.65.06; echo 580.65.06", "580.65.06"),
        ("exit 0", None),
        ("echo 'cannot talk to the driver'; exit 9", None),
    ],
)
def test_the_drivers_own_tool_tells_its_version(script, version, tmp_path, monkeypatch):
    install_tool(tmp_path, script)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert read_driver_version() == version


def test_without_that_tool_the_driver_is_unknown(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    assert read_driver_version() is None


def test_the_card_and_all_that_drives_it_are_named(tmp_path, monkeypatch):
    install_tool(tmp_path, "echo 580.65.06")
    monkeypatch.setenv("PATH", str(tmp_path))
    properties = SimpleNamespace(name="NVIDIA H100 80GB HBM3", major=9, minor=0, total_memory=85_000_000_000)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda device: properties)
    monkeypatch.setattr(torch.version, "cuda", "13.0")
    monkeypatch.setattr(torch.backends.cudnn, "version", lambda: 91002)
    monkeypatch.setattr("swinir.bench.meter.find_version", lambda _: "3.7.1")
    assert GpuMeter(GPU).describe() == {
        "gpu": "NVIDIA H100 80GB HBM3",
        "gpu_capability": "9.0",
        "gpu_memory_bytes": 85_000_000_000,
        "driver": "580.65.06",
        "cuda": "13.0",
        "cudnn": 91002,
        "triton": "3.7.1",
    }
