"""Pictures written from top to bottom, a band of rows at a time: any size in the memory of a few rows."""

import os
import secrets
import shutil
import struct
import threading
import zlib
from collections.abc import Generator, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from queue import Full, Queue
from types import TracebackType
from typing import Any, Self

import numpy as np
import pyvips
from numpy.typing import NDArray

from swinir.errors import ImageWriteError, UsageError
from swinir.files import renamed_when_whole
from swinir.imaging import complete
from swinir.imaging.band import Band, Header, rows_of_band
from swinir.imaging.encode import convert, exif_to_write, keep_flags, with_metadata, written_bits
from swinir.imaging.formats import JPEG, PNG, TIFF, WRITABLE_SUFFIXES, Format, format_of_suffix
from swinir.imaging.image import Image
from swinir.imaging.io import check_writable, errors_as
from swinir.imaging.source import shown_path
from swinir.imaging.tiff_column import TILE_PX, WIDE_ROW_BYTES, TileColumn, state_tiles
from swinir.options import TiffLayout

# A description of a picture whose tiles, at all sizes, are in a folder beside it.
DEEP_ZOOM_SUFFIX = ".dzi"
# Bands that wait to be encoded.
_MOST_WAITING = 2
# How often a band that waits for room looks whether the encoder has failed.
_LOOK_S = 0.2
_TYPES = {"uchar": np.uint8, "ushort": np.uint16, "float": np.float32}


class ImageWriter:
    """A picture that is written as its rows come, and takes its name when it is whole; on failure nothing is left.

    An encoder runs in a thread of its own. PNG, JPEG, TIFF and Deep Zoom take the memory of some hundred rows; what
    encodes only whole (WebP, AVIF, GIF) takes the memory that its encoder does.

    Args:
        destination: an existing file is replaced; the suffix names the format, ``.dzi`` Deep Zoom.
        header: what will come; its size is that of the output.
        quality: from 1 to 100 for JPEG, WebP and AVIF, and for the tiles of Deep Zoom; None for one that looks like
            the original.
        layout: of a TIFF file.
        folder: where the file is until it is whole, on the same disk; None for beside the destination.

    Raises:
        ImageWriteError: the suffix is unknown, the picture too large for the format, or the disk refuses.
    """

    def __init__(
        self,
        destination: Path,
        header: Header,
        *,
        quality: int | None = None,
        layout: TiffLayout = TiffLayout.STRIPS,
        folder: Path | None = None,
    ) -> None:
        if quality is not None and not 1 <= quality <= 100:
            raise UsageError(f"quality must be from 1 to 100, got {quality}")
        name = shown_path(destination)
        self._refused = f"{name} cannot be written"
        self._header = header
        self._is_deep_zoom = destination.suffix.lower() == DEEP_ZOOM_SUFFIX
        self._format = _format_of(destination, header)
        if not self._is_deep_zoom:
            check_writable(self._format, header.width, header.height, name)
        self._notes: list[str] = []
        self._has_shown_alpha = False
        probe, described = convert(_probe(header), self._format, self._notes)
        # The size is in the metadata; the pixels take no memory.
        self._described = replace(
            described,
            pixels=np.broadcast_to(described.pixels, (header.height, header.width, described.channels)),
            alpha=None,
        )
        complete.note_lost_texts(self._described, self._format, self._notes)
        options = self._save_options(probe, quality, layout)
        self._exits = ExitStack()
        with errors_as(ImageWriteError, self._refused):
            if destination.is_dir():
                raise ImageWriteError(f"{name} is a folder; name a file")
            place = _deep_zoom_when_whole if self._is_deep_zoom else renamed_when_whole
            self._temporary = self._exits.enter_context(place(destination, folder))
        self._column: TileColumn | None = None
        height, width = header.height, header.width
        if self._is_wide(layout):
            dtype = np.dtype(_TYPES[str(probe.format)])
            self._column = TileColumn(height, width, probe.bands, dtype, folder or destination.parent)
            height, width = self._column.height, self._column.width
            self._exits.callback(self._column.close)
        self._encoder = _Encoder(self._save, probe, height, width, options)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._encoder.stop()
        # Without finish() the file is not whole: the exit is that of a failure.
        self._exits.__exit__(kind or InterruptedError, error or InterruptedError(), trace)

    def append(self, band: Band) -> None:
        """Write the next rows.

        Raises:
            ImageWriteError: the disk refuses.
        """
        template = self._header.template
        image = replace(template, pixels=band.pixels, alpha=band.alpha)
        notes: list[str] = []
        converted, _ = convert(image, self._format, notes)
        if band.alpha is not None and not self._format.has_alpha and not self._has_shown_alpha:
            self._has_shown_alpha = float(band.alpha.min()) < image.white
            if self._has_shown_alpha:
                self._notes.extend(note for note in notes if note not in self._notes)
        dtype = _TYPES[str(converted.format)]
        values = np.frombuffer(converted.write_to_memory(), dtype)
        rows = values.reshape(len(band.pixels), -1)
        with errors_as(ImageWriteError, self._refused):
            for part in [rows] if self._column is None else self._column.add(rows):
                self._encoder.put(part)

    def finish(self) -> tuple[str, ...]:
        """End the file and give it its name.

        Returns:
            What the format could not hold, in sentences for the user.

        Raises:
            ImageWriteError: the disk refuses.
        """
        with errors_as(ImageWriteError, self._refused):
            self._encoder.finish()
            if self._column is not None:
                state_tiles(self._temporary, self._header.height, self._header.width)
            if not self._is_deep_zoom and not complete.is_complete(self._described, self._format):
                with (
                    renamed_when_whole(self._temporary) as second,
                    self._temporary.open("rb") as bare,
                    second.open("w+b") as whole,
                ):
                    complete.complete(bare, whole, self._described, self._format, self._notes)
            self._exits.close()
        return tuple(self._notes)

    def _save(self, image: pyvips.Image, options: dict[str, Any]) -> None:
        described = with_metadata(image, self._described, self._format, self._notes)
        operation = "dz" if self._is_deep_zoom else self._format.operation
        getattr(described, operation + "save")(os.fsencode(self._temporary), **options)

    def _save_options(self, probe: pyvips.Image, quality: int | None, layout: TiffLayout) -> dict[str, Any]:
        header = self._header
        if self._is_deep_zoom:
            lossy = f".jpg[Q={quality or JPEG.default_quality}]"
            return {"suffix": ".png" if header.has_alpha else lossy, "keep": pyvips.enums.ForeignKeep.ICC}
        options = self._format.save_options(
            quality=quality,
            bits=written_bits(header.template, self._format),
            is_float=str(probe.format) == "float",
            num_bytes=header.height * header.row_bytes,
        )
        options["keep"] = keep_flags(self._format, exif_to_write(self._described, self._format))
        if self._is_wide(layout):
            options["tile_height"] = TILE_PX
        elif self._format is TIFF and layout is not TiffLayout.STRIPS:
            options |= {"tile": True, "tile_width": TILE_PX, "tile_height": TILE_PX}
            options |= {"pyramid": layout is TiffLayout.PYRAMID}
            # Of the sizes of a pyramid all together, which is a third more.
            options["bigtiff"] = options["bigtiff"] or header.height * header.row_bytes > 2**31
        return options

    def _is_wide(self, layout: TiffLayout) -> bool:
        """Whether the file is written tile by tile, since libvips would hold too much of its rows."""
        is_tiff = self._format is TIFF and layout is not TiffLayout.PYRAMID
        return is_tiff and self._header.row_bytes > WIDE_ROW_BYTES


