"""Standard input as an image or a list, standard output as an image: ``-``."""

import os
import shutil
import sys
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import BinaryIO

from swinir import imaging
from swinir.cli.choices import RestoringOptions
from swinir.errors import ImageReadError, UsageError
from swinir.imaging.formats import Format
from swinir.imaging.recognize import format_of_content
from swinir.jobs.inputs import is_film
from swinir.urls import path_of

DASH = Path("-")
_LIST_MARK = "@"


@contextmanager
def standard_streams(
    inputs: list[Path], options: RestoringOptions
) -> Generator[tuple[list[Path], RestoringOptions]]:
    """Put files in place of ``-`` while the block runs; what it wrote to one goes to standard output when it ends.

    Raises:
        UsageError: ``-`` stands where it cannot.
        ImageReadError: standard input is empty.
    """
    if DASH not in inputs and options.output != DASH:
        yield inputs, options
        return
    if len(inputs) != 1 or options.listed is not None or inputs[0].is_dir():
        raise UsageError("- is one image, and so there is one input and one output: leave the others out")
    if options.ray is not None:
        raise UsageError("- is of this machine alone, and --ray restores on others: name files")
    with TemporaryDirectory(prefix="swinir-") as folder:
        source = inputs[0]
        if source == DASH:
            source = _spool_standard_input(Path(folder))
        if options.output in (None, DASH) and is_film(source):
            raise UsageError("a film cannot go to standard output: name a file with -o")
        if options.output not in (None, DASH):
            yield [source], options
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
        yield [source], replace(options, output=result, image_format=None)
        if result.exists():
            with result.open("rb") as file:
                _copy_to_standard_output(file)


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
    spooled = folder / "stdin"
    with spooled.open("wb") as file:
        shutil.copyfileobj(sys.stdin.buffer, file)
    with spooled.open("rb") as file:
        start = file.read(4096)
    if not start:
        raise ImageReadError("standard input is empty: send an image to it")
    known = format_of_content(start)
    return spooled.rename(spooled.with_suffix(known.suffixes[0])) if isinstance(known, Format) else spooled


def _copy_to_standard_output(file: BinaryIO) -> None:
    try:
        shutil.copyfileobj(file, sys.stdout.buffer)
        sys.stdout.buffer.flush()
    except BrokenPipeError:
        # Who reads has enough. What is left in the buffer must not be written at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
