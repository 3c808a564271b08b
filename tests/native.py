"""The native CPU kernels for tests: each instruction set, its tolerance, and what kernels of all kinds promise."""

from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import torch

from swinir.ops import native

LIBRARY = native.load_library()
# Largest error over the largest value: of a layer's result, what it adds to its input is measured. Asked are 2e-5
# and 1e-2.
TOLERANCE_FP32, TOLERANCE_BF16 = 5e-6, 1e-2


def isas() -> list:
    if isinstance(LIBRARY, str):
        return [pytest.param(None, id="native", marks=pytest.mark.skip(reason=LIBRARY))]
    elsewhere = pytest.mark.skip(reason="this processor does not have it")
    return [
        pytest.param(isa, id=isa.name, marks=() if isa.runs_here else elsewhere) for isa in LIBRARY.isas()
    ]


def tolerance(packer: native.Packer, of_fp32: float = TOLERANCE_FP32) -> float:
    return max(of_fp32, TOLERANCE_BF16) if packer.isa.is_bf16 else of_fp32


@contextmanager
def threads(count: int) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def fenced(values: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Copy values between NaNs, to an address that suits no vector; return the copy and what is on its sides."""
    fence = 1001
    memory = torch.full((values.numel() + 2 * fence,), torch.nan)
    memory[fence:-fence] = values.flatten()
    return memory[fence:-fence].view(values.shape), memory[:fence], memory[-fence:]
