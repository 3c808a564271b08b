"""The benchmarks of the literature by name, and whether a folder holds one of them whole and unchanged."""

import hashlib
import re
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib import resources
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from swinir.data import original_files
from swinir.data.layouts import mark_file
from swinir.data.pairs import read_pixels
from swinir.errors import DataError, ImageError

# Of SHA-256: two pictures in the world that share so many digits are not to be met.
HASH_DIGITS = 16
_MOST_NAMED = 4
# Copies are cut to multiples of one of these; the largest that fits is named.
_CROPS_PX = (12, 8, 6, 4, 3, 2)


@dataclass(frozen=True, kw_only=True)
class KnownPicture:
    """One picture of a benchmark: its size, and the hash of its pixels."""

    width: int
    height: int
    pixels: str


@dataclass(frozen=True, kw_only=True)
class KnownSet:
    """One benchmark.

    Attributes:
        name: as the literature writes it.
        count: of pictures.
        source: who published it.
        sizes: every width and height that occurs, where no picture is listed; empty where that is not known.
        pictures: by name; empty where no copy has been at hand to list them.
        remarks: what a reader of figures must know, by protocol.
    """

    name: str
    count: int
    source: str
    sizes: frozenset[tuple[int, int]]
    pictures: Mapping[str, KnownPicture]
    remarks: Mapping[str, str]


@dataclass(frozen=True, kw_only=True)
class CopyCheck:
    """Whether a folder is a benchmark.

    Attributes:
        known: the benchmark's name; None where the set's name is none.
        is_verified: whether there are all its pictures, none more, and each unchanged; None where that is not known.
        notes: what differs, in sentences.
    """

    known: str | None = None
    is_verified: bool | None = None
    notes: tuple[str, ...] = ()


@cache
def known_sets() -> Mapping[str, KnownSet]:
    """Return every benchmark, by its name in lower case without marks."""
    text = resources.files("swinir.evaluation").joinpath("known_sets.toml").read_text(encoding="utf-8")
    return {
        _normalize(alias): KnownSet(
            name=name,
            count=values["count"],
            source=values["source"],
            sizes=frozenset((width, height) for width, height in values.get("sizes", [])),
            pictures={
                picture: KnownPicture(width=width, height=height, pixels=pixels)
                for picture, (width, height, pixels) in values.get("pictures", {}).items()
            },
            remarks=values.get("remarks", {}),
        )
        for name, values in tomllib.loads(text).items()
        for alias in (name, *values.get("aliases", []))
    }


def find_known_set(name: str) -> KnownSet | None:
    """Find a benchmark by the name that a user gave a folder, whatever its case and punctuation."""
    return known_sets().get(_normalize(name))


def hash_pixels(pixels: NDArray[np.uint8]) -> str:
    """Hash the pixels of a picture, whatever file they come from; grey ones in three channels are grey.

    Args:
        pixels: uint8 [H, W, 1 or 3], RGB.
    """
    if pixels.shape[2] == 3 and (pixels == pixels[:, :, :1]).all():
        pixels = pixels[:, :, :1]
    height, width, channels = pixels.shape
    digest = hashlib.sha256(f"{height}x{width}x{channels}\n".encode())
    digest.update(np.ascontiguousarray(pixels).tobytes())
    return digest.hexdigest()[:HASH_DIGITS]


def check_copy(name: str, folder: Path, protocol: str = "") -> CopyCheck:
    """Compare the originals in a folder with the benchmark of that name.

    Args:
        name: as the user calls the set.
        folder: see ``swinir.data.layouts``.
        protocol: whose remarks on the set are notes, too.

    Raises:
        DataError: the pictures are low-resolution copies of the benchmark's, or cannot be read.
    """
    known = find_known_set(name)
    if known is None:
        return CopyCheck()
    remarks = [remark for about, remark in known.remarks.items() if about == protocol]
    try:
        found = {path: _read_picture(path) for path in original_files(folder)}
    except ImageError as error:
        raise DataError(f"cannot evaluate on {folder}: {error}") from error
    if not known.pictures:
        notes = _check_unlisted(known, [(picture.width, picture.height) for picture in found.values()])
        return CopyCheck(known=known.name, is_verified=False if notes else None, notes=(*notes, *remarks))
    notes = _check_listed(known, folder, found)
    return CopyCheck(known=known.name, is_verified=not notes, notes=(*notes, *remarks))


