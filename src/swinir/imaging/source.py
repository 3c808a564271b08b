"""Where a picture comes from: a file, or its content in memory."""

import os
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import BinaryIO

from swinir.errors import ImageReadError
from swinir.imaging.limits import Limits
from swinir.urls import name_of

# Enough to recognise every format.
_START_BYTES = 4096
_TAIL_BYTES = 32


@dataclass(frozen=True, kw_only=True)
class Source:
    """A file or its content, before anything of it is decoded.

    Attributes:
        path: of the file; None where the content is given.
        data: the content, where it is given.
        name: for messages.
        start: first bytes.
        tail: last bytes.
        num_bytes: of all.
    """

    path: Path | None
    data: bytes | None
    name: str
    start: bytes
    tail: bytes
    num_bytes: int

    @contextmanager
    def open(self) -> Generator[BinaryIO]:
        """Offer the content as a file open for reading."""
        if self.path is not None:
            with self.path.open("rb") as file:
                yield file
        else:
            assert self.data is not None
            with BytesIO(self.data) as file:
                yield file

    def content(self, num_bytes: int | None = None) -> bytes:
        """Return all bytes, or the first ones."""
        if self.data is not None:
            return self.data[:num_bytes]
        with self.open() as file:
            return file.read(-1 if num_bytes is None else num_bytes)

    def with_content(self, data: bytes) -> "Source":
        """Return the same source with other bytes."""
        return _of_content(data, self.name)


def open_source(source: Path | str | bytes | BinaryIO, limits: Limits) -> Source:
    """Look at the ends of a file, or of its content.

    Raises:
        ImageReadError: it is missing, empty, a folder or a device, or cannot be opened.
        ImageTooLargeError: it has more bytes than the limits allow.
    """
    if isinstance(source, bytes | bytearray | memoryview):
        return _checked(_of_content(bytes(source), "the image"), limits)
    if not isinstance(source, str | os.PathLike):
        return _checked(_of_content(source.read(limits.max_file_bytes + 1), "the image"), limits)
    path = Path(source)
    name = shown_path(path)
    try:
        if path.exists() and not path.is_file():
            raise ImageReadError(f"{name} is {'a folder' if path.is_dir() else 'a device'}, not an image")
        with path.open("rb") as file:
            start = file.read(_START_BYTES)
            num_bytes = os.fstat(file.fileno()).st_size
            file.seek(max(0, num_bytes - _TAIL_BYTES))
            tail = file.read(_TAIL_BYTES)
    except FileNotFoundError as error:
        raise ImageReadError(f"{name} does not exist") from error
    except (OSError, ValueError) as error:
        raise ImageReadError(f"{name} cannot be opened ({error})") from error
    opened = Source(path=path, data=None, name=name, start=start, tail=tail, num_bytes=num_bytes)
    return _checked(opened, limits)


def shown_path(path: Path) -> str:
    """Write a name so that any terminal and any encoding can show it: what is no text becomes an escape."""
    text = os.fsencode(name_of(path)).decode("utf-8", "backslashreplace")
    return "".join(each if each.isprintable() else each.encode("unicode_escape").decode() for each in text)


def _of_content(data: bytes, name: str) -> Source:
    return Source(
        path=None,
        data=data,
        name=name,
        start=data[:_START_BYTES],
        tail=data[-_TAIL_BYTES:],
        num_bytes=len(data),
    )


def _checked(source: Source, limits: Limits) -> Source:
    limits.check_file(source.name, source.num_bytes)
    if not source.start:
        raise ImageReadError(f"{source.name} is empty")
    return source
