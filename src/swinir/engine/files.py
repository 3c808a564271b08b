"""The one way of a file through a restorer, for a single file, many files and whatever else has files."""

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol, runtime_checkable

from swinir import imaging
from swinir.engine import destinations
from swinir.engine.mark import Mark, add_mark, hash_file
from swinir.engine.progress import Progress, progress_of_frame
from swinir.errors import ImageWriteError
from swinir.imaging.formats import format_of_suffix
from swinir.options import FramesChoice

Picture = imaging.Image | imaging.Frames


@runtime_checkable
class ImageRestorer(Protocol):
    """What restores one image, such as a ``Restorer`` or an ``Enlarger``."""

    @property
    def settings(self) -> str:
        """What results depend on, as text: models, size, ensemble."""
        ...

    def output_size(self, height: int, width: int) -> tuple[int, int]:
        """Return height and width that an image of this size becomes."""
        ...

    def __call__(self, image: imaging.Image, progress: Progress | None = None) -> imaging.Image:
        """Restore an image."""
        ...


@dataclass(frozen=True, kw_only=True)
class FileRestoration:
    """A file to read, and the file that its restoration is written to. The steps may run in different threads.

    Attributes:
        source: read.
        destination: written; its suffix names the format, and its folder is made when needed.
        quality: from 1 to 100 for JPEG, WebP and AVIF; None for one that looks like the original.
        limits: against files that would fill the memory.
        frames: which frames or pages are restored.
        salvage: of a damaged file, restore what can be decoded.
    """

    source: Path
    destination: Path
    quality: int | None = None
    limits: imaging.Limits = imaging.DEFAULT_LIMITS
    frames: FramesChoice = FramesChoice.AUTO
    salvage: bool = False

    def settings(self, restorer: ImageRestorer) -> str:
        """Return what the result depends on, as text."""
        parts = [restorer.settings]
        if self.quality is not None:
            parts.append(f"quality {self.quality}")
        if self.frames is FramesChoice.FIRST:
            parts.append("first frame")
        return ", ".join(parts)

    def read(self, restorer: ImageRestorer) -> Picture:
        """Read the image, or open the frames, if what ``restorer`` makes of it can be written.

        Raises:
            ImageError: it cannot, or the image cannot be read.
            MissingPackageError: reading takes a package that is not installed.
        """
        file_format = destinations.check_place(self.source, self.destination)
        may_hold = file_format.holds_frames or file_format.holds_pages
        if self.frames is FramesChoice.FIRST or not (may_hold or self.frames is FramesChoice.ALL):
            image = imaging.read(self.source, limits=self.limits, salvage=self.salvage)
            destinations.check_result(
                image, restorer.output_size(image.height, image.width), file_format, self.destination
            )
            return image
        frames = imaging.read_frames(self.source, limits=self.limits, salvage=self.salvage)
        first = next(iter(frames))
        destinations.check_result(
            first, restorer.output_size(first.height, first.width), file_format, self.destination
        )
        if frames.count == 1:
            return first.with_notes(frames.notes)
        if frames.timing is None and file_format.holds_pages:
            return frames
        if frames.timing is not None and file_format.holds_frames:
            return frames
        kind = "pages" if frames.timing is None else "frames"
        if self.frames is FramesChoice.ALL:
            raise ImageWriteError(
                f"{imaging.shown_path(self.destination)} cannot hold {frames.count:,} {kind}: write "
                f"{'TIFF' if frames.timing is None else 'PNG, WebP, AVIF or GIF'}, or the first one alone"
            )
        note = f"{file_format.name} is written with one picture: of {frames.count:,} {kind} the first was restored."
        return first.with_notes((note,))

    def restore(self, picture: Picture, restorer: ImageRestorer, progress: Progress | None = None) -> Picture:
        """Restore an image now, frames as they are asked for when they are written."""
        if isinstance(picture, imaging.Image):
            return restorer(picture, progress)

        def restored() -> Iterator[imaging.Image]:
            for number, frame in enumerate(picture):
                yield restorer(frame, progress_of_frame(progress, number, picture.count))

        return replace(picture, decode=restored)

    def write(self, restored: Picture, restorer: ImageRestorer) -> tuple[str, ...]:
        """Write what was restored, replacing an existing file, and return all notes that a user should read.

        Raises:
            ImageWriteError: it cannot be written.
        """
        mark = self.mark(restorer)
        if isinstance(restored, imaging.Image):
            lost = imaging.write(marked(restored, mark), self.destination, quality=self.quality)
            return restored.notes + lost
        notes: list[str] = [*restored.notes]

        def frames() -> Iterator[imaging.Image]:
            for frame in restored:
                notes.extend(frame.notes)
                yield marked(frame, mark)

        lost = imaging.write_frames(
            frames(), self.destination, count=restored.count, timing=restored.timing, quality=self.quality
        )
        return tuple(dict.fromkeys((*notes, *lost)))

    def mark(self, restorer: ImageRestorer) -> Mark | None:
        """Return what the result says of itself; None where its format has no place for it."""
        if format_of_suffix(self.destination.suffix) is None:
            return None
        with suppress(OSError):
            return Mark(self.settings(restorer), hash_file(self.source))
        return None


def marked(image: imaging.Image, mark: Mark | None) -> imaging.Image:
    """Return an image with a mark in its XMP."""
    if mark is None:
        return image
    return replace(image, metadata=replace(image.metadata, xmp=add_mark(image.metadata.xmp, mark)))
