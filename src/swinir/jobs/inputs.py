"""Which files are meant: files, folders, patterns and lists, without what earlier runs made of them."""

import glob
import os
import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from fnmatch import fnmatch
from pathlib import Path

from swinir import film, imaging
from swinir.engine import read_mark
from swinir.imaging import recognize
from swinir.imaging.formats import FORMATS, HEIC, JPEG_XL, PSD
from swinir.imaging.recognize import describe_other, format_of_content
from swinir.jobs.places import is_folder, is_remote, list_remote, mark_of, match_remote

# Their first bytes are nothing else's, so that a file may have any name.
_SURE_FORMATS = (*FORMATS, HEIC, JPEG_XL, PSD)
_START_BYTES = 4096
# How results are called: a remote file of another name is not asked for its mark, which would take a request each.
_RESULT = re.compile(r".*_(x[\d.]+|[wh]\d+|max\d+|\d+x\d+|denoised|dejpeg|restored)")
# Files beside pictures that nobody takes for pictures.
_OTHER_KINDS = ("an archive", "a film", "a PDF", "a PostScript")


@dataclass(frozen=True, kw_only=True)
class Input:
    """A file to restore.

    Attributes:
        path: of the file.
        place: folder of its result below the output folder.
        is_listed: found in a folder, by a pattern or on a list, not named by itself.
    """

    path: Path
    place: Path = Path()
    is_listed: bool = False


@dataclass(kw_only=True)
class FoundInputs:
    """What the names on a command line stand for.

    Attributes:
        inputs: files to restore, each once.
        own_results: files left out because they are results of this program.
        unreadable: files of picture formats that are not read, and what they are.
        empty: folders without pictures.
        num_others: files left out that are no pictures.
    """

    inputs: list[Input] = field(default_factory=list[Input])
    own_results: list[Path] = field(default_factory=list[Path])
    unreadable: list[tuple[Path, str]] = field(default_factory=list[tuple[Path, str]])
    empty: list[Path] = field(default_factory=list[Path])
    num_others: int = 0

    @property
    def num_pictures(self) -> int:
        """Pictures of all kinds."""
        return len(self.inputs) + len(self.own_results) + len(self.unreadable)


def find_inputs(
    given: Iterable[Path],
    *,
    listed: Iterable[Path] = (),
    include: Sequence[str] = (),
    exclude: Sequence[str] = (),
) -> FoundInputs:
    """Find the files that names stand for.

    Args:
        given: files, folders for all pictures below them, and patterns (``scans/**/*.png``). Hidden files and what
            lies behind links to folders are left out of folders.
        listed: the same from a list: files there count as found, and keep their place in relative folders.
        include: patterns of names or paths, of which files in folders must fit one; none for all.
        exclude: patterns that they must not fit.
    """
    found = FoundInputs()
    seen: set[str] = set()
    entries = [(path, False) for path in given] + [(path, True) for path in listed]
    for path, is_listed in entries:
        num_before, has_known = found.num_pictures, False
        # In folders they lie beside pictures, and take hours.
        takes_films = not is_folder(path) or bool(include)
        for each in _expand(path, include, exclude, is_listed=is_listed):
            place = os.path.realpath(each.path)
            if place in seen:
                has_known = True
                continue
            seen.add(place)
            if is_listed or each.is_listed:
                _sort(each, found, takes_films=takes_films)
            else:
                found.inputs.append(each)
        if is_folder(path) and not has_known and found.num_pictures == num_before:
            found.empty.append(path)
    return found


def is_film(path: Path) -> bool:
    """Tell whether a file is a film, by its first bytes; a remote one, by its name."""
    if is_remote(path):
        return path.suffix.lower() in (*film.FILM_SUFFIXES, *film.OTHER_FILM_SUFFIXES)
    # Opening a pipe would wait for a writer.
    with suppress(OSError):
        if path.is_file():
            with path.open("rb") as file:
                return recognize.is_film(file.read(_START_BYTES))
    return False


