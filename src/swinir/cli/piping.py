"""Standard input as an image or a list, standard output as an image: ``-``."""

import os
import shutil
import sys
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import BinaryIO

from swinir import imaging
from swinir.cli.choices import RestoringOptions
from swinir.errors import ImageReadError, ImageWriteError, SwinIRError, UsageError
from swinir.imaging.formats import Format
from swinir.imaging.recognize import format_of_content
from swinir.jobs.inputs import is_film
from swinir.urls import path_of

DASH = Path("-")
_LIST_MARK = "@"


@dataclass(frozen=True)
class Streams:
    """What is restored, with files in place of ``-``.

    Attributes:
        inputs: of the command line.
        options: likewise.
        names: for messages, of the files that stand for ``-``.
    """

    inputs: list[Path]
    options: RestoringOptions
    names: Mapping[Path, str] = field(default_factory=dict[Path, str])


def with_names(text: str, names: Mapping[Path, str]) -> str:
    """Write the names of files that stand for ``-`` in place of their paths."""
    for path, name in names.items():
        text = text.replace(imaging.shown_path(path), name)
    return text


@contextmanager
def standard_streams(inputs: list[Path], options: RestoringOptions) -> Generator[Streams]:
    """Put files in place of ``-`` while the block runs; what it wrote to one goes to standard output when it ends.

    Raises:
        UsageError: ``-`` stands where it cannot.
        ImageReadError: standard input is empty.
    """
    if DASH not in inputs and options.output != DASH:
        yield Streams(inputs, options)
        return
    if len(inputs) != 1 or options.listed is not None or inputs[0].is_dir():
        raise UsageError("- is one image, and so there is one input and one output: leave the others out")
    if options.ray is not None:
        raise UsageError("- is of this machine alone, and --ray restores on others: name files")
    with TemporaryDirectory(prefix="swinir-") as folder:
        source, names = inputs[0], dict[Path, str]()
        if source == DASH:
            source = _spool_standard_input(Path(folder))
            names[source] = "standard input"
        if options.output in (None, DASH) and is_film(source):
            raise UsageError("a film cannot go to standard output: name a file with -o")
        if options.output not in (None, DASH):
            with _errors_named(names):
                yield Streams([source], options, names)
            return
        if sys.stdout.isatty():
            raise UsageError(
                "standard output is a terminal: send it to a file or a program, or name an output"
            )
        suffix = (
            f".{options.image_format.removeprefix('.').lower()}" if options.image_format else source.suffix
        )
        if suffix.lower() not in imaging.WRITABLE_SUFFIXES or (suffix == ".gif" and not options.image_format):
            suffix = ".png"
        result = Path(folder) / f"stdout{suffix}"
        names[result] = "standard output"
        with _errors_named(names):
            yield Streams([source], replace(options, output=result, image_format=None), names)
        if result.exists():
            with result.open("rb") as file:
                _copy_to_standard_output(file)


@contextmanager
def _errors_named(names: Mapping[Path, str]) -> Generator[None]:
    try:
        yield
    except SwinIRError as error:
        error.args = tuple(with_names(str(each), names) for each in error.args)
        raise


def read_list(path: Path) -> list[Path]:
    """Read names, one on each line, or with a zero byte behind each.

    Raises:
        UsageError: the list cannot be read.
    """
    try:
        data = sys.stdin.buffer.read() if path == DASH else path.read_bytes()
    except OSError as error:
        raise UsageError(f"list {imaging.shown_path(path)} cannot be read ({error.strerror})") from error
    names = data.split(b"\0") if b"\0" in data else data.splitlines()
    # As the file system has them, whatever their encoding.
    return [path_of(os.fsdecode(name)) for name in names if name.strip()]


def split_lists(inputs: list[Path], options: RestoringOptions) -> tuple[list[Path], list[Path]]:
    """Tell inputs from entries of lists.

    Raises:
        UsageError: a list cannot be read.
    """
    lists = [options.listed] if options.listed is not None else []
    # A file may be called so.
    named = [path for path in inputs if not (str(path).startswith(_LIST_MARK) and not path.exists())]
    lists += [Path(str(path).removeprefix(_LIST_MARK)) for path in inputs if path not in named]
    return named, [entry for each in lists for entry in read_list(each)]


def _spool_standard_input(folder: Path) -> Path:
    if sys.stdin is None:  # pyright: ignore[reportUnnecessaryComparison]  as a daemon has it
        raise ImageReadError("standard input is closed: send an image to it")
    spooled = folder / "stdin"
    with spooled.open("wb") as file:
        shutil.copyfileobj(sys.stdin.buffer, file)
    with spooled.open("rb") as file:
        start = file.read(4096)
    if not start:
        raise ImageReadError("standard input is empty: send an image to it")
    known = format_of_content(start)
    return spooled.rename(spooled.with_suffix(known.suffixes[0])) if isinstance(known, Format) else spooled


def drop_standard_output() -> None:
    """Let nothing that is left in the buffer be written at exit."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _copy_to_standard_output(file: BinaryIO) -> None:
    try:
        shutil.copyfileobj(file, sys.stdout.buffer)
        sys.stdout.buffer.flush()
    except OSError as error:
        drop_standard_output()
        # Who reads may have enough.
        if not isinstance(error, BrokenPipeError):
            raise ImageWriteError(f"standard output cannot be written ({error.strerror or error})") from error
