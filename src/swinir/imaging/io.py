"""Image files, in and out: what is read is upright and limited, what is written is whole or not there."""

import os
from collections.abc import Generator
from contextlib import contextmanager, nullcontext
from io import BytesIO
from pathlib import Path
from typing import Any, BinaryIO

import pyvips

from swinir.errors import ImageError, ImageReadError, ImageWriteError, UsageError
from swinir.files import renamed_when_whole
from swinir.imaging import complete, foreign
from swinir.imaging.decode import decode
from swinir.imaging.encode import options_to_save, prepare, written_bits
from swinir.imaging.formats import (
    AVIF,
    FOREIGN_FORMATS,
    FORMATS,
    GIF,
    JPEG,
    PNG,
    WEBP,
    WRITABLE_SUFFIXES,
    ForeignFormat,
    Format,
    format_of_suffix,
)
from swinir.imaging.image import Image, UnsupportedPixelsError
from swinir.imaging.limits import DEFAULT_LIMITS, Limits
from swinir.imaging.opening import Opened, jpeg_warnings_raised, loaded, open_file
from swinir.imaging.recognize import describe_other, format_of_content
from swinir.imaging.salvage import can_be_salvaged
from swinir.imaging.salvage import salvage as salvage_damaged
from swinir.imaging.source import Source, open_source, shown_path

_ADVICE = "--salvage restores what can be decoded"
_SYSTEM = "system error: "
_WRITABLE = ", ".join(WRITABLE_SUFFIXES)
_READABLE = ", ".join(known.name for known in (*FORMATS, *FOREIGN_FORMATS))


def read(
    source: Path | str | bytes | BinaryIO, *, limits: Limits = DEFAULT_LIMITS, salvage: bool = False
) -> Image:
    """Read an image file, recognised by its content and not by its name.

    Pixels keep their depth; palettes and single bits become 8-bit pixels, CMYK becomes sRGB. Of several
    frames or pages the first is read. Whatever a user should know of that is in the notes.

    Args:
        source: a file, its content, or a file object.
        limits: beyond them nothing is decoded.
        salvage: of a damaged file, read what can be decoded; a note says what is missing.

    Raises:
        ImageReadError: it is missing, damaged, cut short, or none of the formats that are known.
        ImageTooLargeError: it is beyond the limits.
        MissingPackageError: its format takes a package that is not installed.
    """
    opened_source = open_source(source, limits)
    file_format = recognize(opened_source)
    try:
        with damage_as_errors(opened_source, file_format, salvage=salvage):
            if not isinstance(file_format, Format):
                return foreign.read(opened_source, file_format, limits)
            opened = open_file(opened_source, file_format, limits)
            return read_frame(opened, 0, limits, notes=note_on_frames(opened))
    except ImageReadError:
        salvaged = salvage_damaged(opened_source, file_format, limits) if salvage else None
        if salvaged is None:
            raise
        return salvaged


@contextmanager
def damage_as_errors(
    source: Source, file_format: Format | ForeignFormat, *, salvage: bool = False
) -> Generator[None]:
    """Raise what libvips and the disk raise over a damaged file as an ``ImageReadError``.

    Args:
        source: the file.
        file_format: what it is.
        salvage: whether that was asked for.
    """
    advice = ""
    if can_be_salvaged(file_format):
        advice = "; nothing of it can be decoded" if salvage else f"; {_ADVICE}"
    with errors_as(
        ImageReadError,
        f"{source.name} cannot be read: its {file_format.name} data are damaged, cut short or of an unknown kind",
        advice,
    ):
        yield


def recognize(source: Source) -> "Format | foreign.ForeignFormat":
    """Say what a file is by its content.

    Raises:
        ImageReadError: it is nothing that can be read.
    """
    suffix = source.path.suffix if source.path is not None else ""
    file_format = format_of_content(source.start, source.tail, suffix)
    if file_format is None:
        other = describe_other(source.start)
        if other is not None:
            raise ImageReadError(f"{source.name} is {other}")
        raise ImageReadError(f"{source.name} is not an image that can be read ({_READABLE})")
    return file_format


def read_frame(opened: Opened, frame: int, limits: Limits, *, notes: tuple[str, ...] = ()) -> Image:
    """Decode one frame or page of an opened file.

    Raises:
        ImageReadError: its values are no picture.
        ImageTooLargeError: it is beyond the limits.
        pyvips.Error: it is damaged.
    """
    name = opened.source.name
    try:
        with (
            jpeg_warnings_raised() if opened.file_format is JPEG else nullcontext(),
            loaded(opened, frame) as image,
        ):
            limits.check_size(name, image.width, image.height, num_bytes=opened.num_bytes)
            decoded = decode(image, opened.file_format, opened.facts)
    except UnsupportedPixelsError as error:
        raise ImageReadError(f"{name} holds {error}, which cannot be read; convert it to 16 bits") from error
    return decoded.with_notes(notes)


def format_to_write(destination: Path, *, others: tuple[str, ...] = ()) -> Format:
    """Return the format that a name stands for; ``others`` are suffixes that may be used too.

    Raises:
        ImageWriteError: none that is written here.
    """
    file_format = format_of_suffix(destination.suffix) if destination.suffix else None
    if file_format is None:
        known = ", ".join((*WRITABLE_SUFFIXES, *others))
        raise ImageWriteError(
            f"{shown_path(destination)} names no image format that can be written; use one of {known}"
        )
    return file_format