def _read_picture(path: Path) -> KnownPicture:
    pixels = read_pixels(path)
    return KnownPicture(width=pixels.shape[1], height=pixels.shape[0], pixels=hash_pixels(pixels))


def _check_unlisted(known: KnownSet, sizes: Sequence[tuple[int, int]]) -> list[str]:
    notes: list[str] = []
    if len(sizes) != known.count:
        notes.append(
            f"{known.name} has {known.count} pictures, and there are {len(sizes)}: figures do not compare with "
            "published ones"
        )
    odd = sorted({size for size in sizes if size not in known.sizes}) if known.sizes else []
    if odd:
        notes.append(
            f"pictures of {known.name} are {_join([_write_size(size) for size in sorted(known.sizes)])}, and there "
            f"are {_join([_write_size(size) for size in odd])}"
        )
    return notes


def _check_listed(known: KnownSet, folder: Path, found: Mapping[Path, KnownPicture]) -> list[str]:
    """Match pictures by their pixels, then by name, and say what is left over."""
    names = {picture.pixels: name for name, picture in known.pictures.items()}
    missing = dict(known.pictures)
    rest: dict[Path, tuple[int, int]] = {}
    for path, picture in found.items():
        if (name := names.get(picture.pixels)) is not None and name in missing:
            del missing[name]
        else:
            rest[path] = (picture.width, picture.height)
    changed: dict[str, tuple[int, int]] = {}
    strange: list[str] = []
    for path, size in rest.items():
        key = mark_file(path, path.relative_to(folder).parent.parts).key
        name = next((name for name in missing if name.lower() == key), None)
        if name is None:
            strange.append(path.stem)
        else:
            changed[name] = size
            del missing[name]
    notes = _describe_changes(known, folder, changed)
    if missing:
        notes.append(
            f"{known.name} lacks {len(missing)} of its {known.count} pictures ({_join(list(missing))}): figures do "
            "not compare with published ones"
        )
    if strange:
        notes.append(f"{_join(strange)} {'is' if len(strange) == 1 else 'are'} not of {known.name}")
    return notes


def _describe_changes(known: KnownSet, folder: Path, changed: Mapping[str, tuple[int, int]]) -> list[str]:
    """Say of pictures that have the name but not the pixels what became of them."""
    notes: list[str] = []
    whole = {name: (known.pictures[name].width, known.pictures[name].height) for name in changed}
    resized = {name: size for name, size in changed.items() if size != whole[name]}
    for scale in range(2, 9):
        if resized and all(_is_shrunk(size, whole[name], scale) for name, size in resized.items()):
            raise DataError(
                f"{folder} holds {known.name} in 1/{scale} of its size: name the folder that has the originals"
            )
    if resized:
        first = next(iter(resized))
        sizes = f"{_write_size(resized[first])} instead of {_write_size(whole[first])}"
        by_px = next((by_px for by_px in _CROPS_PX if _are_cropped(resized, whole, by_px)), None)
        how = "of another size" if by_px is None else f"cropped to multiples of {by_px}"
        notes.append(
            f"{len(resized)} of {known.count} pictures of {known.name} are {how} ({first}: {sizes}), and published "
            "figures are of whole ones"
        )
    others = [name for name in changed if name not in resized]
    if others:
        notes.append(
            f"{_join(others)} of {known.name} {'has' if len(others) == 1 else 'have'} other pixels than the copies "
            "that are known: another version, or compressed again"
        )
    return notes


def _is_shrunk(size: tuple[int, int], whole: tuple[int, int], scale: int) -> bool:
    return all(side == length // scale for side, length in zip(size, whole, strict=True))


def _are_cropped(
    sizes: Mapping[str, tuple[int, int]], whole: Mapping[str, tuple[int, int]], by_px: int
) -> bool:
    return all(size == tuple(side // by_px * by_px for side in whole[name]) for name, size in sizes.items())


def _write_size(size: tuple[int, int]) -> str:
    return f"{size[0]}×{size[1]}"


def _join(words: Sequence[str]) -> str:
    """Name a few, and count the rest."""
    named = ", ".join(words[:_MOST_NAMED])
    return named if len(words) <= _MOST_NAMED else f"{named} and {len(words) - _MOST_NAMED} more"


def _normalize(name: str) -> str:
    return re.sub(r"[^a-z0-9]", "", name.lower())
