"""Which files of a test set are originals and which their low-resolution copies, in the layouts of usual downloads.

Understood are the pictures alone; ``HR`` beside ``LR_bicubic/X2`` (EDSR, KAIR), ``GTmod12`` beside ``LRbicx2``
(BasicSR), ``HR/Set5/x2`` beside ``LR/LRBI/Set5/x2`` (RCAN), ``image_SRF_2/img_001_SRF_2_HR`` (SelfExSR),
``Set5_HR`` beside ``Set5_LR_x2``, ``DIV2K_valid_HR`` beside ``DIV2K_valid_LR_bicubic/X2``, folders ``x2`` and names
with ``x2`` behind them. Copies that were not made by bicubic (``LRBD``, ``LR_unknown``) are passed over.
"""

import os
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

from swinir import imaging
from swinir.errors import DataError

# Of the folder that a user names, so many of its own path's last parts may say what it holds.
_TELLING_PARENTS = 4


class Role(Enum):
    """What a picture of a test set is."""

    ORIGINAL = "original"
    LOW = "low resolution"
    UNMARKED = "unmarked"
    OTHER = "other"


@dataclass(frozen=True, kw_only=True)
class MarkedFile:
    """A picture file, and what its name and its folders say of it.

    Attributes:
        path: the file.
        key: its name without marks, in lower case; originals and their copies share it.
        role: what it is.
        scale: how many times smaller the low resolution is that it is, or belongs to; None where nothing says so.
        rank: of originals that are there twice the lowest is taken: whole ones before cropped ones.
    """

    path: Path
    key: str
    role: Role
    scale: int | None
    rank: int = 0


@dataclass(frozen=True, kw_only=True)
class FilePair:
    """An original, and its low-resolution file where the set has one."""

    name: str
    original: Path
    low: Path | None = None


def image_files(folder: Path) -> list[Path]:
    """List the image files below ``folder``, sorted by path; folders that are links are gone into, each once.

    Raises:
        DataError: the folder is missing or holds no image.
    """
    if not folder.is_dir():
        raise DataError(f"there is no folder {folder}: name one that holds the images")
    files = sorted(path for path in _walk(folder) if _is_image(path) and path.is_file())
    if not files:
        raise DataError(f"no image in {folder}: looked for {', '.join(imaging.READABLE_SUFFIXES)}")
    return files


def _walk(folder: Path) -> Iterator[Path]:
    seen: set[str] = set()
    for where, folders, names in os.walk(folder, followlinks=True):
        real = os.path.realpath(where)
        if real in seen:
            folders.clear()
            continue
        seen.add(real)
        yield from (Path(where, name) for name in names)


def original_files(folder: Path) -> list[Path]:
    """List the originals of a test set, sorted, and nothing else: no low-resolution copy is ever measured as one.

    Raises:
        DataError: the folder is missing, holds no image, or holds low-resolution copies only.
    """
    return [file.path for file in _choose_originals(folder, _mark_files(folder), scale=None)]


def name_pictures(folder: Path, paths: Sequence[Path]) -> list[str]:
    """Name pictures by their files without suffix, or by their places in the folder where names repeat."""
    return _unless_doubled(folder, paths, [path.stem for path in paths])


def pair_files(folder: Path, scale: int) -> list[FilePair]:
    """Pair each original with its low-resolution file for ``scale``; with None where the set has none for it.

    Raises:
        DataError: as ``original_files``, or some originals have a low-resolution file and others none.
    """
    marked = _mark_files(folder)
    originals = _choose_originals(folder, marked, scale=scale)
    low = _find_low(marked, scale) or _find_low(_mark_siblings(folder, scale), scale)
    missing = [file for file in originals if low and file.key not in low]
    if missing:
        place = next(iter(low.values())).parent
        raise DataError(
            f"{place} has no low-resolution file of {missing[0].path.stem}"
            f"{f' and {len(missing) - 1} more' if len(missing) > 1 else ''}: looked for {missing[0].key}, "
            f"{missing[0].key}x{scale} and alike"
        )
    return [
        FilePair(name=name, original=file.path, low=low.get(file.key))
        for name, file in zip(_name_files(folder, originals), originals, strict=True)
    ]


def _is_image(path: Path) -> bool:
    """Tell by its name; hidden files are not pictures (some systems leave ``._a.png`` beside ``a.png``)."""
    return path.suffix.lower() in imaging.READABLE_SUFFIXES and not path.name.startswith(".")


def _mark_files(folder: Path) -> list[MarkedFile]:
    """Read off names and folders what each image file is.

    Raises:
        DataError: the folder is missing, holds no image, or is itself one of low-resolution copies.
    """
    files = image_files(folder)
    above = folder.resolve().parts[-_TELLING_PARENTS:]
    inside = [path.relative_to(folder) for path in files]
    marked = [mark_file(path, relative.parent.parts) for path, relative in zip(files, inside, strict=True)]
    if all(file.role is Role.UNMARKED for file in marked) and _read_folders(above)[0] is Role.LOW:
        raise DataError(f"{folder} holds low-resolution copies: name the folder that has the originals, too")
    return _mark_suffixed(marked)


