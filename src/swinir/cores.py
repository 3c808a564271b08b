"""Cores that the threads of PyTorch and those of the native kernels share."""

import os

# Rounds that an idle thread of GNU's OpenMP waits spinning: some 20 µs, where the default is milliseconds.
_SPIN_COUNT = "5000"


def share_cores() -> None:
    """Let PyTorch's idle threads leave the cores to the kernels' threads; to be called before torch is imported.

    PyTorch's threads are GNU's OpenMP, which reads its environment when it is loaded and spins between two pieces of
    work, on the cores that other threads then lack: a training step on two cores took a quarter longer. What the
    environment says already stays.
    """
    if "OMP_WAIT_POLICY" not in os.environ:
        os.environ.setdefault("GOMP_SPINCOUNT", _SPIN_COUNT)