def _format_of(destination: Path, header: Header) -> Format:
    """Return what is written, or what the tiles of a Deep Zoom picture are."""
    if destination.suffix.lower() == DEEP_ZOOM_SUFFIX:
        return replace(PNG, bits=8) if header.has_alpha else JPEG
    file_format = format_of_suffix(destination.suffix) if destination.suffix else None
    if file_format is None:
        known = ", ".join((*WRITABLE_SUFFIXES, DEEP_ZOOM_SUFFIX))
        raise ImageWriteError(
            f"{shown_path(destination)} names no image format that can be written; use one of {known}"
        )
    return file_format


def _probe(header: Header) -> Image:
    """Return one opaque pixel, to see what the format makes of it."""
    template = header.template
    if not header.has_alpha:
        return template
    return replace(template, alpha=np.full((1, 1), template.white, template.pixels.dtype))


@contextmanager
def _deep_zoom_when_whole(destination: Path, beside: Path | None = None) -> Generator[Path]:
    """Offer a name, without suffix, for a Deep Zoom picture that takes its place when the block ends."""
    folder = (beside or destination.parent) / f".{secrets.token_hex(8)}.part"
    folder.mkdir()
    tiles = destination.with_name(f"{destination.stem}_files")
    try:
        yield folder / destination.stem
        # Names the program and the time of day, of which nobody has asked.
        (folder / tiles.name / "vips-properties.xml").unlink(missing_ok=True)
        with suppress(FileNotFoundError):
            tiles.rename(folder / "old_files")
        (folder / tiles.name).rename(tiles)
        (folder / f"{destination.stem}{DEEP_ZOOM_SUFFIX}").replace(destination)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


