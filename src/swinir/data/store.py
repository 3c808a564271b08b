"""Pictures as one flat array of uint8 pixels, in memory or in a file, and the crops that are gathered from it."""

import hashlib
import json
import logging
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Self, TypeVar

import numpy as np
import torch
from einops import rearrange
from jaxtyping import Float, Int, UInt8
from numpy.typing import NDArray
from torch import Tensor

from swinir import imaging
from swinir.data.layouts import FilePair
from swinir.data.stored import list_training_files, match_pairs, read_pair, read_rounded
from swinir.errors import DataError, ImageError, UsageError
from swinir.files import written_beside

logger = logging.getLogger(__name__)

# Decoding and resizing release the interpreter; more threads than this only fight for memory bandwidth.
DECODING_THREADS = 8

Picture = NDArray[np.uint8]  # [H, W, C]
Item = TypeVar("Item")


@dataclass(frozen=True, kw_only=True)
class CropIndices:
    """Where each crop of a batch comes from: picture, top left pixel (low quality), one of eight symmetries."""

    image: Int[Tensor, " b"]
    top: Int[Tensor, " b"]
    left: Int[Tensor, " b"]
    symmetry: Int[Tensor, " b"]

    def part(self, rows: slice) -> "CropIndices":
        """Return those of some crops."""
        return CropIndices(
            image=self.image[rows], top=self.top[rows], left=self.left[rows], symmetry=self.symmetry[rows]
        )


class PixelStore:
    """Pictures of different sizes as one flat array of pixels.

    Args:
        pixels: [pixels, c] uint8, picture after picture, row after row.
        sizes: height and width of each picture.
    """

    def __init__(self, pixels: UInt8[Tensor, "pixels c"], sizes: Sequence[tuple[int, int]]) -> None:
        heights, widths = (torch.tensor([size[axis] for size in sizes], dtype=torch.long) for axis in (0, 1))
        counts = heights * widths
        self.pixels = pixels
        self.starts: Int[Tensor, " images"] = counts.cumsum(0) - counts
        self.heights: Int[Tensor, " images"] = heights
        self.widths: Int[Tensor, " images"] = widths

    @classmethod
    def of(cls, pictures: Iterable[Picture]) -> Self:
        """Keep pictures in memory."""
        flat, sizes = [], []
        for picture in pictures:
            flat.append(picture.reshape(-1, picture.shape[2]))
            sizes.append((picture.shape[0], picture.shape[1]))
        return cls(torch.from_numpy(np.concatenate(flat)), sizes)

    @classmethod
    def in_file(cls, path: Path, pictures: Callable[[], Iterable[Picture]]) -> Self:
        """Keep pictures in a file that the system maps into memory page by page; one that exists is taken as it is.

        Args:
            path: the file; sizes are kept beside it, as JSON.
            pictures: makes the pictures, called only where there is no file yet.

        Raises:
            DataError: the file cannot be written, or is not what was written.
        """
        index = path.with_suffix(".json")
        if not index.exists():
            sizes: list[tuple[int, int, int]] = []
            with written_beside(path, DataError) as file:
                for picture in pictures():
                    file.write(np.ascontiguousarray(picture).data)
                    sizes.append((picture.shape[0], picture.shape[1], picture.shape[2]))
            # Last, so that an index never speaks of pixels that are not there.
            with written_beside(index, DataError) as file:
                file.write(json.dumps(sizes).encode())
        try:
            shapes: list[list[int]] = json.loads(index.read_text(encoding="utf-8"))
            # Copied on writing, which nobody does: PyTorch warns of memory that cannot be written.
            flat = np.memmap(path, dtype=np.uint8, mode="c").reshape(-1, shapes[0][2])
            if len(flat) != sum(height * width for height, width, _ in shapes):
                raise UsageError(f"{len(flat)} pixels")
        except (OSError, ValueError, LookupError, TypeError) as error:
            raise DataError(
                f"{path} is not the pixels that {index.name} tells of ({error}): delete both"
            ) from error
        return cls(torch.from_numpy(flat), [(height, width) for height, width, _ in shapes])

    def to(self, device: torch.device) -> Self:
        """Move the pixels and their index to a device."""
        for name in ("pixels", "starts", "heights", "widths"):
            setattr(self, name, getattr(self, name).to(device))
        return self

    def pictures(self) -> Iterable[Picture]:
        """View each picture [H, W, C]; only of pixels on the CPU."""
        for start, height, width in zip(
            self.starts.tolist(), self.heights.tolist(), self.widths.tolist(), strict=True
        ):
            flat = self.pixels[start : start + height * width].numpy()
            yield flat.reshape(height, width, -1)

    def gather(self, indices: CropIndices, size_px: int, scale: int = 1) -> UInt8[Tensor, "b p p c"]:
        """Gather square crops whose corners are ``scale`` times the drawn ones, each under its symmetry."""
        index = torch.arange(size_px, device=self.pixels.device)
        row, column = turn(index[:, None], index[None, :], indices.symmetry[:, None, None], size_px)
        row = row + scale * indices.top[:, None, None]
        column = column + scale * indices.left[:, None, None]
        start, width = self.starts[indices.image], self.widths[indices.image]
        address = start[:, None, None] + row * width[:, None, None] + column
        return self.pixels[address]

    def crops(self, indices: CropIndices, size_px: int, scale: int = 1) -> Float[Tensor, "b c p p"]:
        """Gather such crops as images in [0, 1], channels-last in memory."""
        return rearrange(self.gather(indices, size_px, scale), "b h w c -> b c h w").float() / 255


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


