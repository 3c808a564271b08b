"""Image files, in and out: what is read is upright and limited, what is written is whole or not there."""

import os
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any, BinaryIO

import pyvips

from swinir.errors import ImageError, ImageReadError, ImageTooLargeError, ImageWriteError
from swinir.files import renamed_when_whole
from swinir.imaging.decode import TiffRecords, UnsupportedPixelsError, count_frames, decode
from swinir.imaging.encode import (
    append_tiff_records,
    exif_to_write,
    insert_exif,
    keep_flags,
    prepare,
)
from swinir.imaging.formats import (
    AVIF,
    FORMATS,
    GIF,
    JPEG,
    PNG,
    TIFF,
    WEBP,
    WRITABLE_SUFFIXES,
    Format,
    count_png_frames,
    format_of_content,
    format_of_suffix,
)
from swinir.imaging.image import Image
from swinir.imaging.tiff import read_records

_WRITABLE = ", ".join(WRITABLE_SUFFIXES)
# Enough to recognise a format, and for the chunk that says how many frames a PNG has.
_START_BYTES = 4096
_READABLE = ", ".join(known.name for known in FORMATS)


@dataclass(frozen=True, kw_only=True)
class Limits:
    """Guards against files that would fill the memory, checked before any pixel is decoded.

    Attributes:
        max_pixels: width times height; as RGB of 8 bit, the default takes 0.8 GB.
        max_side_px: the longer side.
        max_file_bytes: of the file as it is stored.
    """

    max_pixels: int = 2**28
    max_side_px: int = 100_000
    max_file_bytes: int = 2**32

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            if value < 1:
                raise ValueError(f"{name} must be at least 1, got {value}")


DEFAULT_LIMITS = Limits()


def read(source: Path | str | bytes, *, limits: Limits = DEFAULT_LIMITS) -> Image:
    """Read a PNG, JPEG, WebP, TIFF, AVIF or GIF file, recognised by its content and not by its name.

    Pixels keep their depth; palettes and single bits become 8-bit pixels, CMYK becomes sRGB. Of several
    frames or pages the first is read. Whatever a user should know of that is in the notes.

    Args:
        source: a file, or its content.
        limits: beyond them nothing is decoded.

    Raises:
        ImageReadError: it is missing, damaged, cut short, or none of these formats.
        ImageTooLargeError: it is beyond the limits.
    """
    source = Path(source) if isinstance(source, str) else source
    name = "the image" if isinstance(source, bytes) else str(source)
    start, num_bytes = _start_and_size(source, name)
    if num_bytes > limits.max_file_bytes:
        raise ImageTooLargeError(
            f"{name} has {num_bytes:,} bytes and the limit is {limits.max_file_bytes:,}; "
            "raise the limit to read it"
        )
    file_format = format_of_content(start)
    if file_format is None:
        raise ImageReadError(
            f"{name} is empty" if not start else f"{name} is not an image that can be read ({_READABLE})"
        )
    damaged = (
        f"{name} cannot be read: its {file_format.name} data are damaged, cut short or of an unknown kind"
    )
    with _errors_as(ImageReadError, damaged):
        opened = _open(source, file_format)
        _check_size(opened, name, limits)
        frames = count_frames(opened) if file_format is not PNG else count_png_frames(start)
        notes = (_frames_note(file_format, frames),) if frames > 1 else ()
        try:
            return decode(opened, file_format, _tiff_records(source, file_format), notes)
        except UnsupportedPixelsError as error:
            raise ImageReadError(
                f"{name} holds {error}, which is no picture; convert it to 16 bits"
            ) from error


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
    file_format = format_of_suffix(destination.suffix) if destination.suffix else None
    if file_format is None:
        raise ImageWriteError(
            f"{destination} names no image format that can be written; use one of {_WRITABLE}"
        )
    refused = f"{destination} cannot be written"
    with _errors_as(ImageWriteError, refused):
        if destination.is_dir():
            raise ImageWriteError(f"{destination} is a folder; name a file")
    with (
        _errors_as(ImageWriteError, refused),
        renamed_when_whole(destination) as temporary,
    ):
        prepared, exif, notes, options = _prepared(image, file_format, quality, str(destination))
        _save(prepared, file_format, temporary, options)
        if _needs_tiff_records(image, file_format, exif):
            with temporary.open("r+b") as file:
                append_tiff_records(file, exif, image, notes)
        if exif is not None and file_format in (PNG, JPEG, WEBP):
            with (
                renamed_when_whole(temporary) as second,
                temporary.open("rb") as bare,
                second.open("w+b") as whole,
            ):
                insert_exif(bare, whole, exif, file_format, notes)
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
    with _errors_as(ImageWriteError, f"the image cannot be encoded as {file_format.name}"):
        prepared, exif, notes, options = _prepared(image, file_format, quality, "the image")
        data: bytes = getattr(prepared, f"{file_format.operation}save_buffer")(**options)
    if _needs_tiff_records(image, file_format, exif):
        file = BytesIO(data)
        append_tiff_records(file, exif, image, notes)
        data = file.getvalue()
    if exif is not None and file_format in (PNG, JPEG, WEBP):
        whole = BytesIO()
        insert_exif(BytesIO(data), whole, exif, file_format, notes)
        data = whole.getvalue()
    return data, tuple(notes)


