"""Pairs that exist as files: the user's own low and high quality, matched by name."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from swinir import imaging
from swinir.data.layouts import FilePair, image_files
from swinir.errors import DataError

Pixels = NDArray[np.uint8]  # [H, W, C]

# What the folders of a set of pairs are called.
LQ_FOLDER, HQ_FOLDER = "lq", "hq"


def list_training_files(source: Path) -> list[Path]:
    """List the pictures of a folder, or those that a text file names, relative to itself.

    Raises:
        DataError: there is nothing, or a named picture does not exist.
    """
    if not source.is_file():
        return image_files(source)
    try:
        lines = [line.strip() for line in source.read_text(encoding="utf-8").splitlines()]
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(
            f"{source} is no list of pictures ({error}): name a folder, or a text file with one a line"
        ) from error
    files: list[Path] = []
    for line in lines:
        path = source.parent / line
        if not line or line.startswith("#"):
            continue
        if not path.exists():
            raise DataError(f"{source} names {line}, but there is no {path}")
        files += image_files(path) if path.is_dir() else [path]
    if not files:
        raise DataError(f"{source} names no picture")
    return files


def match_pairs(lq: Path, hq: Path) -> list[FilePair]:
    """Pair the pictures of two folders or lists by name, the suffix aside, sorted by name.

    In a folder the name is the path below it, so that ``a/1.png`` belongs to ``a/1.tif``; in a list the file's own.

    Raises:
        DataError: a side has nothing, two pictures of one name, or a picture that the other side lacks.
    """
    low, high = _name_files(lq), _name_files(hq)
    for own, other, here, there in ((low, high, lq, hq), (high, low, hq, lq)):
        missing = sorted(own.keys() - other.keys())
        if missing:
            more = f" and {len(missing) - 1} more" if len(missing) > 1 else ""
            raise DataError(
                f"{there} has no picture {missing[0]}{more} to pair with {own[missing[0]]}: "
                f"every picture of {here} needs one of the same name"
            )
    return [FilePair(name=name, original=high[name], low=low[name]) for name in sorted(low)]


def _name_files(source: Path) -> dict[str, Path]:
    named: dict[str, Path] = {}
    for path in list_training_files(source):
        inside = path.relative_to(source) if source.is_dir() else Path(path.name)
        name = inside.with_suffix("").as_posix()
        if name in named:
            raise DataError(f"{named[name]} and {path} have the same name {name}: rename or remove one")
        named[name] = path
    return named


def read_rounded(path: Path, channels: int | None = None) -> tuple[Pixels, bool]:
    """Read a picture as uint8 [H, W, C], and tell whether it had more than 8 bits and was rounded.

    Args:
        path: the file.
        channels: 3 repeats grey as RGB, 1 turns RGB into full-range luma, None takes either as it is.

    Raises:
        ImageError: it cannot be read.
    """
    stored = imaging.read(path).pixels
    pixels = to_8_bits(stored)
    if channels == 3:
        pixels = np.ascontiguousarray(np.broadcast_to(pixels, (*pixels.shape[:2], 3)))
    elif channels == 1 and pixels.shape[2] == 3:
        pixels = imaging.rgb_to_gray(pixels)
    return pixels, stored.dtype != np.uint8


def to_8_bits(pixels: NDArray[np.generic]) -> Pixels:
    """Round pixels of 16 bits, or of floats with white at 1, to 8 bits."""
    if pixels.dtype == np.uint8:
        return pixels.astype(np.uint8, copy=False)
    unit = pixels.astype(np.float32)
    if pixels.dtype == np.uint16:
        unit /= 65535
    return (unit.clip(0, 1) * 255).round().astype(np.uint8)


def read_pair(files: FilePair, scale: int, channels: int) -> tuple[Pixels, Pixels, bool]:
    """Read a pair, low quality first, and tell whether either was rounded to 8 bits.

    The high quality may have up to ``scale`` - 1 rows and columns more than it needs; they are cut off.

    Raises:
        ImageError: a picture cannot be read.
        DataError: the sizes do not belong together.
    """
    assert files.low is not None
    lq, is_lq_rounded = read_rounded(files.low, channels)
    hq, is_hq_rounded = read_rounded(files.original, channels)
    height, width = lq.shape[:2]
    if (hq.shape[0] // scale, hq.shape[1] // scale) != (height, width):
        raise DataError(
            f"{files.original} is {hq.shape[1]}×{hq.shape[0]} pixels, which is not {scale} times the "
            f"{width}×{height} of {files.low}: pairs must show the same, at scale {scale}"
        )
    return lq, np.ascontiguousarray(hq[: height * scale, : width * scale]), is_lq_rounded or is_hq_rounded


def match_set(folder: Path) -> list[FilePair]:
    """Pair the pictures of a set's folders ``lq`` and ``hq``.

    Raises:
        DataError: see ``match_pairs``.
    """
    return match_pairs(folder / LQ_FOLDER, folder / HQ_FOLDER)


def read_all_pairs(folder: Path, scale: int, channels: int) -> Iterator[tuple[str, Pixels, Pixels]]:
    """Yield name, low and high quality of a set's pairs, from its folders ``lq`` and ``hq``.

    Raises:
        DataError: files are missing or do not pair.
        ImageError: a picture cannot be read.
    """
    for files in match_set(folder):
        lq, hq, _ = read_pair(files, scale, channels)
        yield files.name, lq, hq
