"""What is known about a model: the record of one that has a name, and the file that was found for one."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property
from pathlib import Path
from typing import NamedTuple


class Task(StrEnum):
    """What a model was trained to do."""

    SUPER_RESOLUTION = "super-resolution"
    REAL_SUPER_RESOLUTION = "real-world super-resolution"
    DENOISING = "denoising"
    JPEG = "JPEG clean-up"


class Origin(StrEnum):
    """Where a model is from: this package, the paper's authors, or anywhere else."""

    BUNDLED = "bundled"
    PUBLISHED = "published"
    OTHER = "other"


class Figures(NamedTuple):
    """Mean quality on one test set; None where it was not published."""

    psnr_db: float
    ssim: float | None = None
    psnr_b_db: float | None = None


@dataclass(frozen=True, kw_only=True)
class Model:
    """One released model.

    Args:
        name: what a user types.
        variant: the network it is, a key of ``swinir.model.VARIANTS``; None where only the file tells.
        strength: noise level of 255 it removes, or JPEG quality it repairs; None for super-resolution.
        file: name of its file.
        url: where the file can be downloaded; None for a bundled model.
        sha256: None where nobody has published it.
        size_bytes: None where it is not known exactly.
        parameters: how many numbers were trained; None where only the file says it.
        parameters_told: what the paper says of that, and multiply_adds_told of the work for an output of 1280 × 720,
            where it says something.
        figures: by test set; measured on luma for super-resolution and grey models, else on RGB.
    """

    name: str
    task: Task
    scale: int
    variant: str | None
    strength: int | None = None
    origin: Origin
    file: str
    url: str | None = None
    sha256: str | None = None
    size_bytes: int | None = None
    parameters: int | None = None
    parameters_told: int | None = None
    multiply_adds_told: int | None = None
    licence: str | None
    figures: Mapping[str, Figures]


@dataclass(frozen=True, kw_only=True)
class ModelFile:
    """The weights file that a name or a path led to; usable wherever a path is.

    Args:
        name: what the model is called: its name in the catalog or on the hub, or the name of its file.
        path: where the file is.
        revision: the commit it comes from, on the hub.
        licence: None where nobody said it.
    """

    name: str
    path: Path
    revision: str | None = None
    licence: str | None = None

    def __fspath__(self) -> str:
        return str(self.path)

    @cached_property
    def sha256(self) -> str:
        """Hash the file, once."""
        return hash_file(self.path)


def hash_file(path: Path) -> str:
    """Return the sha256 of a file, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