def _start_and_size(source: Path | bytes, name: str) -> tuple[bytes, int]:
    """First bytes and length of the file."""
    if isinstance(source, bytes):
        return source[:_START_BYTES], len(source)
    try:
        if source.exists() and not source.is_file():
            raise ImageReadError(f"{name} is {'a folder' if source.is_dir() else 'a device'}, not an image")
        with source.open("rb") as file:
            return file.read(_START_BYTES), os.fstat(file.fileno()).st_size
    except FileNotFoundError as error:
        raise ImageReadError(f"{name} does not exist") from error
    except (OSError, ValueError) as error:
        raise ImageReadError(f"{name} cannot be opened ({error})") from error


def _open(source: Path | bytes, file_format: Format) -> pyvips.Image:
    """Read the header; pixels follow when they are asked for."""
    # A damaged stretch is only a warning to the JPEG and GIF decoders, which go on in grey.
    options: dict[str, Any] = {
        "access": "sequential",
        "fail_on": "warning" if file_format in (JPEG, GIF) else "error",
    }
    suffix = "load_buffer" if isinstance(source, bytes) else "load"
    load = getattr(pyvips.Image, file_format.operation + suffix)
    place = source
    if isinstance(source, Path):
        # As bytes, because a name need not be UTF-8; afresh, because the file may have changed.
        place = os.fsencode(source)
        options["revalidate"] = True
    opened = load(place, **options)
    primary = opened.get("heif-primary") if opened.get_typeof("heif-primary") else 0
    return load(place, page=primary, **options) if primary else opened


def _check_size(opened: pyvips.Image, name: str, limits: Limits) -> None:
    width, height = opened.width, opened.height
    if width * height > limits.max_pixels:
        raise ImageTooLargeError(
            f"{name} is {width:,} × {height:,} pixels and the limit is {limits.max_pixels:,} in all; "
            "raise the limit to read it"
        )
    if max(width, height) > limits.max_side_px:
        raise ImageTooLargeError(
            f"{name} is {width:,} × {height:,} pixels and the limit is {limits.max_side_px:,} a side; "
            "raise the limit to read it"
        )


def _frames_note(file_format: Format, frames: int) -> str:
    if file_format is AVIF:
        return f"the main one of {frames} images"
    return f"first of {frames} {'frames' if file_format in (GIF, WEBP, PNG) else 'pages'}"


def _tiff_records(source: Path | bytes, file_format: Format) -> TiffRecords:
    if file_format is not TIFF:
        return TiffRecords()
    file: BinaryIO
    with BytesIO(source) if isinstance(source, bytes) else source.open("rb") as file:
        exif, iptc = read_records(file)
    return TiffRecords(exif=exif, iptc=iptc)


def _prepared(
    image: Image, file_format: Format, quality: int | None, name: str
) -> tuple[pyvips.Image, bytes | None, list[str], dict[str, Any]]:
    """Picture as libvips is to save it, EXIF that it does not save, notes, and options."""
    if quality is not None and not 1 <= quality <= 100:
        raise ValueError(f"quality must be from 1 to 100, got {quality}")
    if max(image.width, image.height) > file_format.max_side_px:
        raise ImageWriteError(
            f"{name} would be {image.width:,} × {image.height:,} pixels and {file_format.name} holds "
            f"{file_format.max_side_px:,} a side; write PNG or TIFF"
        )
    prepared, notes = prepare(image, file_format)
    exif = exif_to_write(image, file_format)
    num_bytes = image.pixels.nbytes + (0 if image.alpha is None else image.alpha.nbytes)
    options = file_format.save_options(quality=quality, dtype=image.pixels.dtype, num_bytes=num_bytes)
    options["keep"] = keep_flags(file_format, exif)
    return prepared, exif, notes, options


def _needs_tiff_records(image: Image, file_format: Format, exif: bytes | None) -> bool:
    return file_format is TIFF and (exif is not None or image.metadata.iptc is not None)


def _save(prepared: pyvips.Image, file_format: Format, path: Path, options: dict[str, Any]) -> None:
    getattr(prepared, file_format.operation + "save")(os.fsencode(path), **options)


@contextmanager
def _errors_as(kind: type[ImageError], beginning: str) -> Generator[None]:
    """Raise what libvips and the disk raise as an error of ours: one sentence that ends with its cause."""
    try:
        yield
    except pyvips.Error as error:
        reason = _reason(error)
        raise kind(f"{beginning} ({reason})" if reason else beginning) from error
    except OSError as error:
        raise kind(f"{beginning} ({error.strerror or error})") from error
    except UnicodeDecodeError as error:
        # pyvips fails over libvips' message where that quotes bytes of a damaged file, and would again for
        # whoever comes next, since the message stays.
        pyvips.vips_lib.vips_error_clear()
        raise kind(beginning) from error


def _reason(error: pyvips.Error) -> str:
    """First line of libvips' account, which starts with the cause; empty where it gives none."""
    lines = [line.strip() for line in str(error.detail).splitlines() if line.strip()]
    return lines[0] if lines else ""
