"""Restorer: a network on a device, in a precision, that takes images of any size from any thread."""

import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import cached_property, partial
from pathlib import Path
from typing import Any, Self, TypedDict, TypeVar, Unpack, cast

import PIL.Image
import torch
from jaxtyping import Float, Float32
from numpy.typing import NDArray
from torch import Tensor

from swinir import imaging
from swinir.engine import memory, single_file, tiling
from swinir.engine.budget import Budget
from swinir.engine.executor import choose_executor
from swinir.engine.forward import ForwardPass, NetworkPass
from swinir.engine.mark import hash_parameters
from swinir.engine.pixels import Picture
from swinir.engine.progress import Progress, Steps
from swinir.engine.runtime_pass import RUNTIMES, RuntimePass
from swinir.engine.stream import BUFFER_BYTES, RowSource, StreamPlan, TileRestorer, restore_bands
from swinir.engine.tiled_network import TiledNetwork
from swinir.errors import UsageError
from swinir.model import SwinIRConfig
from swinir.options import FramesChoice, Precision, RestorerChoices, RestorerOptions, Tile
from swinir.weights import open_checkpoint

Restorable = TypeVar("Restorable", bound=NDArray[Any] | imaging.Image | Tensor | PIL.Image.Image)
# A tile this small is all overlap.
LEAST_TILE_WINDOWS = 4


