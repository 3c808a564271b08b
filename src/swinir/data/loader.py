"""Training crops drawn from pictures that stay in memory as uint8, on the device that trains.

The whole data set is one flat array of pixels per quality. A batch is one gather from each, flips and
rotations included in the addresses, so no worker process exists and a batch is a pure function of
(seed, step): a resumed run draws what an uninterrupted one would have drawn.
"""

import logging
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Self

import numpy as np
import torch
from einops import rearrange
from jaxtyping import Float, Int, UInt8
from numpy.typing import NDArray
from torch import Tensor

from swinir import imaging
from swinir.data.pairs import image_files, read_pixels
from swinir.errors import DataError, ImageError

logger = logging.getLogger(__name__)

# Decoding and resizing release the interpreter; more threads than this only fight for memory bandwidth.
DECODING_THREADS = 8


@dataclass(frozen=True, kw_only=True)
class Batch:
    """Crops of low quality and the same crops of high quality, float32 in [0, 1], channels-last in memory."""

    lq: Float[Tensor, "b c h w"]
    hq: Float[Tensor, "b c sh sw"]


@dataclass(frozen=True, kw_only=True)
class Draws:
    """Where each crop of a batch comes from: picture, top left pixel (low quality), one of eight symmetries."""

    image: Int[Tensor, " b"]
    top: Int[Tensor, " b"]
    left: Int[Tensor, " b"]
    symmetry: Int[Tensor, " b"]


class PixelStore:
    """Pictures of different sizes as one flat array of pixels."""

    def __init__(self, pictures: Sequence[NDArray[np.uint8]]) -> None:
        sizes = [picture.shape[:2] for picture in pictures]
        counts = np.array([height * width for height, width in sizes])
        self.pixels: UInt8[Tensor, "pixels c"] = torch.from_numpy(
            np.concatenate([picture.reshape(-1, picture.shape[2]) for picture in pictures])
        )
        self.starts: Int[Tensor, " images"] = torch.from_numpy(np.cumsum(counts) - counts)
        self.heights: Int[Tensor, " images"] = torch.tensor([height for height, _ in sizes])
        self.widths: Int[Tensor, " images"] = torch.tensor([width for _, width in sizes])

    def to(self, device: torch.device) -> Self:
        """Move the pixels and their index to a device."""
        for name in ("pixels", "starts", "heights", "widths"):
            setattr(self, name, getattr(self, name).to(device))
        return self

    def crops(self, draws: Draws, size_px: int, scale: int = 1) -> Float[Tensor, "b c p p"]:
        """Gather square crops whose corners are ``scale`` times the drawn ones, each under its symmetry."""
        index = torch.arange(size_px, device=self.pixels.device)
        row, column = turn(index[:, None], index[None, :], draws.symmetry[:, None, None], size_px)
        row = row + scale * draws.top[:, None, None]
        column = column + scale * draws.left[:, None, None]
        start, width = self.starts[draws.image], self.widths[draws.image]
        address = start[:, None, None] + row * width[:, None, None] + column
        return rearrange(self.pixels[address], "b h w c -> b c h w").float() / 255


def turn(
    row: Int[Tensor, "p 1"], column: Int[Tensor, "1 p"], symmetry: Int[Tensor, "b 1 1"], size_px: int
) -> tuple[Int[Tensor, "b p p"], Int[Tensor, "b p p"]]:
    """Return where each pixel of a square comes from under one of its eight symmetries (bits: transpose, flips)."""
    transposed, flipped_y, flipped_x = (symmetry & 1).bool(), (symmetry & 2).bool(), (symmetry & 4).bool()
    source_row = torch.where(transposed, column, row)
    source_column = torch.where(transposed, row, column)
    source_row = torch.where(flipped_y, size_px - 1 - source_row, source_row)
    source_column = torch.where(flipped_x, size_px - 1 - source_column, source_column)
    return source_row, source_column


