"""Any pictures on one page, to compare with a slider or side by side, zoomed and moved together."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from swinir import imaging
from swinir.evaluation.page.html import embed, render

# What browsers show; other files are turned into PNG.
_MEDIA_TYPES = {
    ".png": "image/png",
    ".jpg": "image/jpeg",
    ".jpeg": "image/jpeg",
    ".webp": "image/webp",
    ".avif": "image/avif",
    ".gif": "image/gif",
}


@dataclass(frozen=True, kw_only=True)
class Picture:
    """A picture on the page: what it is called, its size in pixels, and its file as a URL."""

    label: str
    width: int
    height: int
    url: str


def read_picture(path: Path, label: str) -> Picture:
    """Read a picture for the page; files of the web are taken as they are.

    Raises:
        ImageError: it cannot be read.
    """
    image = imaging.read(path)
    media_type = _MEDIA_TYPES.get(path.suffix.lower())
    if media_type is None:
        data, _ = imaging.encode(image, "png")
        media_type = "image/png"
    else:
        data = path.read_bytes()
    return Picture(label=label, width=image.width, height=image.height, url=embed(data, media_type))


def label_files(paths: Sequence[Path]) -> list[str]:
    """Name files by what tells them apart: their names, or where these are equal their paths."""
    names = [path.name for path in paths]
    return names if len(set(names)) == len(names) else [str(path) for path in paths]


def write_comparison(pictures: Sequence[Picture], title: str) -> str:
    """Write one self-contained HTML page; all pictures are shown in the size of the largest."""
    largest = max(pictures, key=lambda picture: picture.width * picture.height)
    return render("compare.html", title=title, pictures=pictures, width=largest.width, height=largest.height)