def _expand(
    path: Path, include: Sequence[str], exclude: Sequence[str], *, is_listed: bool
) -> Iterator[Input]:
    if is_remote(path):
        yield from _expand_remote(path, include, exclude, is_listed=is_listed)
    elif is_folder(path):
        yield from _walk(path, path, include, exclude)
    elif not os.path.lexists(path) and glob.has_magic(str(path)):
        base = Path(*_fixed_parts(path))
        matches = sorted(Path(name) for name in glob.iglob(str(path), recursive=True))  # noqa: PTH207  as given, links too
        if not matches:
            yield Input(path=path, is_listed=is_listed)
        for match in matches:
            if is_folder(match):
                if "**" not in path.parts:
                    yield from _walk(match, base, include, exclude)
            elif _fits(match.relative_to(base), include, exclude):
                yield Input(path=match, place=match.relative_to(base).parent, is_listed=True)
    else:
        keeps_place = is_listed and not path.is_absolute() and ".." not in path.parts
        yield Input(path=path, place=path.parent if keeps_place else Path(), is_listed=is_listed)


def _expand_remote(
    path: Path, include: Sequence[str], exclude: Sequence[str], *, is_listed: bool
) -> Iterator[Input]:
    if glob.has_magic(str(path)):
        base, matches = match_remote(path)
    elif is_folder(path):
        base, matches = path, list_remote(path)
    else:
        yield Input(path=path, is_listed=is_listed)
        return
    for match in matches:
        place = match.relative_to(base)
        if _fits(place, include, exclude):
            yield Input(path=match, place=place.parent, is_listed=True)


def _fixed_parts(path: Path) -> Iterator[str]:
    for part in path.parts[:-1]:
        if glob.has_magic(part):
            return
        yield part


def _walk(folder: Path, base: Path, include: Sequence[str], exclude: Sequence[str]) -> Iterator[Input]:
    """List files below a folder in the order of their names."""
    paths: list[Path] = []
    for where, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if not name.startswith(".")]
        paths += [Path(where, name) for name in names if not name.startswith(".")]
    for path in sorted(paths):
        if path.is_file() and _fits(path.relative_to(folder), include, exclude):
            yield Input(path=path, place=path.relative_to(base).parent, is_listed=True)


def _fits(place: Path, include: Sequence[str], exclude: Sequence[str]) -> bool:
    def fits_one(patterns: Sequence[str]) -> bool:
        return any(fnmatch(place.name, each) or fnmatch(place.as_posix(), each) for each in patterns)

    return (not include or fits_one(include)) and not fits_one(exclude)


def _sort(each: Input, found: FoundInputs, *, takes_films: bool) -> None:
    """Put a file that was found where it belongs."""
    path = each.path
    if is_remote(path):
        _sort_remote(each, found, takes_films=takes_films)
        return
    if not os.path.isfile(path):  # noqa: PTH113  of a name that is too long this is an answer
        # A broken link, a pipe, or an entry of a list that is not there: reading it says so.
        found.inputs.append(each)
        return
    if path.suffix.lower() not in imaging.READABLE_SUFFIXES:
        with suppress(OSError), path.open("rb") as file:
            start = file.read(_START_BYTES)
            other = describe_other(start)
            if takes_films and recognize.is_film(start):
                if read_mark(path) is not None:
                    found.own_results.append(path)
                else:
                    found.inputs.append(each)
                return
            if other is not None and not other.startswith(_OTHER_KINDS):
                found.unreadable.append((path, other))
                return
            if format_of_content(start) in _SURE_FORMATS:
                found.inputs.append(each)
                return
        found.num_others += 1
    elif read_mark(path) is not None:
        found.own_results.append(path)
    else:
        found.inputs.append(each)


def _sort_remote(each: Input, found: FoundInputs, *, takes_films: bool) -> None:
    """Put a remote file where it belongs, by its name alone where that is enough."""
    path = each.path
    if path.suffix.lower() not in imaging.READABLE_SUFFIXES and not (takes_films and is_film(path)):
        found.num_others += 1
    elif _RESULT.fullmatch(path.stem) and mark_of(path) is not None:
        found.own_results.append(path)
    else:
        found.inputs.append(each)
