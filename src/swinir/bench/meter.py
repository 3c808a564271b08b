"""How time and memory are measured: wall clock and the kernel's account on a CPU, events on a GPU."""

import shutil
import subprocess
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any, Protocol, runtime_checkable

import torch

from swinir.bench import measure
from swinir.options import Precision
from swinir.provenance import find_version

Run = Callable[[], object]


@runtime_checkable
class Meter(Protocol):
    """Measures time and memory on one kind of device.

    Attributes:
        gemm_precisions: the precisions in which matrix products are timed.
        gemm_size: their side.
        warm_ups: runs before the first one that is timed.
        pause_s: between runs, so that threads that wait actively fall asleep.
    """

    gemm_precisions: tuple[Precision, ...]
    gemm_size: int
    warm_ups: int
    pause_s: float

    def measure_seconds(self, run: Run) -> float:
        """Run, and return how long it took."""
        ...

    def bytes_in_use(self) -> int | None:
        """Return the memory in use; None where the system does not report it."""
        ...

    def measure_peak(self, run: Run) -> int | None:
        """Run, and return the peak memory meanwhile; None where the system does not report it."""
        ...

    def describe(self) -> dict[str, Any]:
        """Return facts about the device that provenance does not hold, as JSON values."""
        ...


class CpuMeter:
    """Wall-clock time, and this process's memory."""

    gemm_precisions: tuple[Precision, ...] = (Precision.FP32, Precision.BF16)
    gemm_size = 2048
    warm_ups = 1
    pause_s = measure.PAUSE_S

    def measure_seconds(self, run: Run) -> float:
        """Run, and return the wall-clock time."""
        began = time.perf_counter()
        run()
        return time.perf_counter() - began

    def bytes_in_use(self) -> int | None:
        """Return the resident memory."""
        return measure.read_resident_bytes()

    def measure_peak(self, run: Run) -> int | None:
        """Run, and return the peak of the resident memory."""
        return measure.measure_peak(run)

    def describe(self) -> dict[str, Any]:
        """Return nothing: provenance names the CPU."""
        return {}


class GpuMeter:
    """Events around a run on the current stream, and the memory of PyTorch's allocator.

    Memory that libraries allocate themselves, and that recorded graphs keep, is not counted by the allocator.
    """

    gemm_precisions: tuple[Precision, ...] = (Precision.FP32, Precision.BF16, Precision.FP16)
    gemm_size = 8192
    # One loads kernels, one may be recorded as a graph, one runs as all later ones will.
    warm_ups = 3
    pause_s = 0.0

    def __init__(self, device: torch.device) -> None:
        self._device = device

    def measure_seconds(self, run: Run) -> float:
        """Run between two events."""
        with torch.cuda.device(self._device):
            began, ended = (torch.cuda.Event(enable_timing=True) for _ in range(2))
            began.record()
            run()
            ended.record()
            ended.synchronize()
            return began.elapsed_time(ended) / 1e3

    def bytes_in_use(self) -> int | None:
        """Return the memory of all tensors."""
        torch.cuda.synchronize(self._device)
        return torch.cuda.memory_allocated(self._device)

    def measure_peak(self, run: Run) -> int | None:
        """Run, and return the peak memory of all tensors."""
        torch.cuda.synchronize(self._device)
        torch.cuda.reset_peak_memory_stats(self._device)
        run()
        torch.cuda.synchronize(self._device)
        return torch.cuda.max_memory_allocated(self._device)

    def describe(self) -> dict[str, Any]:
        """Return the card, its driver and libraries."""
        properties = torch.cuda.get_device_properties(self._device)
        return {
            "gpu": properties.name,
            "gpu_capability": f"{properties.major}.{properties.minor}",
            "gpu_memory_bytes": properties.total_memory,
            "driver": read_driver_version(),
            "cuda": torch.version.cuda,
            "cudnn": torch.backends.cudnn.version(),
            "triton": find_version("triton"),
        }


def choose_meter(device: torch.device) -> Meter:
    """Return the meter for a device."""
    return GpuMeter(device) if device.type == "cuda" else CpuMeter()


def without_tf32() -> AbstractContextManager[None]:
    """Make cuDNN convolve in full float32 inside the block: its default rounds to TF32, which has three digits."""
    return torch.backends.cudnn.flags(enabled=True, allow_tf32=False)


def read_driver_version() -> str | None:
    """Return the version that nvidia-smi reports; None where the tool is missing or reports none."""
    if (tool := shutil.which("nvidia-smi")) is None:
        return None
    asked = subprocess.run(
        [tool, "--query-gpu=driver_version", "--format=csv,noheader"],
        capture_output=True,
        text=True,
        check=False,
    )
    # A line for each GPU, and one driver for all.
    return next(iter(asked.stdout.split()), None) if asked.returncode == 0 else None