def mix_seed(seed: int, step: int) -> int:
    """Mix seed and step into one 63-bit seed (SplitMix64's finaliser), so that neighbours share nothing."""
    mask = 2**64 - 1
    z = (seed * 0x9E3779B97F4A7C15 + step + 1) * 0x9E3779B97F4A7C15 & mask
    z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9 & mask
    z = (z ^ z >> 27) * 0x94D049BB133111EB & mask
    return (z ^ z >> 31) >> 1


def open_store(
    source: Path, *, channels: int, scale: int, smallest_px: int, cache: Path | None = None
) -> PixelStore:
    """Read the training pictures of a folder or a list as uint8, sides cut to multiples of ``scale``.

    Args:
        source: a folder, searched to its depths, or a text file that names one picture or folder a line.
        channels: 3 repeats grey as RGB, 1 turns RGB into full-range luma.
        scale: what sides are cut to multiples of.
        smallest_px: the side of the largest crop that will be asked for.
        cache: a folder for the pixels, so that the next run maps them from there; None keeps them in memory.

    Raises:
        DataError: no picture can be read and holds a crop, or the cache cannot be written. Pictures that are
            damaged or too small are named in the log and left out.
    """
    files = list_training_files(source)

    def read(path: Path) -> Selection:
        pixels, is_rounded = read_rounded(path, channels)
        return Selection(path=path, pictures=(imaging.modcrop(pixels, scale),), is_rounded=is_rounded)

    def pictures() -> Iterable[Picture]:
        return (chosen[0] for chosen in select_pictures(files, read, source, smallest_px))

    return _keep(pictures, cache, fingerprint(files, channels, scale, smallest_px))


def open_pair_stores(
    lq: Path, hq: Path, *, channels: int, scale: int, crop_px: int, cache: Path | None = None
) -> tuple[PixelStore, PixelStore]:
    """Read training pairs of two folders or lists, as ``open_store`` reads pictures; low quality first.

    Raises:
        DataError: as ``open_store``, or pictures do not pair.
    """
    pairs = match_pairs(lq, hq)

    def read(files: FilePair) -> Selection:
        low, high, is_rounded = read_pair(files, scale, channels)
        return Selection(path=files.low or files.original, pictures=(low, high), is_rounded=is_rounded)

    name = fingerprint(
        [path for pair in pairs for path in (pair.low, pair.original) if path], channels, scale
    )
    if cache is None:
        chosen = list(select_pictures(pairs, read, lq, crop_px))
        return PixelStore.of(low for low, _ in chosen), PixelStore.of(high for _, high in chosen)

    def side(index: int) -> Callable[[], Iterable[Picture]]:
        return lambda: (both[index] for both in select_pictures(pairs, read, lq, crop_px))

    return _keep(side(0), cache, f"{name}-{crop_px}-lq"), _keep(side(1), cache, f"{name}-{crop_px}-hq")


def _keep(pictures: Callable[[], Iterable[Picture]], cache: Path | None, name: str) -> PixelStore:
    """Keep pictures in memory, or in the cache's file of that name."""
    if cache is None:
        return PixelStore.of(pictures())
    try:
        cache.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise DataError(
            f"{cache} cannot be made ({error.strerror}): choose another data.cache, or none"
        ) from error
    return PixelStore.in_file(cache / f"{name}.u8", pictures)


def fingerprint(files: Sequence[Path], *facts: int) -> str:
    """Return a name for what these files hold now, read in this way."""
    digest = hashlib.sha256(repr(facts).encode())
    for file in files:
        stat = file.stat()
        digest.update(f"{file.resolve()}|{stat.st_size}|{stat.st_mtime_ns}\n".encode())
    return digest.hexdigest()[:16]


@dataclass(frozen=True, kw_only=True)
class Selection:
    """Pictures that are taken together or not at all; the first, at ``path``, is the smallest."""

    path: Path
    pictures: tuple[Picture, ...]
    is_rounded: bool


def select_pictures(
    items: Sequence[Item], read: Callable[[Item], Selection], source: Path, smallest_px: int
) -> Iterable[tuple[Picture, ...]]:
    """Read several at a time, in order; what is damaged or too small is named in the log, counted, and left out.

    Raises:
        DataError: nothing is left.
    """

    def read_sound(item: Item) -> Selection | None:
        try:
            return read(item)
        except ImageError as error:
            logger.warning("left out of the training set: %s", error)
            return None

    num_left, num_small, rounded = 0, 0, 0
    with ThreadPoolExecutor(DECODING_THREADS) as pool:
        for selection in pool.map(read_sound, items):
            if selection is None:
                continue
            height, width = selection.pictures[0].shape[:2]
            if min(height, width) < smallest_px:
                num_small += 1
                logger.warning(
                    "left out of the training set: %s is %d×%d, smaller than a crop of %d×%d pixels",
                    *(selection.path, width, height, smallest_px, smallest_px),
                )
                continue
            num_left += 1
            rounded += selection.is_rounded
            yield selection.pictures
    if not num_left:
        small = f", {num_small} are smaller than {smallest_px}×{smallest_px} pixels" if num_small else ""
        raise DataError(
            f"no picture of {source} can be used{small}: choose others, or a smaller data.crop_px"
        )
    if num_small:
        logger.warning("%d pictures of %s are too small and were left out", num_small, source)
    if rounded:
        logger.warning("%d pictures of %s have more than 8 bits and were rounded", rounded, source)
