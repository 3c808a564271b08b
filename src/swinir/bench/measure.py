"""Times and memory: rounds in which everybody has a turn, quantiles, the device's own limit, peaks."""

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
# Products in a row that make one sample.
PRODUCTS_PER_SAMPLE = 3
# How often memory is looked at where the kernel does not keep its highest value.
_LOOK_EVERY_S = 0.002

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


def interleaved(
    runs: Mapping[str, Callable[[], object]],
    *,
    rounds: int,
    pause_s: float = PAUSE_S,
    progress: Callable[[int, int], None] | None = None,
    seconds_of: Callable[[Callable[[], object]], float],
    sleep: Callable[[float], None] = time.sleep,
) -> dict[str, list[float]]:
    """Time every run once in each round, in turn, so that a change of the machine's speed meets all alike.

    Returns:
        Seconds by name, one for each round.
    """
    samples: dict[str, list[float]] = {name: [] for name in runs}
    for done in range(rounds):
        for turn, (name, run) in enumerate(runs.items()):
            sleep(pause_s)
            samples[name].append(seconds_of(run))
            if progress is not None:
                progress(done * len(runs) + turn + 1, rounds * len(runs))
    return samples


def matrix_product(dtype: torch.dtype, size: int, device: torch.device) -> Callable[[], object]:
    """Make the run that measures the device's limit: products of square matrices by PyTorch."""
    generator = torch.Generator().manual_seed(0)
    a, b = (torch.randn(size, size, generator=generator).to(device, dtype) for _ in range(2))

    def run() -> None:
        for _ in range(PRODUCTS_PER_SAMPLE):
            torch.mm(a, b)

    return run


def product_flops(size: int) -> int:
    """Floating-point operations of one run of ``matrix_product``."""
    return PRODUCTS_PER_SAMPLE * 2 * size**3


def resident_bytes() -> int | None:
    """Memory of this process that is in RAM now, freed pages given back first; None where nothing tells."""
    _give_back_freed()
    return _status_bytes("VmRSS")


def peak_during(run: Callable[[], object]) -> int | None:
    """Run, and return the most memory of this process that was in RAM meanwhile; None where nothing tells."""
    _give_back_freed()
    try:
        _CLEAR_PEAK.write_text(_FORGET_PEAK)
    except OSError:
        return _peak_looked_for(run, partial(_status_bytes, "VmRSS"))
    run()
    return _status_bytes("VmHWM")


def _peak_looked_for(run: Callable[[], object], look: Callable[[], int | None]) -> int | None:
    """Look again and again while ``run`` runs: short peaks may be missed."""
    seen: list[int | None] = [look()]
    is_over = threading.Event()

    def keep_looking() -> None:
        while not is_over.wait(_LOOK_EVERY_S):
            seen.append(look())

    watcher = threading.Thread(target=keep_looking, daemon=True)
    watcher.start()
    try:
        run()
    finally:
        is_over.set()
        watcher.join()
    return max((value for value in seen if value is not None), default=None)


def _status_bytes(field: str) -> int | None:
    """Read a line such as "VmRSS:  1234 kB" of the kernel's account of this process."""
    try:
        lines = _STATUS.read_text().splitlines()
    except OSError:
        return None
    found = [line.split()[1] for line in lines if line.startswith(f"{field}:")]
    return int(found[0]) * 1024 if found else None


def _give_back_freed() -> None:
    """Have the C library return what it keeps of freed memory, which would hide what is taken next."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)
