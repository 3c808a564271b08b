"""Pictures written from top to bottom, a band of rows at a time: any size in the memory of a few rows."""

import secrets
import shutil
from collections.abc import Generator, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np

from swinir.errors import ImageWriteError, UsageError
from swinir.files import renamed_when_whole
from swinir.imaging import complete
from swinir.imaging.band import Band, Header
from swinir.imaging.encode import convert, written_bits
from swinir.imaging.formats import JPEG, PNG, Format
from swinir.imaging.image import Image
from swinir.imaging.io import check_writable, errors_as, format_to_write
from swinir.imaging.row_encoders import Raster, type_of
from swinir.imaging.saving import Saving
from swinir.imaging.source import shown_path
from swinir.options import TiffLayout

# A description of a picture whose tiles, at all sizes, are in a folder beside it.
DEEP_ZOOM_SUFFIX = ".dzi"


class ImageWriter:
    """A picture that is written as its rows come, and takes its name when it is whole; on failure nothing is left.

    An encoder runs in a thread of its own. PNG, JPEG, TIFF and Deep Zoom take the memory of some hundred rows, or of
    less where rows are long; what encodes only whole (WebP, AVIF, GIF) takes the memory that its encoder does.

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
        saving = Saving(
            file_format=self._format,
            is_deep_zoom=self._is_deep_zoom,
            described=self._described,
            quality=quality,
            bits=written_bits(header.template, self._format),
            num_bytes=header.height * header.row_bytes,
            notes=self._notes,
        )
        with ExitStack() as exits, errors_as(ImageWriteError, self._refused):
            if destination.is_dir():
                raise ImageWriteError(f"{name} is a folder; name a file")
            place = _deep_zoom_when_whole if self._is_deep_zoom else renamed_when_whole
            self._temporary = exits.enter_context(place(destination, folder))
            raster = Raster(like=probe, height=header.height, width=header.width)
            self._encoder = saving.encoder(
                self._temporary, raster, layout=layout, folder=folder or destination.parent
            )
            self._exits = exits.pop_all()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self._encoder.stop()
        finally:
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
        values = np.frombuffer(converted.write_to_memory(), type_of(converted))
        with errors_as(ImageWriteError, self._refused):
            self._encoder.put(values.reshape(len(band.pixels), -1))

    def finish(self) -> tuple[str, ...]:
        """End the file and give it its name.

        Returns:
            What the format could not hold, in sentences for the user.

        Raises:
            ImageWriteError: the disk refuses.
        """
        with errors_as(ImageWriteError, self._refused):
            self._encoder.finish()
            if not self._is_deep_zoom:
                complete.complete_file(self._temporary, self._described, self._format, self._notes)
            self._exits.close()
        return tuple(self._notes)


def _format_of(destination: Path, header: Header) -> Format:
    """Return what is written, or what the tiles of a Deep Zoom picture are."""
    if destination.suffix.lower() == DEEP_ZOOM_SUFFIX:
        return replace(PNG, bits=8) if header.has_alpha else JPEG
    return format_to_write(destination, others=(DEEP_ZOOM_SUFFIX,))


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


def write_bands(writer: ImageWriter, bands: Iterator[Band]) -> tuple[str, ...]:
    """Write all bands and end the file; return what it could not hold."""
    for band in bands:
        writer.append(band)
    return writer.finish()