class Description(TypedDict):
    """What ``Restorer.describe`` returns; ``reason`` is why this backend computes the transformer layers."""

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

    One forward pass runs at a time, since it uses all cores or the whole GPU: threads alternate tile by tile, and
    the memory is that of one. Nothing global is changed: no thread counts, no random generator, no default type.
    A Restorer can be copied and pickled: the copy is built from the same parameters and options.

    Args:
        config: the network.
        state_dict: its parameters, by their published names.
        options: how it computes; by default, as fast as is right here.
        name: what ``describe`` calls the model.
        choices: fields of ``RestorerOptions`` that take precedence over those of ``options``. The device "cuda:all"
            is for files: see ``choose_devices`` and ``restore_files``.

    Raises:
        UsageError: a choice is unknown or impossible here, or the parameters are not those of ``config``.
        RestoreError: the network does not fit the device's memory.
    """

    def __init__(
        self,
        config: SwinIRConfig,
        state_dict: Mapping[str, Tensor],
        options: RestorerOptions | None = None,
        *,
        name: str = "custom",
        **choices: Unpack[RestorerChoices],
    ) -> None:
        self.config = config
        self.name = name
        self.options = (options or RestorerOptions()).changed(**choices)
        _check_tile(self.options.tile, config.window_px)
        self.forward_pass = _open_pass(config, state_dict, self.options)
        self.device: torch.device = self.forward_pass.device
        self.precision: Precision = self.forward_pass.precision
        self.executor = choose_executor(self.device, self.forward_pass, ensemble=self.options.ensemble)
        is_left_open = self.options.tile == "auto" and self.forward_pass.tile_px is not None
        self.budget = Budget(
            config,
            self.forward_pass,
            self.executor,
            device=self.device,
            tile=self.forward_pass.tile_px if is_left_open else self.options.tile,
            cost=self.forward_pass.cost,
            memory_bytes=self.options.memory_bytes,
        )
        self.tiled_network = TiledNetwork(config, self.executor, self.budget, self.precision)

    @classmethod
    def from_pretrained(
        cls,
        name_or_path: str | os.PathLike[str],
        options: RestorerOptions | None = None,
        *,
        image_range: float | None = None,
        **choices: Unpack[RestorerChoices],
    ) -> Self:
        """Load a model by its name, from a weights file, ours or any published one, or from the Hugging Face Hub.

        Args:
            name_or_path: from ``swinir models list``, a file, or ``hf:owner/name[@revision][:file]``.
            options: see the class.
            image_range: what white is inside the network, 1 or 255; None for what the file says or, where it does
                not, what restores a small picture.
            choices: device, precision, tile, ensemble, backend; see ``RestorerOptions``.

        Raises:
            WeightsError: there is no such model, or its file cannot be used.
            UsageError: see the class.
        """
        file, checkpoint = open_checkpoint(name_or_path, image_range=image_range)
        return cls(checkpoint.config, checkpoint.state_dict, options, name=file.name, **choices)

    def __reduce__(self) -> tuple[Callable[..., Self], tuple[Any, ...]]:
        parameters = self.forward_pass.copy_parameters()
        return partial(type(self), name=self.name), (self.config, parameters, self.options)

    @property
    def scale(self) -> int:
        """How many times larger the output is."""
        return self.config.scale

    @property
    def settings(self) -> str:
        """What a result depends on, as text: name and hash of the network, scale, ensemble."""
        return f"{self.name} {self.parameters_hash[:8]} ×{self.scale}{', ensemble' if self.options.ensemble else ''}"

    @cached_property
    def parameters_hash(self) -> str:
        """Hash of the network's parameters, the same on every device."""
        return hash_parameters(self.forward_pass.copy_parameters())

    def output_size(self, height: int, width: int) -> tuple[int, int]:
        """Return height and width that a picture of this size becomes."""
        return height * self.scale, width * self.scale

    def describe(self) -> Description:
        """Return what computes where."""
        return {
            "model": self.name,
            "scale": self.scale,
            "device": self.forward_pass.device_name,
            "precision": self.precision.value,
            "backend": self.forward_pass.backend,
            "reason": self.forward_pass.reason,
            "tile": self.options.tile,
            "ensemble": self.options.ensemble,
        }

    def __call__(self, image: Restorable, progress: Progress | None = None) -> Restorable:
        """Restore one image.

        Args:
            image: an ``imaging.Image``; an array [H, W] or [H, W, C] (C: grey, grey + alpha, RGB, RGB + alpha) of
                uint8, uint16, or floats in [0, 1]; a Pillow image; a tensor [C, H, W] or, of images, [B, C, H, W].
            progress: called with how far the work is.

        Returns:
            The same kind, type and channels, [scale·H, scale·W], within the range of its type. Alpha is
            enlarged by bicubic; profile, metadata and notes of an ``Image`` stay.

        Raises:
            UsageError: the array is no such image.
            ImageError: the ``Image`` has values that are not finite.
            RestoreError: not enough memory, or fp16 overflowed.
        """
        if isinstance(image, Tensor) and image.ndim == 4 and len(image):
            images: list[Any] = [self(each, progress) for each in image]
            return cast("Restorable", torch.stack(images))
        picture = Picture.of(image)
        return picture.with_colours(self.tiled_network.restore(picture.colours, progress), self.scale)

    def restore_many(self, images: Iterable[Restorable]) -> Iterator[Restorable]:
        """Restore images one after the other, such as the frames of a film, and yield the results in order.

        On a GPU, tiles of consecutive images of one size share batches, and the next batch is under way while the
        last one is used. So a few images are taken ahead of the result that comes next.

        Raises:
            UsageError, ImageError, RestoreError: as for one image, once the images before it are done.
        """
        return self.tiled_network.restore_many(map(Picture.of, images))

    def plan_bands(self, header: imaging.Header) -> StreamPlan:
        """Decide how a picture of any size is restored in bands; the same options and free memory decide the same.

        Raises:
            RestoreError: the device is too full even to measure on.
        """
        return StreamPlan(
            source=header,
            load=self.budget.choose(header.height, header.width, output_bytes=BUFFER_BYTES),
            scale=self.scale,
            in_channels=self.config.in_channels,
        )

    def restore_bands(
        self,
        source: RowSource,
        plan: StreamPlan,
        *,
        bands: range | None = None,
        progress: Progress | None = None,
        folder: Path | None = None,
    ) -> Iterator[tuple[int, imaging.Band]]:
        """Restore a picture of any size from rows to rows; memory is bounded by that of a tile.

        Where memory runs out, the tiles that follow are smaller, and nothing is done again.

        Args:
            source: its rows; those above the first band are skipped.
            plan: from ``plan_bands``.
            bands: which to restore, one after the other; None for all.
            progress: called with how far the work is; what lies above the first band counts as done.
            folder: for what does not fit the memory; None for the system's place for temporary files.

        Yields:
            The number of a band and some of its rows, valid until the next ones are asked for.

        Raises:
            ImageError: the source is damaged.
            RestoreError: not enough memory even for small tiles, or fp16 overflowed.
        """
        bands = range(plan.num_bands) if bands is None else bands
        on_layers = None
        if progress is not None:
            layers_of_band = len(plan.load.plan.columns.origins) * self.executor.num_layers
            steps = Steps(progress, plan.num_bands * layers_of_band)
            steps.add(tiling.first_row_of_tiles(plan.load.plan, bands.start) * layers_of_band)
            on_layers = steps.add
        tiles = TileRestorer(self.executor, self.tiled_network.check, restore_smaller=self)
        restore = partial(tiles.restore, on_layers=on_layers)
        return restore_bands(plan, source, restore, bands=bands, folder=folder)

    def restore_batch(self, lq: Float[Tensor, "b c h w"]) -> Float32[Tensor, "b c sh sw"]:
        """Restore a batch of images of one size, whole, in the network's own channels.

        Args:
            lq: of floats in [0, 1], on any device; C is ``config.in_channels``.

        Returns:
            Float32 in [0, 1], on the device of ``lq``, without gradients.

        Raises:
            UsageError: the tensor is no such batch.
            RestoreError: the batch does not fit the memory.
        """
        channels = self.config.in_channels
        if lq.ndim != 4 or lq.shape[1] != channels or 0 in lq.shape or not lq.is_floating_point():
            raise UsageError(
                f"a batch is [B, {channels}, H, W] of floats in [0, 1] for this network, got "
                f"{list(lq.shape)} of {lq.dtype}"
            )
        with memory.oom_as_restore_error(self.device), torch.no_grad():
            restored = self.executor.run(lq.to(self.device, torch.float32))
            return restored.float().clamp_(0, 1).to(lq.device)

    def restore_file(
        self,
        src: single_file.FileSource,
        dst: str | os.PathLike[str],
        *,
        progress: Progress | None = None,
        quality: int | None = None,
        limits: imaging.Limits = imaging.DEFAULT_LIMITS,
        frames: FramesChoice = FramesChoice.AUTO,
    ) -> tuple[str, ...]:
        """Restore an image file into another one, whose suffix names its format; an existing one is replaced.

        ``src`` is a path, the bytes of a file, or a file object.

        All frames of an animation, or pages, are restored where the output can hold them and ``frames`` allows it.

        Returns:
            Notes a user should read: what reading chose and what the format could not hold.

        Raises:
            ImageError: a file cannot be read or written, or ``dst`` is ``src``.
            RestoreError: see calling the Restorer.
        """
        return single_file.restore_file(
            src, dst, self, progress=progress, quality=quality, limits=limits, frames=frames
        )


def _open_pass(
    config: SwinIRConfig, state_dict: Mapping[str, Tensor], options: RestorerOptions
) -> NetworkPass:
    kind = RuntimePass if options.backend in RUNTIMES else ForwardPass
    return kind.open(config, state_dict, options)


def _check_tile(tile: Tile, window_size: int) -> None:
    least_px = LEAST_TILE_WINDOWS * window_size
    if isinstance(tile, int) and tile < least_px:
        raise UsageError(f"a tile of {tile} pixels is too small: this model takes at least {least_px}")
