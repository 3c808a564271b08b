"""From a file to an opened libvips image: what it says is read and checked before libvips sees it."""

import os
import threading
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import pyvips

from swinir.errors import ImageReadError
from swinir.imaging import gif, heif, jpeg, png, webp
from swinir.imaging.facts import Facts
from swinir.imaging.formats import AVIF, GIF, JPEG, PNG, TIFF, WEBP, Format
from swinir.imaging.gain_map import read_gain_map
from swinir.imaging.limits import Limits
from swinir.imaging.source import Source
from swinir.imaging.strip_blocks import is_doubted, join_strips
from swinir.imaging.tiff import read_records
from swinir.imaging.tiff_pages import Layout, Page, read_pages
from swinir.imaging.tiff_samples import needs_unpacking, unpack
from swinir.imaging.xmp import claims_gain_map, claims_motion, without_gain_map, without_motion

_READERS = {
    PNG.name: png.read_facts,
    GIF.name: gif.read_facts,
    AVIF.name: heif.read_facts,
    WEBP.name: webp.read_facts,
}


_JPEG_LOCK = threading.Lock()


@dataclass(frozen=True, kw_only=True)
class Opened:
    """A file whose header has been read, and none of its pixels.

    Attributes:
        source: to load from; mended where the file needed it.
        file_format: what it is.
        facts: what it says that libvips does not read.
        layout: of a TIFF file.
        pages: of a TIFF file, those that are pictures of their own.
    """

    source: Source
    file_format: Format
    facts: Facts
    layout: Layout | None = None
    pages: tuple[Page, ...] = ()

    @property
    def num_frames(self) -> int:
        """Frames of an animation, or pages."""
        return max(1, len(self.pages)) if self.pages else self.facts.frames

    @property
    def num_bytes(self) -> int:
        """Length of the file, had its values 8 bits: drawings of one bit are made of few bytes."""
        bits = self.facts.bits or 8
        return self.source.num_bytes * max(1, 8 // max(1, bits))


def open_file(source: Source, file_format: Format, limits: Limits) -> Opened:
    """Read what a file says, and check that against the limits.

    Raises:
        ImageReadError: it is of a kind that cannot be read.
        ImageTooLargeError: it is beyond the limits.
    """
    opened = Opened(source=source, file_format=file_format, facts=Facts())
    if file_format is JPEG:
        opened = _open_jpeg(opened, limits)
    elif file_format is TIFF:
        opened = _open_tiff(opened, limits)
    else:
        reader = _READERS.get(file_format.name)
        if reader is not None:
            with source.open() as file:
                opened = replace(opened, facts=reader(file, source.name, limits))
    facts = opened.facts
    if facts.width_px and facts.height_px:
        limits.check_size(
            source.name,
            facts.width_px,
            facts.height_px,
            frames=facts.frames,
            num_bytes=opened.num_bytes,
        )
    return opened


def load(opened: Opened, frame: int = 0, *, fail_on: str | None = None) -> pyvips.Image:
    """Let libvips open one frame or page, for sequential access; pixels follow when they are asked for.

    Args:
        opened: the file.
        frame: of an animation, or page.
        fail_on: what damage ends it: "warning", "error" or "none"; None for what suits the format.

    Raises:
        pyvips.Error: the header is damaged.
        UnsupportedPixelsError: its values are packed in a way that is not known.
    """
    file_format = opened.file_format
    # A damaged stretch is only a warning to the JPEG and GIF decoders, which go on in grey.
    fail_on = fail_on or ("warning" if file_format in (JPEG, GIF) else "error")
    options: dict[str, Any] = {"access": "sequential", "fail_on": fail_on}
    if file_format is TIFF:
        # Its limits of memory refuse sound files of large strips; those of this program are kept before.
        options["unlimited"] = True
    if opened.layout is not None and opened.pages:
        page = opened.pages[frame]
        if needs_unpacking(page):
            return unpack(opened.source, opened.layout, page)
        options["page"] = page.number
    elif file_format in (GIF, WEBP) and frame:
        options["page"] = frame
    return _load(opened, options)


@contextmanager
def loaded(opened: Opened, frame: int = 0) -> Generator[pyvips.Image]:
    """Let libvips open one frame or page, as ``load`` does, also one that libtiff takes for damaged and is not.

    Raises:
        pyvips.Error: it is damaged.
        UnsupportedPixelsError: its values are packed in a way that is not known.
    """
    layout = opened.layout
    if layout is not None and opened.pages and is_doubted(opened.pages[frame]):
        with opened.source.open() as file:
            joined = join_strips(file, layout, opened.pages[frame])
            yield load(opened, frame) if joined is None else joined.image
    else:
        yield load(opened, frame)


def load_all(opened: Opened, *, fail_on: str | None = None) -> pyvips.Image:
    """Let libvips open all frames of a GIF or WebP file, one below the other, for sequential access.

    Args:
        opened: the file.
        fail_on: as of ``load``.

    Raises:
        pyvips.Error: the header is damaged.
    """
    fail_on = fail_on or ("warning" if opened.file_format is GIF else "error")
    return _load(opened, {"access": "sequential", "fail_on": fail_on, "n": -1})


@contextmanager
def jpeg_warnings_raised() -> Generator[None]:
    """Let what libjpeg complains of while the block decodes be an error.

    libvips looks for complaints before it reads on, so those of the last rows only reach its list of messages,
    which all threads share.

    Raises:
        pyvips.Error: there were complaints.
    """
    with _JPEG_LOCK:
        pyvips.vips_lib.vips_error_clear()
        yield
        if pyvips.ffi.string(pyvips.vips_lib.vips_error_buffer()).strip():
            # It takes the messages with it.
            raise pyvips.Error("damaged JPEG data")


@contextmanager
def jpeg_warnings_dropped() -> Generator[None]:
    """Forget what libjpeg complains of while the block decodes, so that no other decoding takes it for its own."""
    with _JPEG_LOCK:
        try:
            yield
        finally:
            pyvips.vips_lib.vips_error_clear()


def _load(opened: Opened, options: dict[str, Any]) -> pyvips.Image:
    source = opened.source
    operation = opened.file_format.operation
    if source.path is None:
        image = getattr(pyvips.Image, operation + "load_buffer")(source.content(), **options)
    else:
        # As bytes, because a name need not be UTF-8; afresh, because the file may have changed.
        image = getattr(pyvips.Image, operation + "load")(
            os.fsencode(source.path), revalidate=True, **options
        )
    primary = image.get("heif-primary") if image.get_typeof("heif-primary") else 0
    return _load(opened, {**options, "page": primary}) if primary and "page" not in options else image


def _open_jpeg(opened: Opened, limits: Limits) -> Opened:
    source = opened.source
    with source.open() as file:
        facts, structure = jpeg.read_facts(file, source.name, limits)
        gain_map, others = read_gain_map(file, structure, source.name, limits)
    facts = replace(facts, gain_map=gain_map)
    facts = _with_true_claims(facts, others)
    if structure.end is None or structure.stray or structure.has_odd_headers:
        data, notes = jpeg.mended(source.content(structure.end or structure.cut), structure)
        source = source.with_content(data)
        facts = replace(facts, notes=(*facts.notes, *notes))
    return replace(opened, source=source, facts=facts)


def _with_true_claims(facts: Facts, others: int) -> Facts:
    """Take out of XMP what it says of pictures and films that are not kept, and say so."""
    notes = list(facts.notes)
    xmp = facts.xmp
    if xmp is not None and claims_motion(xmp):
        xmp = without_motion(xmp)
        notes.append("The film of this motion photo was left out.")
    if xmp is not None and claims_gain_map(xmp) and facts.gain_map is None:
        xmp = without_gain_map(xmp)
        notes.append(
            "The file promises an HDR gain map and has none that can be read: the promise was left out."
        )
    if others:
        notes.append(f"Of {1 + others} pictures in the file the first was read.")
    return replace(facts, xmp=xmp, notes=tuple(notes))


def _open_tiff(opened: Opened, limits: Limits) -> Opened:
    source = opened.source
    with source.open() as file:
        read = read_pages(file, source.name, limits)
        if read is None:
            return opened
        layout, pages = read
        pictures = [page for page in pages if page.is_picture] or pages
        if pages and pages[0].is_raw:
            raise ImageReadError(f"{source.name} is a camera's raw file: develop it first")
        exif, iptc, notes = read_records(file)
    facts = Facts(exif=exif, iptc=iptc, notes=notes)
    if pictures:
        first = pictures[0]
        facts = replace(facts, width_px=first.width_px, height_px=first.height_px, bits=first.bits)
        if first.is_georeferenced:
            lost = "Where on earth the pixels lie (GeoTIFF) was left out, for it holds for the old size."
            facts = replace(facts, notes=(*facts.notes, lost))
    return replace(opened, facts=facts, layout=layout, pages=tuple(pictures))
