"""``swinir compare``: pictures on one page, under a slider."""

from pathlib import Path
from typing import Annotated

import typer

from swinir.cli.console import out
from swinir.errors import ImageWriteError, UsageError
from swinir.evaluation.page.comparison import label_files, read_picture, write_comparison
from swinir.files import written_beside


def compare(
    pictures: Annotated[
        list[Path], typer.Argument(metavar="PICTURE...", help="Two or more, of one scene in any sizes.")
    ],
    output: Annotated[Path, typer.Option("--output", "-o", metavar="FILE.html", help="The page.")] = Path(
        "comparison.html"
    ),
    title: Annotated[
        str | None, typer.Option(help="Of the page.", show_default="the pictures' names")
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace a page that exists.")] = False,
) -> None:
    """Put pictures on one page: a slider, side by side, or their difference, zoomed and moved together.

    The page is one file that needs no network. Pictures are inside as they are, with whatever their files say of
    camera and place.

    Example: `swinir compare photo.jpg photo_x4.png -o page.html`.
    """
    if len(pictures) < 2:
        raise UsageError(f"a comparison needs two pictures or more, got {len(pictures)}: name another one")
    if output.exists() and not overwrite:
        raise ImageWriteError(f"{output} exists: choose another name, or add --overwrite")
    labels = label_files(pictures)
    read = [read_picture(path, label) for path, label in zip(pictures, labels, strict=True)]
    page = write_comparison(read, title or " and ".join(labels))
    with written_beside(output, ImageWriteError) as file:
        file.write(page.encode())
    out.print(f"{', '.join(labels)} -> {output}", markup=False)
