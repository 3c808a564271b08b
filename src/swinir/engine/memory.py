"""What a forward pass costs and what there is: measured, so that an image is cut only where it must be."""

import sys
import weakref
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import torch
from jaxtyping import Float
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from swinir.engine import cuda
from swinir.errors import RestoreError
from swinir.ops.windows import padded_size

Result = TypeVar("Result")

# Share of the memory that is free now which one forward pass may take: the rest is for the enlarged image,
# for reading and writing it, and for other programs.
SHARE = 0.6
# Real peak of a process over the traced one. Measured on an x86 processor with PyTorch 2.13, fp32 and bf16:
# SwinIR-S 1.36 and 1.39 at 256×256, 1.10 and 1.27 at 512×512, 1.09 and 1.12 at 1000×750; SwinIR-M ×4 1.02 and
# 1.47 at 256×256; colour JPEG 1.33 in bf16 at 252×252. The rest is scratch memory inside kernels.
SAFETY = 1.5
# Of PyTorch on the CPU, of CUDA and Triton, and of cuBLAS and cuDNN.
_SHORTAGES = ("can't allocate memory", "out of memory", "ALLOC_FAILED")
# Where nothing tells what is free.
_UNKNOWN_BYTES = 2 * 2**30
# Sides of the two images that are traced, in windows: both have layers with inner and with border windows.
_TRACED_WINDOWS = (3, 6)
# The least side of a tile that memory decides, in windows: smaller ones are mostly overlap.
_LEAST_WINDOWS = 8
# More tiles at once than this do not make a GPU busier.
_MOST_TILES = 8


@dataclass(frozen=True, kw_only=True)
class Cost:
    """Memory that one forward pass takes: a part that is always there, and a part for each input pixel."""

    fixed_bytes: float
    bytes_per_px: float

    def of(self, num_px: int) -> float:
        """Bytes for a batch with ``num_px`` pixels in all."""
        return self.fixed_bytes + self.bytes_per_px * num_px


@dataclass(frozen=True, kw_only=True)
class Load:
    """What goes through the network at once: ``batch`` tiles of at most ``tile_px`` a side (None: whole)."""

    tile_px: int | None
    batch: int = 1


class _LiveBytes(TorchDispatchMode):
    """Follows every storage that PyTorch makes in this context, and keeps the highest sum of the living."""

    def __init__(self) -> None:
        super().__init__()
        self.peak = 0
        self._live = 0
        self._storages: dict[int, weakref.ref[torch.UntypedStorage]] = {}

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        made = func(*args, **(kwargs or {}))
        for leaf in tree_leaves(made):
            if isinstance(leaf, Tensor):
                self._follow(leaf.untyped_storage())
        return made

    def _follow(self, storage: torch.UntypedStorage) -> None:
        key, num_bytes = storage._cdata, storage.nbytes()  # pyright: ignore[reportPrivateUsage]
        if key in self._storages:
            return

        def forget(_: object) -> None:
            self._live -= num_bytes
            del self._storages[key]

        self._storages[key] = weakref.ref(storage, forget)
        self._live += num_bytes
        self.peak = max(self.peak, self._live)


def trace(
    forward: Callable[[Float[Tensor, "b c h w"]], Tensor],
    *,
    channels: int,
    side_px: int,
    device: torch.device,
) -> int:
    """Run one square image through ``forward`` and return the bytes that were alive at the worst moment."""
    image = torch.zeros(1, channels, side_px, side_px, device=device)
    with _LiveBytes() as live:
        forward(image)
    return live.peak


def measure(
    forward: Callable[[Float[Tensor, "b c h w"]], Tensor],
    *,
    channels: int,
    window_size: int,
    device: torch.device,
) -> Cost:
    """Trace two small images and draw the line through them, safety included.

    Gradients must be off but not by inference mode, which hides the parts of composed operations from the
    trace.
    """
    small, large = (windows * window_size for windows in _TRACED_WINDOWS)
    small_bytes, large_bytes = (
        trace(forward, channels=channels, side_px=side_px, device=device) for side_px in (small, large)
    )
    per_px = (large_bytes - small_bytes) / (large**2 - small**2)
    fixed = max(small_bytes - per_px * small**2, 0.0)
    return Cost(fixed_bytes=SAFETY * fixed, bytes_per_px=SAFETY * per_px)


