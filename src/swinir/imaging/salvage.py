"""What can still be decoded of damaged files, and how much that is."""

import struct
import zlib
from contextlib import nullcontext, suppress
from dataclasses import replace

import numpy as np
import pyvips

from swinir.errors import ImageReadError
from swinir.imaging import foreign, jpeg, png, webp
from swinir.imaging.decode import decode
from swinir.imaging.formats import AVIF, GIF, JPEG, PNG, WEBP, ForeignFormat, Format
from swinir.imaging.image import Image, UnsupportedPixelsError
from swinir.imaging.limits import Limits
from swinir.imaging.opening import Opened, jpeg_warnings_dropped, jpeg_warnings_raised, load, open_file
from swinir.imaging.source import Source

_GIF_BY_PILLOW = ForeignFormat(name="GIF", suffixes=(".gif",), pillow="GIF")
_MOST_BYTES_BEFORE_FRAME = 2**22
_ROWS = 16
_GRAY = 0x80
_NOTE_BEHIND = "The file is damaged behind its first picture, which is whole."


def can_be_salvaged(file_format: Format | ForeignFormat) -> bool:
    """Whether parts of damaged files of a format can be decoded."""
    return file_format is not AVIF and not (isinstance(file_format, ForeignFormat) and file_format.extra)


def salvage(source: Source, file_format: Format | ForeignFormat, limits: Limits) -> Image | None:
    """Decode what can be decoded of a damaged file; of several frames or pages the first.

    Returns:
        The picture with a note on what is missing, which is grey, black or transparent; None where nothing is left.

    Raises:
        ImageReadError: the file is sound and of a kind that cannot be read.
        ImageTooLargeError: it is beyond the limits.
    """
    with suppress(pyvips.Error, zlib.error, struct.error, OSError):
        if isinstance(file_format, ForeignFormat):
            return _by_pillow(source, file_format, limits)
        if file_format is PNG:
            return _salvage_png(source, limits)
        if file_format is WEBP:
            return _salvage_webp(source, limits)
        if file_format is not AVIF:
            return _salvage_by_libvips(source, file_format, limits)
    return None


def find_damage(opened: Opened, frame: int = 0) -> int | None:
    """Return the row about which a picture is first damaged, None for a sound one; all of it is decoded for that."""
    top = 0
    with suppress(pyvips.Error):
        with jpeg_warnings_raised() if opened.file_format is JPEG else nullcontext():
            image = load(opened, frame)
            region = pyvips.Region.new(image)
            for top in range(0, image.height, _ROWS):
                region.fetch(0, top, image.width, min(_ROWS, image.height - top))
        return None
    return top


def read_leniently(opened: Opened, frame: int, limits: Limits) -> Image:
    """Decode a frame or page whatever is damaged, with a note on it.

    Raises:
        ImageReadError: its values are no picture.
        pyvips.Error: nothing of it can be decoded.
    """
    try:
        return _read_leniently(opened, frame, limits)
    except UnsupportedPixelsError as error:
        raise ImageReadError(f"{opened.source.name} holds {error}, which cannot be read") from error


def _read_leniently(opened: Opened, frame: int, limits: Limits) -> Image:
    first = find_damage(opened, frame)
    with jpeg_warnings_dropped() if opened.file_format is JPEG else nullcontext():
        image = load(opened, frame, fail_on="none")
        limits.check_size(opened.source.name, image.width, image.height)
        height = image.height
        picture = decode(image, opened.file_format, opened.facts)
    if first is None:
        return picture
    notes = tuple(note for note in picture.notes if note != jpeg.NOTE_ON_END)
    if opened.file_format is GIF:
        noted = _noted_by_content(picture)
        if noted is None:
            raise pyvips.Error("no row is left")
        return noted
    if first == 0 and _has_detail_below(picture):
        note = "The file is damaged: finer detail is missing from the picture, or parts of it are."
    else:
        note = _note_on_rows(first, height)
    return replace(picture, notes=(*notes, note))


def _salvage_by_libvips(source: Source, file_format: Format, limits: Limits) -> Image | None:
    opened = open_file(source, file_format, limits)
    with suppress(pyvips.Error):
        return read_leniently(opened, 0, limits)
    if file_format is not GIF:
        return None
    # The first frame's pixels have a byte or two each.
    width, height = struct.unpack("<HH", source.start[6:10])
    most = _MOST_BYTES_BEFORE_FRAME + 2 * width * height
    return _by_pillow(source.with_content(source.content(most)), _GIF_BY_PILLOW, limits)


def _by_pillow(source: Source, file_format: ForeignFormat, limits: Limits) -> Image | None:
    with suppress(ImageReadError):
        return _noted_by_content(foreign.read(source, file_format, limits, salvage=True))
    return None


def _salvage_png(source: Source, limits: Limits) -> Image | None:
    data, kept, total = png.mended(source.content())
    if kept == 0:
        return None
    opened = open_file(source.with_content(data), PNG, replace(limits, max_expansion=2**40))
    image = load(opened)
    picture = decode(image, PNG, replace(opened.facts, frames=1))
    if kept == total:
        note = "The file is damaged: its checksums do not fit, so that some pixels may be wrong."
    elif image.get_typeof("interlaced"):
        note = f"The file is damaged: about {1 - kept / total:.0%} of its detail is missing."
    else:
        note = _note_on_rows(round(image.height * kept / total), image.height)
    return picture.with_notes((note,))


def _salvage_webp(source: Source, limits: Limits) -> Image | None:
    """Decode a WebP file whose missing bytes are filled in two ways: where both agree, they do not matter."""
    data = source.content()
    pictures = list[Image]()
    for filling in (b"\0", b"\x5a", b"\xff"):
        with suppress(pyvips.Error):
            opened = open_file(source.with_content(webp.mended(data, filling)), WEBP, limits)
            pictures.append(decode(load(opened), WEBP, opened.facts))
    if len(pictures) < 2:
        return None
    first, *others = pictures
    differs = np.zeros(first.height, bool)
    for other in others:
        differs |= (first.pixels != other.pixels).any(axis=(1, 2))
    sound = int(differs.argmax()) if differs.any() else first.height
    first.pixels[sound:] = _GRAY
    return None if sound == 0 else first.with_notes((_note_on_rows(sound, first.height),))


def _noted_by_content(picture: Image) -> Image | None:
    """Say how many rows are of one colour, as those are that a decoder leaves out; None if all are."""
    rows = picture.pixels if picture.alpha is None else np.dstack([picture.pixels, picture.alpha])
    missing = int((rows == rows[:, :1]).all(axis=(1, 2)).sum())
    height = picture.height
    if missing == height:
        return None
    note = f"The file is damaged: of {height:,} rows about {missing:,} ({missing / height:.0%}) are missing."
    return picture.with_notes((note if missing else _NOTE_BEHIND,))


def _has_detail_below(picture: Image) -> bool:
    """Whether the last rows hold anything, as those of a coarse picture do."""
    last = picture.pixels[-_ROWS:]
    return bool((last != last[-1, -1]).any())


def _note_on_rows(first: int, height: int) -> str:
    if first >= height:
        return _NOTE_BEHIND
    share = (height - first) / height
    return (
        f"The file is damaged: of {height:,} rows about {height - first:,} ({share:.0%}), from row {first:,} on, "
        "are missing or may be wrong."
    )
