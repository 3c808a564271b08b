"""What the literature reports for the same protocols and test sets, to stand beside what is measured."""

import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib import resources


@dataclass(frozen=True, kw_only=True)
class PublishedMethod:
    """One row of a published table.

    Attributes:
        method: its name.
        protocol: a key of ``PROTOCOLS``.
        level: scale for super-resolution, sigma of 255 for denoising, quality for JPEG.
        trained_on: training data, where the table says it.
        figures: by test set PSNR, then SSIM and PSNR-B as far as they are published.
        parameters: their number as published.
        multiply_adds: of one output of ``output_px``, as published.
        output_px: height and width that multiply-adds and seconds are of.
        seconds: of one such output, on the hardware that ``published.toml`` names.
    """

    method: str
    protocol: str
    level: float
    trained_on: str | None
    figures: Mapping[str, Sequence[float]]
    parameters: int | None
    multiply_adds: int | None
    output_px: tuple[int, int] | None
    seconds: float | None

    @property
    def title(self) -> str:
        """Name it with what it was trained on."""
        return self.method if self.trained_on is None else f"{self.method} ({self.trained_on})"

    def count_multiply_adds(self, height: int, width: int) -> int | None:
        """Return the published multiply-adds, in proportion to an output of another size."""
        if self.multiply_adds is None or self.output_px is None:
            return None
        return round(self.multiply_adds * height * width / (self.output_px[0] * self.output_px[1]))


@cache
def published_methods() -> tuple[PublishedMethod, ...]:
    """Return every row, in the order of the tables."""
    text = resources.files("swinir.evaluation").joinpath("published.toml").read_text(encoding="utf-8")
    return tuple(
        PublishedMethod(
            method=row["method"],
            protocol=row["protocol"],
            level=row.get("scale", row.get("level")),
            trained_on=row.get("trained_on"),
            figures=row["figures"],
            parameters=row.get("parameters"),
            multiply_adds=row.get("multiply_adds"),
            output_px=tuple(row["output_px"]) if "output_px" in row else None,
            seconds=row.get("seconds"),
        )
        for row in tomllib.loads(text)["methods"]
    )


def find_published(protocol: str, level: float | None) -> list[PublishedMethod]:
    """Return the rows of one task at one scale, noise level or quality."""
    return [row for row in published_methods() if row.protocol == protocol and row.level == level]
