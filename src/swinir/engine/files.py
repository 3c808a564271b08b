"""The one way of a file through a restorer, for a single file, many files and whatever else has files."""

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from swinir import imaging
from swinir.errors import ImageWriteError


@dataclass(frozen=True, kw_only=True)
class FileRestoration:
    """A file to read, and the file that its restoration is written to. The steps may run in different threads.

    Attributes:
        source: read.
        destination: written; its suffix names the format, and its folder is made when needed.
        quality: from 1 to 100 for JPEG, WebP and AVIF; None for one that looks like the original.
        limits: against files that would fill the memory.
    """

    source: Path
    destination: Path
    quality: int | None = None
    limits: imaging.Limits = imaging.DEFAULT_LIMITS

    def read(self) -> imaging.Image:
        """Read the image, if its restoration can be written.

        Raises:
            ImageError: it cannot, or the image cannot be read.
        """
        destination = self.destination
        if destination.suffix.lower() not in imaging.WRITABLE_SUFFIXES:
            known = ", ".join(imaging.WRITABLE_SUFFIXES)
            raise ImageWriteError(
                f"{destination} names no image format that can be written; use one of {known}"
            )
        if destination.exists() and self.source.exists() and destination.samefile(self.source):
            raise ImageWriteError(f"{destination} is the input itself; choose another name for the output")
        try:
            destination.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            reason = error.strerror or error
            raise ImageWriteError(f"folder {destination.parent} cannot be made ({reason})") from error
        return imaging.read(self.source, limits=self.limits)

    def write(self, restored: imaging.Image) -> tuple[str, ...]:
        """Write the restored image, replacing an existing file, and return all notes that a user should read.

        Raises:
            ImageWriteError: it cannot be written.
        """
        return restored.notes + imaging.write(restored, self.destination, quality=self.quality)


def restore_file(
    source: str | os.PathLike[str],
    destination: str | os.PathLike[str],
    restore: Callable[[imaging.Image], imaging.Image],
    *,
    quality: int | None = None,
    limits: imaging.Limits = imaging.DEFAULT_LIMITS,
) -> tuple[str, ...]:
    """Read, restore and write one file; return all notes that a user should read.

    Raises:
        ImageError: a file cannot be read or written, or both are the same.
    """
    file = FileRestoration(source=Path(source), destination=Path(destination), quality=quality, limits=limits)
    return file.write(restore(file.read()))
