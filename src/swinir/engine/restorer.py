"""Restorer: a network on a device, in a precision, that takes images of any size from any thread."""

import os
import threading
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any, Literal, Protocol, Self, TypedDict, TypeVar, overload

import numpy as np
import torch
from jaxtyping import Float, Float32
from numpy.typing import NDArray
from torch import Tensor, nn

from swinir import imaging
from swinir.engine import ensemble as self_ensemble
from swinir.engine import hardware, memory, pixels, tiling
from swinir.engine.cuda import Gpu
from swinir.engine.graphs import Graphs
from swinir.engine.lane import GpuLane, Landing, Lane, PlainLane
from swinir.engine.network import build
from swinir.errors import ImageError, ImageWriteError, RestoreError
from swinir.model import SwinIRConfig
from swinir.model.blocks import SwinTransformerBlock
from swinir.ops import select_backend
from swinir.weights import catalog, load_checkpoint

PixelArray = TypeVar("PixelArray", bound=NDArray[Any])
Tile = Literal["auto"] | int | None
# A tile this small is all overlap.
LEAST_TILE_WINDOWS = 4


class Progress(Protocol):
    """Told how much of an image is done, in transformer layers of tiles, first with ``done`` = 0.

    Where memory runs out and the work starts again in smaller tiles, ``done`` falls back and ``total``
    changes. An exception that it raises stops the restoration.
    """

    def __call__(self, done: int, total: int) -> None:
        """Hear that ``done`` of ``total`` is done."""
        ...


class Description(TypedDict):
    """What ``Restorer.describe`` tells; ``reason`` is why this backend computes the transformer layers."""

    model: str
    scale: int
    device: str
    precision: str
    backend: str
    reason: str
    tile: Tile
    ensemble: bool


