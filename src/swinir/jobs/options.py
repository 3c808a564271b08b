"""What holds for all jobs of a run."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypedDict

from swinir import imaging
from swinir.engine import Enlarger, Progress, Restorer
from swinir.files import remove_leftovers
from swinir.jobs import places
from swinir.jobs.plan import Job
from swinir.options import FilmOptions, FramesChoice, TiffLayout

AnyRestorer = Restorer | Enlarger
ProgressOf = Callable[[Job], Progress | None]


class JobChoices(TypedDict, total=False):
    """Fields of ``JobOptions``, as keywords."""

    overwrite: bool
    progress_of: ProgressOf | None
    quality: int | None
    limits: imaging.Limits
    frames: FramesChoice
    update: bool
    layout: TiffLayout
    film: FilmOptions
    salvage: bool


@dataclass(frozen=True, kw_only=True)
class JobOptions:
    """What holds for all jobs.

    Attributes:
        overwrite: replace outputs that exist.
        progress_of: called as a job begins to be restored; what it returns is called with how far that image is.
            With several Restorers both happen in their threads; on a cluster there is none.
        quality: from 1 to 100 for JPEG, WebP and AVIF; None for one that looks like the original.
        limits: against files that would fill the memory.
        frames: which frames of animations, or pages, are restored.
        update: make results again that were made of other inputs or with other settings; else such a job fails.
        layout: of TIFF files.
        film: how films are read and written.
        salvage: of damaged files, restore what can be decoded.
        seen_folders: output folders that are tidy.
    """

    overwrite: bool = False
    progress_of: ProgressOf | None = None
    quality: int | None = None
    limits: imaging.Limits = imaging.DEFAULT_LIMITS
    frames: FramesChoice = FramesChoice.AUTO
    update: bool = False
    layout: TiffLayout = TiffLayout.STRIPS
    film: FilmOptions = field(default_factory=FilmOptions)
    salvage: bool = False
    seen_folders: set[Path] = field(default_factory=set[Path])

    def tidy(self, folder: Path) -> None:
        """Remove what killed runs left in an output folder, once."""
        if folder not in self.seen_folders and not places.is_remote(folder):
            self.seen_folders.add(folder)
            remove_leftovers(folder)
