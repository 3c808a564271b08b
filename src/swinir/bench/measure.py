"""Times and memory: interleaved rounds, quantiles, matrix products as the limit, peaks."""

import ctypes
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

# Pools of threads that wait actively for more work (OpenMP, TBB) have gone to sleep after this long.
PAUSE_S = 0.05
# Matrix products in a row that make one sample.
GEMMS_PER_SAMPLE = 3
# Between samples of the memory, where the kernel does not keep its highest value.
_SAMPLE_EVERY_S = 0.002

_CLEAR_PEAK = Path("/proc/self/clear_refs")
_STATUS = Path("/proc/self/status")
# What /proc/self/clear_refs takes as the order to forget the highest value (proc(5)).
_FORGET_PEAK = "5"


class Quantiles(NamedTuple):
    """Of every five samples, one is faster than ``p20`` and one slower than ``p80``."""

    p20: float
    p50: float
    p80: float


def quantiles(samples: Sequence[float]) -> Quantiles:
    """Draw the quantiles of at least one sample, linear between neighbours."""
    return Quantiles(*(float(value) for value in np.quantile(samples, (0.2, 0.5, 0.8))))


def time_interleaved(
    runs: Mapping[str, Callable[[], object]],
    *,
    rounds: int,
    pause_s: float = PAUSE_S,
    progress: Callable[[int, int], None] | None = None,
    measure_seconds: Callable[[Callable[[], object]], float],
    sleep: Callable[[float], None] = time.sleep,
) -> dict[str, list[float]]:
    """Time every run once in each round, in turn, so that a change of the machine's speed meets all alike.

    Returns:
        Seconds by name, one for each round.
    """
    samples: dict[str, list[float]] = {name: [] for name in runs}
    for done in range(rounds):
        for index, (name, run) in enumerate(runs.items()):
            sleep(pause_s)
            samples[name].append(measure_seconds(run))
            if progress is not None:
                progress(done * len(runs) + index + 1, rounds * len(runs))
    return samples


def make_gemm(dtype: torch.dtype, size: int, device: torch.device) -> Callable[[], object]:
    """Return the run that measures the device's limit: products of square matrices by PyTorch."""
    generator = torch.Generator().manual_seed(0)
    a, b = (torch.randn(size, size, generator=generator).to(device, dtype) for _ in range(2))

    def run() -> None:
        for _ in range(GEMMS_PER_SAMPLE):
            torch.mm(a, b)

    return run


def count_gemm_flop(size: int) -> int:
    """Count the floating-point operations of one run of ``make_gemm``."""
    return GEMMS_PER_SAMPLE * 2 * size**3


def read_resident_bytes() -> int | None:
    """Return this process's resident memory, freed pages returned first; None where the system does not say."""
    _return_freed_pages()
    return _read_status_bytes("VmRSS")


def measure_peak(run: Callable[[], object]) -> int | None:
    """Run, and return the peak of this process's resident memory meanwhile; None where the system does not say."""
    _return_freed_pages()
    try:
        _CLEAR_PEAK.write_text(_FORGET_PEAK)
    except OSError:
        return _sample_peak(run, partial(_read_status_bytes, "VmRSS"))
    run()
    return _read_status_bytes("VmHWM")


def _sample_peak(run: Callable[[], object], read: Callable[[], int | None]) -> int | None:
    """Sample the memory while ``run`` runs: short peaks may be missed."""
    samples: list[int | None] = [read()]
    has_ended = threading.Event()

    def keep_sampling() -> None:
        while not has_ended.wait(_SAMPLE_EVERY_S):
            samples.append(read())

    watcher = threading.Thread(target=keep_sampling, daemon=True)
    watcher.start()
    try:
        run()
    finally:
        has_ended.set()
        watcher.join()
    return max((value for value in samples if value is not None), default=None)


def _read_status_bytes(field: str) -> int | None:
    """Read a line such as "VmRSS:  1234 kB" of the kernel's account of this process."""
    try:
        lines = _STATUS.read_text().splitlines()
    except OSError:
        return None
    found = [line.split()[1] for line in lines if line.startswith(f"{field}:")]
    return int(found[0]) * 1024 if found else None


def _return_freed_pages() -> None:
    """Make the C library return freed memory to the system: kept pages would hide what is allocated next."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)