class Restorer:
    """Restores images with one network; any number of threads may use it at once.

    One forward pass runs at a time, since it uses all cores or the whole GPU: threads take turns tile by
    tile, and the memory is that of one. Nothing global is changed: no thread counts, no random generator,
    no default type.

    Args:
        config: the network.
        state_dict: its parameters, by their published names.
        name: what ``describe`` calls the model.
        device: "auto" (a CUDA GPU, else the CPU) or anything ``torch.device`` takes. "cuda:all" is for files:
            see ``choose_devices`` and ``restore_files``.
        precision: "auto" (bf16 where the hardware multiplies it natively, else fp32), "fp32", "bf16" or
            "fp16".
        tile: "auto" (whole where it fits the memory that is free, else the largest tiles that do), None
            (whole), or the side of a tile in pixels of the input, rounded down to whole windows.
        ensemble: average over the eight flips and rotations, at eight times the work.

    Raises:
        ValueError: a choice is unknown or impossible here, or the parameters are not those of ``config``.
        RestoreError: the network does not fit the device's memory.
    """

    def __init__(
        self,
        config: SwinIRConfig,
        state_dict: Mapping[str, Tensor],
        *,
        name: str = "custom",
        device: str | torch.device = hardware.AUTO,
        precision: str = hardware.AUTO,
        tile: Tile = "auto",
        ensemble: bool = False,
    ) -> None:
        _check_tile(tile, config.window_size)
        self.config = config
        self.name = name
        self.device = hardware.choose_device(device)
        self.precision = hardware.choose_precision(precision, self.device)
        self.tile: Tile = tile
        self.ensemble = ensemble
        with memory.shortage_told(self.device):
            self._network = build(config, state_dict).to(self.device)
        # With its number: which GPU is current may change.
        self.device = self._network.mean.device
        shapes = self._network.layer_shapes()
        self._network.use_backend(select_backend(self.device, self.precision.dtype, shapes))
        self._blocks = [
            module for module in self._network.modules() if isinstance(module, SwinTransformerBlock)
        ]
        for block in self._blocks:
            block.register_forward_hook(self._after_layer)
        self._lane = self._open_lane()
        # Held while tiles are sent; it guards the two below.
        self._turn = threading.Lock()
        self._steps: _Steps | None = None
        self._cost: memory.Cost | None = None
        # What went through the network at once where more had run out of memory.
        self._most_px: int | None = None

    @classmethod
    def from_pretrained(
        cls,
        name_or_path: str | os.PathLike[str],
        *,
        device: str | torch.device = hardware.AUTO,
        precision: str = hardware.AUTO,
        tile: Tile = "auto",
        ensemble: bool = False,
    ) -> Self:
        """Load a model by its name, or from a weights file, ours or any published one.

        Raises:
            WeightsError: there is no such model, or its file cannot be used.
            ValueError: see the class.
        """
        file = catalog.resolve(name_or_path)
        config, state_dict = load_checkpoint(file)
        return cls(
            config,
            state_dict,
            name=file.name,
            device=device,
            precision=precision,
            tile=tile,
            ensemble=ensemble,
        )

    @property
    def scale(self) -> int:
        """How many times larger the output is."""
        return self.config.scale

    def describe(self) -> Description:
        """Tell what computes where."""
        return {
            "model": self.name,
            "scale": self.scale,
            "device": str(self.device),
            "precision": self.precision.value,
            "backend": self._network.backend.name,
            "reason": self._network.backend.reason,
            "tile": self.tile,
            "ensemble": self.ensemble,
        }

    @overload
    def __call__(self, image: imaging.Image, progress: Progress | None = None) -> imaging.Image: ...
    @overload
    def __call__(self, image: PixelArray, progress: Progress | None = None) -> PixelArray: ...
    def __call__(
        self, image: imaging.Image | NDArray[Any], progress: Progress | None = None
    ) -> imaging.Image | NDArray[Any]:
        """Restore one image.

        Args:
            image: an ``imaging.Image``, or an array [H, W] or [H, W, C] (C: grey, grey + alpha, RGB, RGB +
                alpha) of uint8, uint16, or float32 in [0, 1].
            progress: told how far the work is.

        Returns:
            The same kind, type and channels, [scale·H, scale·W], within the range of its type. Alpha is
            enlarged by bicubic; profile, metadata and notes of an ``Image`` stay.

        Raises:
            ValueError: the array is no such image.
            ImageError: the ``Image`` has float values far outside [0, 1].
            RestoreError: not enough memory, or fp16 overflowed.
        """
        if isinstance(image, imaging.Image):
            if problem := pixels.problem_with(image.pixels):
                raise ImageError(problem)
            return image.with_pixels(*self._restore(image.pixels, image.alpha, progress))
        if not isinstance(image, np.ndarray):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise TypeError(
                f"an image is a numpy array or a swinir.imaging.Image, got {type(image).__name__}"
            )
        if problem := pixels.problem_with(image):
            raise ValueError(problem)
        restored, alpha = self._restore(*pixels.split_alpha(image), progress)
        if alpha is not None:
            return np.concatenate([restored, alpha[:, :, None]], axis=2)
        return restored[:, :, 0] if image.ndim == 2 else restored

    def restore_file(
        self,
        src: str | os.PathLike[str],
        dst: str | os.PathLike[str],
        *,
        progress: Progress | None = None,
        quality: int | None = None,
        limits: imaging.Limits = imaging.DEFAULT_LIMITS,
    ) -> tuple[str, ...]:
        """Restore an image file into another one, whose suffix names its format; an existing one is replaced.

        Returns:
            Notes a user should read: what reading chose and what the format could not hold.

        Raises:
            ImageError: a file cannot be read or written, or ``dst`` is ``src``.
            RestoreError: see calling the Restorer.
        """
        destination = Path(dst)
        image = read_input(Path(src), destination, limits)
        restored = self(image, progress)
        return restored.notes + imaging.write(restored, destination, quality=quality)

    def _restore(
        self, colours: NDArray[Any], alpha: NDArray[Any] | None, progress: Progress | None
    ) -> tuple[NDArray[Any], NDArray[Any] | None]:
        """Restore colours [H, W, 1 or 3] in tiles as large as memory allows, and enlarge alpha."""
        height, width = colours.shape[:2]
        first = self._first_load(colours)

        def attempt(load: memory.Load) -> NDArray[Any]:
            restored = self._run(colours, load, progress)
            if load != first:
                self._most_px = load.batch * self._plan(height, width, load).tile_pixels
            return restored

        loads = memory.smaller_loads(
            first,
            height=height,
            width=width,
            window_size=self.config.window_size,
            may_cut=self.tile == "auto",
        )
        restored = memory.with_less_memory(attempt, loads, free=self._free)
        return restored, None if alpha is None else pixels.enlarge_alpha(alpha, self.scale)

    def _first_load(self, colours: NDArray[Any]) -> memory.Load:
        """Decide how much goes through the network at once."""
        height, width = colours.shape[:2]
        window_size = self.config.window_size
        if self.tile is None or memory.is_small(height, width, window_size):
            return memory.Load(tile_px=None)
        on_cpu = self.device.type == "cpu"
        if self.tile != "auto" and on_cpu:
            return memory.Load(tile_px=self.tile)
        cost, budget_bytes = self._cost_and_budget()
        row_bytes = 0
        if on_cpu:
            # The enlarged image is in the same memory, and so is a row of its tiles in float32.
            row_bytes = width * self.scale**2 * self.config.in_channels * np.dtype(np.float32).itemsize
            budget_bytes -= colours.nbytes * self.scale**2
        if self._most_px is not None:
            # One more, of which rounding may take its part.
            budget_bytes = min(budget_bytes, cost.of(self._most_px + 1))
        if self.tile == "auto":
            load = memory.choose_load(
                height,
                width,
                window_size=window_size,
                cost=cost,
                row_bytes=row_bytes,
                budget_bytes=budget_bytes,
            )
        else:
            load = memory.Load(tile_px=self.tile)
        if on_cpu:
            # One tile keeps all cores busy.
            return load
        cut = self._plan(height, width, load)
        batch = memory.choose_batch(cut.num_tiles, cut.tile_pixels, cost=cost, budget_bytes=budget_bytes)
        return memory.Load(tile_px=load.tile_px, batch=batch)

    def _cost_and_budget(self) -> tuple[memory.Cost, float]:
        """Memory that the network takes, measured once, and what it may take of that which is free now."""
        # While no other image goes through the network: its memory would look taken.
        with self._turn, self._lane.in_order(), memory.shortage_told(self.device):
            if self._cost is None:
                self._cost = memory.measure(
                    self._forward,
                    channels=self.config.in_channels,
                    window_size=self.config.window_size,
                    device=self.device,
                )
            return self._cost, memory.SHARE * memory.available_bytes(self.device)

    def _free(self) -> bool:
        with self._turn:
            return self._lane.free()

    def _plan(self, height: int, width: int, load: memory.Load) -> tiling.Plan:
        return tiling.plan(height, width, window_size=self.config.window_size, tile_px=load.tile_px)

    def _run(self, colours: NDArray[Any], load: memory.Load, progress: Progress | None) -> NDArray[Any]:
        """Restore in tiles of one size, finished rows going straight to the output in its own type."""
        height, width = colours.shape[:2]
        cut = self._plan(height, width, load)
        turns = self_ensemble.NUM_SYMMETRIES if self.ensemble else 1
        steps = _Steps(progress, cut.num_tiles * len(self._blocks) * turns)
        canvas = pixels.Canvas(colours, in_channels=self.config.in_channels, scale=self.scale)
        for band in tiling.blend(cut, self._restored_tiles(canvas, cut, load.batch, steps), self.scale):
            canvas.paint(band)
        return canvas.enlarged

    def _restored_tiles(
        self, canvas: pixels.Canvas, cut: tiling.Plan, batch: int, steps: "_Steps"
    ) -> Iterator[Float32[np.ndarray, "sh sw c"]]:
        """Run the tiles of a plan through the network, in order, ``batch`` at a time."""
        run = self._lane.run
        restore = partial(self_ensemble.average, run) if self.ensemble else run
        origins = cut.origins()
        sent: deque[Callable[[], Landing]] = deque()
        while group := list(islice(origins, batch)):
            tiles = [canvas.tile(cut.rows.positions(top), cut.columns.positions(left)) for top, left in group]
            with self._turn:
                self._steps = steps
                try:
                    sent.append(self._lane.send(tiles, restore))
                finally:
                    self._steps = None
            if len(sent) > self._lane.ahead:
                yield from self._landed(sent.popleft())
        while sent:
            yield from self._landed(sent.popleft())

    def _landed(self, land: Callable[[], Landing]) -> Iterator[Float32[np.ndarray, "sh sw c"]]:
        landing = land()
        if not landing.is_finite:
            raise RestoreError(
                f"the network overflows in {self.precision}: use precision fp32"
                + ("" if self.precision is hardware.Precision.BF16 else " or bf16")
            )
        yield from landing.tiles

    def _open_lane(self) -> Lane:
        if self.device.type != "cuda":
            return PlainLane(self.device, self._forward)
        gpu = Gpu(self.device)
        recorded = Graphs(gpu, self._forward, uncounted=self._uncounted, after_replay=self._count_tiles)
        return GpuLane(gpu, recorded)

    def _forward(self, lq: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c sh sw"]:
        """Run the network in this restorer's precision; both settings are this thread's own."""
        dtype = self.precision.dtype
        with (
            torch.no_grad(),
            torch.autocast(self.device.type, dtype=dtype, enabled=dtype is not torch.float32),
        ):
            return self._network(lq)

    def _uncounted(self, lq: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c sh sw"]:
        """Run the network with nobody told of its layers."""
        steps, self._steps = self._steps, None
        try:
            return self._forward(lq)
        finally:
            self._steps = steps

    def _after_layer(self, _layer: nn.Module, inputs: tuple[Tensor, ...], _output: Tensor) -> None:
        if self._steps is not None:
            self._steps.add(inputs[0].shape[0])

    def _count_tiles(self, num_tiles: int) -> None:
        """Count all layers of tiles at once."""
        if self._steps is not None:
            self._steps.add(num_tiles * len(self._blocks))


def read_input(source: Path, destination: Path, limits: imaging.Limits) -> imaging.Image:
    """Read an image that will be restored into ``destination``, if that can be written and is another file.

    Raises:
        ImageError: it cannot, or the image cannot be read.
    """
    if destination.suffix.lower() not in imaging.WRITABLE_SUFFIXES:
        known = ", ".join(imaging.WRITABLE_SUFFIXES)
        raise ImageWriteError(f"{destination} names no image format that can be written; use one of {known}")
    if destination.exists() and source.exists() and destination.samefile(source):
        raise ImageWriteError(f"{destination} is the input itself; choose another name for the output")
    return imaging.read(source, limits=limits)


class _Steps:
    """Counts what is done of one image."""

    def __init__(self, progress: Progress | None, total: int) -> None:
        self._progress = progress
        self._done = 0
        self._total = total
        self.add(0)

    def add(self, steps: int) -> None:
        """Count and tell."""
        self._done += steps
        if self._progress is not None:
            self._progress(self._done, self._total)


def _check_tile(tile: object, window_size: int) -> None:
    if tile is None or tile == "auto":
        return
    least_px = LEAST_TILE_WINDOWS * window_size
    if not isinstance(tile, int) or isinstance(tile, bool) or tile < least_px:
        raise ValueError(f"tile is {tile!r}: choose auto, None (whole), or at least {least_px} pixels")