def mark_file(path: Path, folders: Sequence[str]) -> MarkedFile:
    """Read off the name of a file, and the folders around it within its test set, what it is."""
    stem = path.stem
    role, scale, rank = _read_folders(folders)
    if named := re.fullmatch(r"(.+)_SRF_(\d)_(.+)", stem):
        kinds = {"hr": Role.ORIGINAL, "lr": Role.LOW}
        return MarkedFile(
            path=path,
            key=named[1].lower(),
            role=kinds.get(named[3].lower(), Role.OTHER),
            scale=int(named[2]),
        )
    if named := re.fullmatch(r"(.+?)[_-](HR|GT|LR|LRBI|LRBD|LRDN)(?:_?x(\d))?", stem, re.IGNORECASE):
        kinds = {"hr": Role.ORIGINAL, "gt": Role.ORIGINAL, "lr": Role.LOW, "lrbi": Role.LOW}
        return MarkedFile(
            path=path,
            key=named[1].lower(),
            role=kinds.get(named[2].lower(), Role.OTHER),
            scale=int(named[3]) if named[3] else scale,
            rank=rank,
        )
    if role is Role.LOW and (named := re.fullmatch(r"(.+?)_?x(\d)", stem, re.IGNORECASE)):
        return MarkedFile(path=path, key=named[1].lower(), role=role, scale=int(named[2]), rank=rank)
    return MarkedFile(path=path, key=stem.lower(), role=role, scale=scale, rank=rank)


def _read_folders(folders: Iterable[str]) -> tuple[Role, int | None, int]:
    """Read role, scale and rank off folders, given from the outermost; the innermost that says something counts."""
    scale: int | None = None
    for name in reversed([folder.lower() for folder in folders]):
        if scale is None and (found := re.search(r"(?:(?:^|[^a-z0-9]|lr|bic)x|srf_)([2-8])$", name)):
            scale = int(found[1])
        if cropped := re.fullmatch(r"gtmod(\d+)", name):
            by_px = int(cropped[1])
            # What is cropped for one scale belongs to that scale; what is cropped for all of them to none.
            return Role.ORIGINAL, by_px if by_px <= 8 else scale, by_px
        if re.fullmatch(r"hr|gt|originals?|.+_hr", name):
            return Role.ORIGINAL, scale, 0
        if re.fullmatch(r"lr|lrbi|lrbicubic|lrbic(x\d)?|lr_bicubic(_?x\d)?|.+_lr(_bicubic)?(_?x\d)?", name):
            return Role.LOW, scale, 0
        if re.fullmatch(r"lr.*|.+_lr_.+", name):
            return Role.OTHER, scale, 0
    # A folder "x2" that nothing is said of holds copies.
    return (Role.UNMARKED if scale is None else Role.LOW), scale, 0


def _mark_suffixed(files: list[MarkedFile]) -> list[MarkedFile]:
    """Mark as a copy what is called as another unmarked file and "x2" behind it."""
    unmarked = {file.key for file in files if file.role is Role.UNMARKED}

    def mark(file: MarkedFile) -> MarkedFile:
        named = re.fullmatch(r"(.+?)_?x(\d)", file.key)
        if file.role is not Role.UNMARKED or named is None or named[1] not in unmarked:
            return file
        return MarkedFile(path=file.path, key=named[1], role=Role.LOW, scale=int(named[2]))

    return [mark(file) for file in files]


def _choose_originals(folder: Path, files: list[MarkedFile], *, scale: int | None) -> list[MarkedFile]:
    """Take the originals: marked ones where there are any, of several copies the one that is cropped least."""
    marked = [file for file in files if file.role is Role.ORIGINAL]
    usable = [file for file in marked if scale is None or file.scale in (None, scale)]
    if marked and not usable:
        scales = sorted({file.scale for file in marked if file.scale is not None})
        raise DataError(
            f"{folder} holds originals for ×{', ×'.join(map(str, scales))}, not for ×{scale}: name another folder"
        )
    originals = usable or [file for file in files if file.role is Role.UNMARKED]
    if not originals:
        raise DataError(
            f"{folder} holds low-resolution copies only: name the folder that has the originals, too"
        )
    if not usable:
        return originals
    best: dict[str, MarkedFile] = {}
    for file in originals:
        if file.key not in best or (file.rank, str(file.path)) < (
            best[file.key].rank,
            str(best[file.key].path),
        ):
            best[file.key] = file
    return sorted(best.values(), key=lambda file: file.path)


def _find_low(files: list[MarkedFile], scale: int) -> dict[str, Path]:
    """Find the low-resolution files for a scale, by key; where several have one key, the first by path."""
    found = [file for file in files if file.role is Role.LOW and file.scale in (None, scale)]
    exact = [file for file in found if file.scale == scale]
    return {file.key: file.path for file in reversed(exact or found)}


def _mark_siblings(folder: Path, scale: int) -> list[MarkedFile]:
    """Mark the copies of ``SET_HR`` in ``SET_LR_bicubic/X2`` or ``SET_LR_x2`` beside it."""
    name = folder.resolve().name
    if not name.lower().endswith("_hr"):
        return []
    start = name[: -len("hr")]
    places = (f"{start}LR_bicubic/X{scale}", f"{start}LR_x{scale}")
    return [
        mark_file(path, (*Path(place).parts, *path.relative_to(beside).parent.parts))
        for place in places
        if (beside := folder.resolve().parent / place).is_dir()
        for path in image_files(beside)
    ]


def _name_files(folder: Path, files: Sequence[MarkedFile]) -> list[str]:
    """Name pictures by their marks' rest, or by their path where two would have one name."""
    names = [file.path.stem[: len(file.key)] for file in files]
    return _unless_doubled(folder, [file.path for file in files], names)


def _unless_doubled(folder: Path, paths: Sequence[Path], names: list[str]) -> list[str]:
    if len({name.lower() for name in names}) == len(names):
        return names
    return [path.relative_to(folder).with_suffix("").as_posix() for path in paths]
