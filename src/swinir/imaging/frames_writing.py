"""Animations and documents of several pages, written frame by frame."""

import tempfile
from collections.abc import Iterable, Iterator
from io import BytesIO
from itertools import chain
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import pyvips
from numpy.typing import NDArray

from swinir.errors import ImageWriteError
from swinir.files import renamed_when_whole
from swinir.imaging import complete
from swinir.imaging.apng import AnimatedPngWriter
from swinir.imaging.encode import exif_to_write, with_metadata, xmp_to_write
from swinir.imaging.formats import AVIF, PNG, TIFF, WEBP, Format, format_of_suffix
from swinir.imaging.frames import Timing
from swinir.imaging.image import Image
from swinir.imaging.io import encode, encode_bare, errors_as, prepare_to_write
from swinir.imaging.source import shown_path
from swinir.imaging.tiff_joining import TooLargeForTiffError, append_page

# Frames that are written one below the other are kept in memory up to so many bytes, then in a file.
_MEMORY_BYTES = 2**28


def can_hold(file_format: Format, *, is_animation: bool) -> bool:
    """Whether a file of this format can have all frames of an animation, or all pages."""
    return file_format.holds_frames if is_animation else file_format.holds_pages


def write_frames(
    images: Iterable[Image],
    destination: Path | str,
    *,
    count: int,
    timing: Timing | None,
    quality: int | None = None,
) -> tuple[str, ...]:
    """Write several frames or pages in the format that the suffix names.

    The file is written beside its destination and renamed when it is whole; on failure nothing is left.

    Args:
        images: one after the other; frames of an animation have one size and one type.
        destination: an existing file is replaced.
        count: of images.
        timing: of an animation; None for pages.
        quality: see ``write``.

    Returns:
        What the format could not hold, in sentences for the user.

    Raises:
        ImageWriteError: the format cannot hold them, or the disk refuses.
    """
    destination = Path(destination)
    name = shown_path(destination)
    file_format = format_of_suffix(destination.suffix) if destination.suffix else None
    if file_format is None or not can_hold(file_format, is_animation=timing is not None):
        raise ImageWriteError(f"{name} cannot hold several {'frames' if timing else 'pages'}")
    notes: list[str] = []
    refused = f"{name} cannot be written"
    with (
        errors_as(ImageWriteError, refused),
        renamed_when_whole(destination) as temporary,
        temporary.open("w+b") as file,
    ):
        if timing is None:
            _write_pages(images, file, quality, notes, name)
        elif file_format is PNG:
            _write_png(images, file, count, timing, notes)
        elif file_format is AVIF:
            _write_avif(images, file, timing, quality, notes)
        else:
            _write_stack(images, file, file_format, timing, quality, notes)
    return tuple(dict.fromkeys(notes))


def _write_pages(
    images: Iterable[Image], file: BinaryIO, quality: int | None, notes: list[str], name: str
) -> None:
    for image in images:
        data, lost = encode(image, TIFF.suffixes[0], quality=quality)
        notes += lost
        try:
            append_page(file, BytesIO(data))
        except TooLargeForTiffError as error:
            raise ImageWriteError(
                f"{name} would be larger than a TIFF file of several pages can be ({error}): write the pages apart"
            ) from error


def _write_png(images: Iterable[Image], file: BinaryIO, count: int, timing: Timing, notes: list[str]) -> None:
    writer = AnimatedPngWriter(file, count, timing.loops)
    for number, image in enumerate(images):
        data, described = encode_bare(image, PNG, None, notes)
        extra = complete.png_chunks(described) if number == 0 else ()
        writer.add(BytesIO(data), timing.durations_ms[number], extra)
    writer.finish()


def _write_stack(  # noqa: PLR0917  what is written, and how
    images: Iterable[Image],
    file: BinaryIO,
    file_format: Format,
    timing: Timing,
    quality: int | None,
    notes: list[str],
) -> None:
    """Write GIF and WebP, which libvips takes as one picture of all frames, one below the other."""
    count = len(timing.durations_ms)
    frames = iter(images)
    first = next(frames)
    prepared, described, lost, options = prepare_to_write(first, file_format, quality, "a frame")
    notes += lost
    height, width, bands = prepared.height, prepared.width, prepared.bands
    with tempfile.TemporaryFile() as spool:
        stack = _stack(spool, (count * height, width, bands))
        for number, image in enumerate(chain([first], frames)):
            frame, _, lost, _ = prepare_to_write(image, file_format, quality, "a frame")
            notes += lost
            values = np.frombuffer(frame.write_to_memory(), np.uint8)
            stack[number * height : (number + 1) * height] = values.reshape(height, width, bands)
        whole = pyvips.Image.new_from_memory(stack.data.cast("B"), width, count * height, bands, "uchar")
        whole = with_metadata(whole.copy(interpretation="srgb"), described, file_format, [])
        whole = whole.copy()
        whole.set_type(pyvips.GValue.gint_type, "page-height", height)
        whole.set_type(pyvips.GValue.gint_type, "loop", timing.loops)
        delays = list(timing.durations_ms)
        whole.set_type(pyvips.GValue.array_int_type, "delay", delays)  # pyright: ignore[reportArgumentType]
        data: bytes = getattr(whole, file_format.operation + "save_buffer")(**options)
    if complete.is_complete(described, file_format):
        file.write(data)
    else:
        complete.complete(BytesIO(data), file, described, file_format, notes)


def _stack(spool: BinaryIO, shape: tuple[int, int, int]) -> NDArray[np.uint8]:
    if np.prod(shape) <= _MEMORY_BYTES:
        return np.empty(shape, np.uint8)
    return np.memmap(spool, np.uint8, "w+", shape=shape)


def _write_avif(
    images: Iterable[Image], file: BinaryIO, timing: Timing, quality: int | None, notes: list[str]
) -> None:
    """Write an AVIF sequence, which Pillow does with 8 bits."""
    described: list[Image] = []
    frames = list(_eight_bit_frames(images, notes, described))
    first = described[0]
    exif, xmp = exif_to_write(first, AVIF), xmp_to_write(first, AVIF)
    options: dict[str, Any] = {"icc_profile": first.profile, "exif": exif, "xmp": xmp}
    frames[0].save(
        file,
        "AVIF",
        save_all=True,
        append_images=frames[1:],
        duration=list(timing.durations_ms),
        quality=AVIF.default_quality if quality is None else quality,
        subsampling="4:4:4",
        **{name: value for name, value in options.items() if value is not None},
    )
    if timing.loops:
        notes.append("The film is written to be shown for ever: AVIF files here state no number of times.")


def _eight_bit_frames(images: Iterable[Image], notes: list[str], described: list[Image]) -> Iterator[Any]:
    import PIL.Image  # noqa: PLC0415  takes time that most pictures need not

    for image in images:
        prepared, said, lost, _ = prepare_to_write(image, WEBP, None, "a frame")
        notes += [note.replace(WEBP.name, "An animated AVIF file") for note in lost]
        described.append(said)
        yield PIL.Image.fromarray(prepared.numpy())
