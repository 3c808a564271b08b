"""What memory there is, and what happens when it is not enough."""

import sys
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

import psutil
import torch

from swinir.engine.hardware import is_cpu
from swinir.errors import RestoreError

# Share of the memory that is free now which one forward pass may take: the rest is for the enlarged image,
# for reading and writing it, and for other programs.
FREE_MEMORY_FRACTION = 0.6
# Of PyTorch on the CPU, of CUDA and Triton, of cuBLAS and cuDNN; and all that oneDNN says where there is no memory
# for its code.
_SHORTAGES = ("can't allocate memory", "out of memory", "ALLOC_FAILED", "could not create a primitive")
# Taken for free on devices that cannot be asked.
_UNKNOWN_BYTES = 2 * 2**30


def available_bytes(device: torch.device) -> int:
    """Return the memory on ``device`` that is free right now."""
    if device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(device)
        # What PyTorch keeps for reuse is free for us too.
        return free + torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    if is_cpu(device):
        groups = groups_of_process(Path("/sys/fs/cgroup"), Path("/proc/self/cgroup"))
        return min([psutil.virtual_memory().available, *map(free_of_group, groups)])
    return _UNKNOWN_BYTES


def groups_of_process(root: Path, membership: Path) -> list[Path]:
    """Folders of the control groups that limit this process: its own, those around it, and version 1's."""
    lines = membership.read_text().splitlines() if membership.is_file() else []
    own = [line.split("::", 1)[1].strip("/") for line in lines if "::" in line]
    nested = [root / folder for path in own for folder in (Path(path), *Path(path).parents)]
    return [*nested, root, root / "memory"]


def free_of_group(folder: Path) -> int:
    """Read what a container's limit leaves (control groups, version 2 or 1); huge where there is no limit."""
    for limit_name, used_name, cache_name in (
        ("memory.max", "memory.current", "inactive_file"),
        ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
    ):
        limit_file = folder / limit_name
        if limit_file.is_file() and (limit := limit_file.read_text().strip()) != "max":
            used = int((folder / used_name).read_text())
            statistics = (folder / "memory.stat").read_text().split()
            counts = dict(zip(statistics[::2], statistics[1::2], strict=True))
            # Pages that only cache files are given up as soon as memory is needed.
            return max(int(limit) - used + int(counts.get(cache_name, 0)), 0)
    return sys.maxsize


@contextmanager
def oom_as_restore_error(device: torch.device) -> Generator[None]:
    """Raise a failed allocation as an error of ours, where there is nothing smaller to try.

    Raises:
        RestoreError: memory ran out.
    """
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        raise RestoreError(
            f"there is not enough memory on {device} for the network itself: close other programs, or choose "
            "another device"
        ) from error


def shortage_in(error: RuntimeError | MemoryError) -> RuntimeError | MemoryError:
    """Return an error that a failed allocation caused, without the frames that hold the tensors beside it.

    Raises:
        RuntimeError: it has another cause.
    """
    if not is_out_of_memory(error):
        raise error
    return error.with_traceback(None)


def is_out_of_memory(error: RuntimeError | MemoryError) -> bool:
    """Tell whether an allocation failed: PyTorch has a type for its own, and only texts for those of libraries."""
    return isinstance(error, torch.OutOfMemoryError | MemoryError) or any(
        text in str(error) for text in _SHORTAGES
    )