def is_small(height: int, width: int, window_size: int) -> bool:
    """Tell whether measuring would take as much memory as the image itself, so that it can just be restored."""
    return height * width <= (_TRACED_WINDOWS[-1] * window_size) ** 2


def available_bytes(device: torch.device) -> int:
    """Memory on ``device`` that is free right now."""
    if device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(device)
        # What PyTorch keeps for reuse is free for us too.
        return free + torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    if device.type == "cpu" and sys.platform == "linux":
        root = Path("/sys/fs/cgroup")
        groups = groups_of_process(root, Path("/proc/self/cgroup"))
        return min(free_of_machine(Path("/proc/meminfo")), *map(free_of_group, groups))
    return _UNKNOWN_BYTES


def free_of_machine(meminfo: Path) -> int:
    """Read what the kernel says can be had without swapping."""
    for line in meminfo.read_text().splitlines():
        if line.startswith("MemAvailable:"):
            return int(line.split()[1]) * 1024
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
            # Pages that only cache files are given up as soon as somebody needs them.
            return max(int(limit) - used + int(counts.get(cache_name, 0)), 0)
    return sys.maxsize


def choose_load(
    height: int, width: int, *, window_size: int, cost: Cost, row_bytes: int, budget_bytes: float
) -> Load:
    """Keep an image whole where the budget allows it, else make tiles as large as it does.

    ``row_bytes`` is what each row of a tile takes besides: the enlarged rows that wait to be blended.
    """

    def fits(tile_height: int, tile_width: int) -> bool:
        return cost.of(tile_height * tile_width) + row_bytes * tile_height <= budget_bytes

    whole = padded_size(height, window_size), padded_size(width, window_size)
    if fits(*whole):
        return Load(tile_px=None)
    sides = range(max(whole), _LEAST_WINDOWS * window_size, -window_size)
    return Load(tile_px=next((side for side in sides if fits(side, side)), _LEAST_WINDOWS * window_size))


def choose_batch(num_tiles: int, pixels_of_tile: int, *, cost: Cost, budget_bytes: float) -> int:
    """Decide how many tiles go through a GPU at once."""
    most = int(max(budget_bytes - cost.fixed_bytes, 0) / (cost.bytes_per_px * pixels_of_tile))
    return max(min(most, num_tiles, _MOST_TILES), 1)


def smaller_loads(first: Load, *, height: int, width: int, window_size: int, may_cut: bool) -> Iterator[Load]:
    """Yield ``first``, then half the batch, down to one tile, then, if it may be cut, half the tile."""
    load = first
    while True:
        yield load
        if load.batch > 1:
            load = Load(tile_px=load.tile_px, batch=load.batch // 2)
            continue
        side_px = load.tile_px or padded_size(max(height, width), window_size)
        half = side_px // 2 // window_size
        if not may_cut or half < _LEAST_WINDOWS:
            return
        load = Load(tile_px=half * window_size)


def with_less_memory(
    attempt: Callable[[Load], Result], loads: Iterator[Load], *, free: Callable[[], bool] = lambda: False
) -> Result:
    """Try one load after the other until one fits.

    ``free`` gives up memory that can be done without and tells whether there was any: the same load is tried again.

    Raises:
        RestoreError: none did.
    """
    shortage: RuntimeError | MemoryError | None = None
    for load in loads:
        is_worth_trying = True
        while is_worth_trying:
            try:
                return attempt(load)
            except (RuntimeError, MemoryError) as error:
                if not is_out_of_memory(error):
                    raise
                # Its frames hold the tensors that did not fit.
                shortage = error.with_traceback(None)
            is_worth_trying = free()
            cuda.give_back()
    raise RestoreError(
        "there is not enough memory for this image: use tile=auto, a smaller tile, or close other programs"
    ) from shortage


@contextmanager
def shortage_told(device: torch.device) -> Generator[None]:
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


def is_out_of_memory(error: RuntimeError | MemoryError) -> bool:
    """Tell whether an allocation failed: PyTorch has a type for its own, and only texts for those of libraries."""
    return isinstance(error, torch.OutOfMemoryError | MemoryError) or any(
        text in str(error) for text in _SHORTAGES
    )
