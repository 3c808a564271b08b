"""Whether a result can be written where it is meant to go, before the work for it begins."""

import shutil
from pathlib import Path
from tempfile import TemporaryFile

from swinir import imaging
from swinir.errors import ImageWriteError
from swinir.imaging.formats import Format
from swinir.imaging.io import format_to_write

# Of its bytes in memory, what a picture that is written takes at least: half of what photographs do.
_LEAST_SHARE = {"PNG": 0.15, "TIFF": 0.15}
_LEAST_SHARE_OF_OTHERS = 0.02


def make_place(source: Path, destination: Path) -> None:
    """Make the folder of a result, which must not be its own input.

    Raises:
        ImageWriteError: it is, or the folder cannot be made.
    """
    if destination.exists() and source.exists() and destination.samefile(source):
        raise ImageWriteError(
            f"{imaging.shown_path(destination)} is the input itself; choose another name for the output"
        )
    folder = destination.parent
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ImageWriteError(
            f"folder {imaging.shown_path(folder)} cannot be made ({error.strerror or error})"
        ) from error


def check_place(source: Path, destination: Path) -> Format:
    """Require that a file of this name can be made, and return its format.

    Raises:
        ImageWriteError: it cannot.
    """
    file_format = format_to_write(destination)
    make_place(source, destination)
    folder = destination.parent
    try:
        with TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise ImageWriteError(
            f"nothing can be written to {imaging.shown_path(folder)} ({error.strerror}): choose another output"
        ) from error
    return file_format


def check_result(image: imaging.Image, size: tuple[int, int], file_format: Format, destination: Path) -> None:
    """Require that the format holds what comes out, and the disk, as far as that can be known.

    Args:
        image: what is restored.
        size: height and width of the result.
        file_format: of the result.
        destination: where it goes.

    Raises:
        ImageWriteError: one of them does not.
    """
    height, width = size
    name = imaging.shown_path(destination)
    imaging.check_writable(file_format, width, height, name)
    channels = image.channels + (image.alpha is not None)
    share = _LEAST_SHARE.get(file_format.name, _LEAST_SHARE_OF_OTHERS)
    needed = int(height * width * channels * image.pixels.itemsize * share)
    check_space(destination, needed)


def check_space(destination: Path, needed_bytes: int) -> None:
    """Require that a disk has room for a result.

    Raises:
        ImageWriteError: it has not.
    """
    free = shutil.disk_usage(destination.parent).free
    if needed_bytes > free:
        raise ImageWriteError(
            f"{imaging.shown_path(destination)} would take about {needed_bytes / 1e6:,.0f} MB and "
            f"{free / 1e6:,.0f} MB are free: make room, or choose another output"
        )
