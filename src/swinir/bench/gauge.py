"""How time and memory are taken: by the clock and the kernel's account on a processor, by events on a GPU."""

import shutil
import subprocess
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any, Protocol

import torch
from torch import Tensor

from swinir.bench import measure
from swinir.engine import Restorer
from swinir.engine.hardware import Precision

Run = Callable[[], object]


class Gauge(Protocol):
    """Takes time and memory on one kind of device.

    ``limits`` are the precisions whose matrix products are measured, of ``product_size``³; ``warm_ups`` how often
    somebody runs before he is timed; ``pause_s`` how long others' threads need to fall asleep.
    """

    limits: tuple[Precision, ...]
    product_size: int
    warm_ups: int
    pause_s: float

    def seconds_of(self, run: Run) -> float:
        """Run, and return how long it took."""
        ...

    def bytes_in_use(self) -> int | None:
        """Memory that is taken now; None where nothing tells."""
        ...

    def peak_during(self, run: Run) -> int | None:
        """Run, and return the most memory that was taken meanwhile; None where nothing tells."""
        ...

    def describe(self) -> dict[str, Any]:
        """Tell what a reader must know of the device beside the machine around it, as JSON values."""
        ...


class ProcessorGauge:
    """Wall-clock time, and this process's memory."""

    limits: tuple[Precision, ...] = (Precision.FP32, Precision.BF16)
    product_size = 2048
    warm_ups = 1
    pause_s = measure.PAUSE_S

    def seconds_of(self, run: Run) -> float:
        """Run by the clock."""
        began = time.perf_counter()
        run()
        return time.perf_counter() - began

    def bytes_in_use(self) -> int | None:
        """Return what is in RAM."""
        return measure.resident_bytes()

    def peak_during(self, run: Run) -> int | None:
        """Run, and return the most that was in RAM."""
        return measure.peak_during(run)

    def describe(self) -> dict[str, Any]:
        """Add nothing."""
        return {}


class GpuGauge:
    """Events before and behind what a run queues on the current stream, and PyTorch's account of the GPU's memory.

    Memory that libraries take by themselves, and recorded graphs keep, is not in that account.
    """

    limits: tuple[Precision, ...] = (Precision.FP32, Precision.BF16, Precision.FP16)
    product_size = 8192
    # One to load what is needed, one that may be recorded, one that is as all others will be.
    warm_ups = 3
    pause_s = 0.0

    def __init__(self, device: torch.device) -> None:
        self._device = device

    def seconds_of(self, run: Run) -> float:
        """Run between two events."""
        with torch.cuda.device(self._device):
            began, ended = (torch.cuda.Event(enable_timing=True) for _ in range(2))
            began.record()
            run()
            ended.record()
            ended.synchronize()
            return began.elapsed_time(ended) / 1e3

    def bytes_in_use(self) -> int | None:
        """Return what tensors take."""
        torch.cuda.synchronize(self._device)
        return torch.cuda.memory_allocated(self._device)

    def peak_during(self, run: Run) -> int | None:
        """Run, and return the most that tensors took."""
        torch.cuda.synchronize(self._device)
        torch.cuda.reset_peak_memory_stats(self._device)
        run()
        torch.cuda.synchronize(self._device)
        return torch.cuda.max_memory_allocated(self._device)

    def describe(self) -> dict[str, Any]:
        """Name the card, and what drives it."""
        properties = torch.cuda.get_device_properties(self._device)
        return {
            "gpu": properties.name,
            "gpu_capability": f"{properties.major}.{properties.minor}",
            "gpu_memory_bytes": properties.total_memory,
            "driver": driver_version(),
            "cuda": torch.version.cuda,
            "cudnn": torch.backends.cudnn.version(),
            "triton": _triton_version(),
        }


def gauge_of(device: torch.device) -> Gauge:
    """Choose how to measure on a device."""
    return GpuGauge(device) if device.type == "cuda" else ProcessorGauge()


def exactly() -> AbstractContextManager[None]:
    """Have cuDNN convolve float32 as it is: by itself it rounds to TF32, which has three digits."""
    return torch.backends.cudnn.flags(enabled=True, allow_tf32=False)


def restore_on_lane(restorer: Restorer, image: Tensor, *, may_record: bool = True) -> Tensor:
    """Run the pass of one batch, without what is around it, as the Restorer does: on its stream, recorded or not.

    This is the one place that reaches for it. The current stream waits for the result. Without ``may_record`` each
    kernel is launched.
    """
    lane = restorer._lane  # pyright: ignore[reportPrivateUsage]
    run = lane.run if may_record else restorer._forward  # pyright: ignore[reportPrivateUsage]
    if image.device.type != "cuda":
        return run(image)
    outside = torch.cuda.current_stream(image.device)
    with lane.in_order():
        inside = torch.cuda.current_stream(image.device)
        inside.wait_stream(outside)
        restored = run(image)
    outside.wait_stream(inside)
    # Its memory is the other stream's to use again.
    restored.record_stream(outside)
    return restored


def driver_version() -> str | None:
    """Ask the driver's own tool for its version; None where it is missing or says nothing."""
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


def _triton_version() -> str | None:
    try:
        import triton  # noqa: PLC0415
    except ImportError:
        return None
    return triton.__version__