class _Encoder:
    """libvips in a thread, reading rows as they come.

    Of what its binary package reads, an uncompressed PNG is the one form that is read from a stream, row by row. So
    rows become one, of a grey byte for each byte of a pixel, and are put together again behind it.
    """

    def __init__(
        self,
        save: Any,
        probe: pyvips.Image,
        height: int,
        width: int,
        options: dict[str, Any],
    ) -> None:
        self._save = save
        self._options = options
        self._layout = str(probe.format), probe.bands, str(probe.interpretation)
        self._pixel_bytes = probe.bands * np.dtype(_TYPES[str(probe.format)]).itemsize
        self._chunks: Queue[bytes | None] = Queue(_MOST_WAITING)
        self._ended = threading.Event()
        self._error: BaseException | None = None
        self._stream = _StoredPng(width * self._pixel_bytes, height)
        self._current = memoryview(self._stream.begin())
        self._is_cut = False
        self._thread = threading.Thread(target=self._encode, name="image encoder", daemon=True)
        self._thread.start()

    def put(self, rows: NDArray[Any]) -> None:
        """Hand over rows [rows, values]."""
        step = rows_of_band(rows.shape[1] * rows.dtype.itemsize)
        for top in range(0, len(rows), step):
            self._send(self._stream.continued(rows[top : top + step]))

    def finish(self) -> None:
        """Wait until all is written."""
        self._send(self._stream.end())
        self._send(None)
        self._thread.join()
        self._raise_failure()

    def stop(self) -> None:
        """End a file that will not be whole; nothing where it is."""
        self._is_cut = True
        while self._thread.is_alive():
            with suppress(Full):
                self._chunks.put(None, timeout=_LOOK_S)
            self._thread.join(_LOOK_S)

    def _send(self, chunk: bytes | None) -> None:
        while True:
            self._raise_failure()
            with suppress(Full):
                self._chunks.put(chunk, timeout=_LOOK_S)
                return

    def _raise_failure(self) -> None:
        if self._ended.is_set() and self._error is not None:
            raise self._error

    def _encode(self) -> None:
        try:
            source = pyvips.SourceCustom()
            source.on_read(self._read)
            stream = pyvips.Image.pngload_source(
                source, access="sequential", unlimited=True, fail_on="truncated"
            )
            kind, bands, interpretation = self._layout
            pixels = stream.bandfold(factor=self._pixel_bytes)
            self._save(pixels.copy(format=kind, bands=bands, interpretation=interpretation), self._options)
        except (pyvips.Error, OSError) as error:
            self._error = error
        finally:
            self._ended.set()

    def _read(self, num_bytes: int) -> bytes:
        """Give libvips the next bytes; none at the end."""
        if not self._current:
            chunk = None if self._is_cut else self._chunks.get()
            if chunk is None or self._is_cut:
                return b""
            self._current = memoryview(chunk)
        piece = self._current[:num_bytes]
        self._current = self._current[num_bytes:]
        return bytes(piece)


class _StoredPng:
    """Bytes of a grey PNG of 8 bits that is not compressed (ISO/IEC 15948:2004)."""

    def __init__(self, row_bytes: int, height: int) -> None:
        self._row_bytes = row_bytes
        self._height = height
        self._stored = zlib.compressobj(0)

    def begin(self) -> bytes:
        """Signature and header."""
        header = struct.pack(">IIBBBBB", self._row_bytes, self._height, 8, 0, 0, 0, 0)
        return b"\x89PNG\r\n\x1a\n" + _chunk(b"IHDR", header)

    def continued(self, rows: NDArray[Any]) -> bytes:
        """Rows [rows, values], each behind the byte that says that it is not filtered."""
        marked = np.zeros((len(rows), 1 + self._row_bytes), np.uint8)
        marked[:, 1:] = np.ascontiguousarray(rows).view(np.uint8)
        return _chunk(b"IDAT", self._stored.compress(marked.data))

    def end(self) -> bytes:
        """Everything behind the last row."""
        return _chunk(b"IDAT", self._stored.flush()) + _chunk(b"IEND", b"")


def _chunk(kind: bytes, data: bytes) -> bytes:
    checksum = zlib.crc32(data, zlib.crc32(kind))
    return b"".join((struct.pack(">I", len(data)), kind, data, struct.pack(">I", checksum)))


def write_bands(writer: ImageWriter, bands: Iterator[Band]) -> tuple[str, ...]:
    """Write all bands and end the file; return what it could not hold."""
    for band in bands:
        writer.append(band)
    return writer.finish()
