"""What is known about a released model."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple


class Task(StrEnum):
    """What a model was trained to do."""

    SUPER_RESOLUTION = "super-resolution"
    REAL_SUPER_RESOLUTION = "real-world super-resolution"
    DENOISING = "denoising"
    JPEG = "JPEG clean-up"


class Origin(StrEnum):
    """Who trained a model, and where its file is: in this package, or published by the paper's authors."""

    BUNDLED = "bundled"
    PUBLISHED = "published"


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
    licence: str
    figures: Mapping[str, Figures]
