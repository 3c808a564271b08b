"""One file by one call: a path, the content of a file, or a file object in, a file out."""

import os
import shutil
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import BinaryIO

from swinir import imaging
from swinir.engine.files import FileRestoration, ImageRestorer
from swinir.engine.progress import Progress
from swinir.options import FramesChoice

FileSource = str | os.PathLike[str] | bytes | BinaryIO


@contextmanager
def file_of(source: FileSource) -> Generator[Path]:
    """Give the content of a file, or a file object, a place on the disk while the block runs; a path is its own."""
    if isinstance(source, (str, os.PathLike)):
        yield Path(source)
        return
    with TemporaryDirectory(prefix="swinir-") as folder:
        path = Path(folder) / "image"
        with path.open("wb") as file:
            if isinstance(source, bytes):
                file.write(source)
            else:
                shutil.copyfileobj(source, file)
        yield path


def restore_file(
    source: FileSource,
    destination: str | os.PathLike[str],
    restorer: ImageRestorer,
    *,
    progress: Progress | None = None,
    quality: int | None = None,
    limits: imaging.Limits = imaging.DEFAULT_LIMITS,
    frames: FramesChoice = FramesChoice.AUTO,
    salvage: bool = False,
) -> tuple[str, ...]:
    """Read, restore and write one file; return all notes that a user should read.

    Args:
        source: a path, the content of a file, or a file object.
        destination: its suffix names the format; an existing file is replaced.
        restorer: a ``Restorer`` or an ``Enlarger``.
        progress: called with how far the work is.
        quality: from 1 to 100 for JPEG, WebP and AVIF; None for one that looks like the original.
        limits: against files that would fill the memory.
        frames: which frames of an animation, or pages, are restored.
        salvage: of a damaged file, restore what can be decoded; a note says what is missing.

    Raises:
        ImageError: a file cannot be read or written, or both are the same.
    """
    with file_of(source) as path:
        file = FileRestoration(
            source=path,
            destination=Path(destination),
            quality=quality,
            limits=limits,
            frames=frames,
            salvage=salvage,
        )
        return file.write(file.restore(file.read(restorer), restorer, progress), restorer)