def write(image: Image, destination: Path | str, *, quality: int | None = None) -> tuple[str, ...]:
    """Write in the format that the suffix names.

    The file is written beside its destination and renamed when it is whole; on failure nothing is left.

    Args:
        image: written as near to itself as the format can hold.
        destination: an existing file is replaced.
        quality: from 1 to 100 for JPEG, WebP and AVIF; None for one that looks like the original.

    Returns:
        What the format could not hold, in sentences for the user.

    Raises:
        ImageWriteError: the suffix is unknown, the picture too large for the format, or the disk refuses.
    """
    destination = Path(destination)
    name = shown_path(destination)
    file_format = format_to_write(destination)
    refused = f"{name} cannot be written"
    with errors_as(ImageWriteError, refused):
        if destination.is_dir():
            raise ImageWriteError(f"{name} is a folder; name a file")
    with (
        errors_as(ImageWriteError, refused),
        renamed_when_whole(destination) as temporary,
    ):
        prepared, described, notes, options = prepare_to_write(image, file_format, quality, name)
        _save(prepared, file_format, temporary, options)
        complete.complete_file(temporary, described, file_format, notes)
    return tuple(notes)


def encode(image: Image, format: str, *, quality: int | None = None) -> tuple[bytes, tuple[str, ...]]:  # noqa: A002
    """Write to memory what write() would write to a file.

    Args:
        image: written as near to itself as the format can hold.
        format: a suffix, with or without its dot: "png", ".jpg".
        quality: from 1 to 100 for JPEG, WebP and AVIF; None for one that looks like the original.

    Returns:
        The file, and what the format could not hold.
    """
    file_format = format_of_suffix(format)
    if file_format is None:
        raise ImageWriteError(f"{format!r} is no image format that can be written; use one of {_WRITABLE}")
    notes: list[str] = []
    with errors_as(ImageWriteError, f"the image cannot be encoded as {file_format.name}"):
        data, described = encode_bare(image, file_format, quality, notes)
    if not complete.is_complete(described, file_format):
        whole = BytesIO()
        complete.complete(BytesIO(data), whole, described, file_format, notes)
        data = whole.getvalue()
    return data, tuple(notes)


def encode_bare(
    image: Image, file_format: Format, quality: int | None, notes: list[str]
) -> tuple[bytes, Image]:
    """Encode what libvips writes of a picture.

    Returns:
        The file, and the image that it describes once it is completed.
    """
    prepared, described, lost, options = prepare_to_write(image, file_format, quality, "the image")
    notes += lost
    return getattr(prepared, f"{file_format.operation}save_buffer")(**options), described


def check_writable(file_format: Format, width: int, height: int, name: str) -> None:
    """Refuse a picture that the format cannot hold.

    Raises:
        ImageWriteError: a side is too long.
    """
    if max(width, height) > file_format.max_side_px:
        raise ImageWriteError(
            f"{name} would be {width:,} × {height:,} pixels and {file_format.name} holds "
            f"{file_format.max_side_px:,} a side; write PNG or TIFF"
        )


def note_on_frames(opened: Opened) -> tuple[str, ...]:
    """Say what is lost where a file has more than one frame and one is read."""
    frames, file_format = opened.num_frames, opened.file_format
    if frames <= 1:
        return ()
    kind = "frames" if file_format in (GIF, WEBP, PNG, AVIF) else "pages"
    return (f"Of {frames:,} {kind} the first was read.",)


def prepare_to_write(
    image: Image, file_format: Format, quality: int | None, name: str
) -> tuple[pyvips.Image, Image, list[str], dict[str, Any]]:
    """Return the picture as libvips is to save it, the image that the file describes, notes, and options."""
    if quality is not None and not 1 <= quality <= 100:
        raise UsageError(f"quality must be from 1 to 100, got {quality}")
    check_writable(file_format, image.width, image.height, name)
    prepared, described, notes = prepare(image, file_format)
    complete.note_lost_texts(described, file_format, notes)
    num_bytes = image.pixels.nbytes + (0 if image.alpha is None else image.alpha.nbytes)
    bits = written_bits(image, file_format)
    options = options_to_save(
        described, prepared, file_format, quality=quality, bits=bits, num_bytes=num_bytes
    )
    return prepared, described, notes, options


def _save(prepared: pyvips.Image, file_format: Format, path: Path, options: dict[str, Any]) -> None:
    getattr(prepared, file_format.operation + "save")(os.fsencode(path), **options)


@contextmanager
def errors_as(kind: type[ImageError], beginning: str, advice: str = "") -> Generator[None]:
    """Raise what libvips and the disk raise as an error of ours: one sentence with its cause, and what to do."""
    try:
        yield
    except pyvips.Error as error:
        reason = _reason(error)
        raise kind((f"{beginning} ({reason})" if reason else beginning) + advice) from error
    except OSError as error:
        raise kind(f"{beginning} ({error.strerror or error})") from error
    except UnicodeDecodeError as error:
        # pyvips fails over libvips' message where that quotes bytes of a damaged file, and would again for
        # whoever comes next, since the message stays.
        pyvips.vips_lib.vips_error_clear()
        raise kind(beginning + advice) from error


def _reason(error: pyvips.Error) -> str:
    """Return what the system says, or the first line of libvips' account, which starts with the cause."""
    lines = [line.strip() for line in str(error.detail).splitlines() if line.strip()]
    causes = [line.removeprefix(_SYSTEM) for line in lines[1:2] if line.startswith(_SYSTEM)]
    return (causes or lines or [""])[0]