class CropLoader:
    """Draw batches of super-resolution crops: HQ from the pictures, LQ from their MATLAB-bicubic twins.

    Args:
        pictures: uint8 [H, W, C], sides multiples of ``scale``.
        scale: HQ pixels per LQ pixel.
        crop_px: side of an LQ crop.
        batch_size: crops per batch.
        seed: with the step, decides every draw.
        device: where pixels are kept and batches are made.

    Raises:
        ValueError: there are no pictures, or one is smaller than a crop.
    """

    def __init__(
        self,
        pictures: Sequence[NDArray[np.uint8]],
        *,
        scale: int,
        crop_px: int,
        batch_size: int,
        seed: int,
        device: torch.device,
    ) -> None:
        self.scale, self.crop_px, self.batch_size, self.seed, self.device = (
            scale,
            crop_px,
            batch_size,
            seed,
            device,
        )
        if min((min(picture.shape[:2]) for picture in pictures), default=0) < crop_px * scale:
            raise ValueError(f"every picture must hold a crop of {crop_px * scale}×{crop_px * scale} pixels")
        with ThreadPoolExecutor(DECODING_THREADS) as pool:
            twins = list(pool.map(partial(imaging.resize_bicubic, scale=1 / scale), pictures))
        self._hq, self._lq = PixelStore(pictures), PixelStore(twins)
        places = (self._lq.heights - crop_px + 1) * (self._lq.widths - crop_px + 1)
        self._places_up_to = places.cumsum(0)
        self._lq_widths = self._lq.widths.clone()
        self._hq.to(device)
        self._lq.to(device)

    @classmethod
    def from_folder(
        cls,
        folder: Path,
        *,
        channels: int,
        scale: int,
        crop_px: int,
        batch_size: int,
        seed: int,
        device: torch.device,
    ) -> Self:
        """Read every picture below ``folder``; damaged files are named in the log and left out.

        Raises:
            DataError: the folder is missing or empty, or a picture is smaller than a crop.
        """
        return cls(
            read_pictures(folder, channels=channels, scale=scale, smallest_px=crop_px * scale),
            scale=scale,
            crop_px=crop_px,
            batch_size=batch_size,
            seed=seed,
            device=device,
        )

    @property
    def num_pixels(self) -> int:
        """High-quality pixels in memory."""
        return self._hq.pixels.shape[0]

    def draw(self, step: int) -> Draws:
        """Choose the crops of a step; every possible place of every picture is equally likely."""
        generator = torch.Generator().manual_seed(hash_of(self.seed, step))
        last = self._places_up_to[-1]
        place = (torch.rand(self.batch_size, generator=generator, dtype=torch.float64) * last).long()
        image = torch.searchsorted(self._places_up_to, place, right=True)
        place = place - torch.where(image > 0, self._places_up_to[image - 1], 0)
        columns = self._lq_widths[image] - self.crop_px + 1
        symmetry = torch.randint(8, (self.batch_size,), generator=generator)
        return Draws(image=image, top=place // columns, left=place % columns, symmetry=symmetry)

    def batch(self, step: int) -> Batch:
        """Make the batch of a step."""
        drawn = self.draw(step)
        table = torch.stack([drawn.image, drawn.top, drawn.left, drawn.symmetry])
        if self.device.type == "cuda":
            table = table.pin_memory()
        image, top, left, symmetry = table.to(self.device, non_blocking=True)
        draws = Draws(image=image, top=top, left=left, symmetry=symmetry)
        return Batch(
            lq=self._lq.crops(draws, self.crop_px),
            hq=self._hq.crops(draws, self.crop_px * self.scale, self.scale),
        )


def hash_of(seed: int, step: int) -> int:
    """Mix seed and step into one 63-bit seed (SplitMix64's finaliser), so that neighbours share nothing."""
    mask = 2**64 - 1
    z = (seed * 0x9E3779B97F4A7C15 + step + 1) * 0x9E3779B97F4A7C15 & mask
    z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9 & mask
    z = (z ^ z >> 27) * 0x94D049BB133111EB & mask
    return (z ^ z >> 31) >> 1


def read_pictures(folder: Path, *, channels: int, scale: int, smallest_px: int) -> list[NDArray[np.uint8]]:
    """Read every picture below ``folder`` as uint8, sides cut to multiples of ``scale``."""

    def read(path: Path) -> NDArray[np.uint8] | None:
        try:
            picture = imaging.modcrop(read_pixels(path, channels), scale)
        except ImageError as error:
            logger.warning("left out of the training set: %s", error)
            return None
        if min(picture.shape[:2]) < smallest_px:
            raise DataError(
                f"{path} is {picture.shape[1]}×{picture.shape[0]}, smaller than a training crop of "
                f"{smallest_px}×{smallest_px} pixels: take it out or choose a smaller crop_px"
            )
        return picture

    with ThreadPoolExecutor(DECODING_THREADS) as pool:
        pictures = [picture for picture in pool.map(read, image_files(folder)) if picture is not None]
    if not pictures:
        raise DataError(f"no picture below {folder} can be read")
    return pictures
