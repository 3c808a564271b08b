"""``swinir upscale``, ``denoise`` and ``dejpeg``: images in, restored images out."""

from collections.abc import Callable
from fractions import Fraction
from typing import Annotated

import typer

from swinir.cli import choices
from swinir.errors import UsageError

DEFAULT_SCALE = Fraction(4)
KEPT = (
    "Size, colour profile, metadata, transparency and bit depth stay. The original is never changed, and an "
    "existing file is never replaced unless you say so."
)
DENOISE_HELP = f"""Take noise out of images, of any strength up to a standard deviation of 50 of 255.

{KEPT}

Examples: `swinir denoise night.jpg`, `swinir denoise scans/ -o clean/`.
"""
DEJPEG_HELP = f"""Take the blocks and ringing of JPEG out of images, of any quality from 10 up.

{KEPT}

Examples: `swinir dejpeg old.jpg --format png`, `swinir dejpeg album/ -o clean/`.
"""


@choices.with_restoring_options
def upscale(
    options: choices.RestoringOptions,
    inputs: choices.Inputs = None,
    scale: Annotated[
        Fraction | None,
        typer.Option(
            "--scale",
            "-s",
            parser=choices.parse_scale,
            metavar="NUMBER",
            help="How many times larger, such as 2, 4, 1.5 or 8.",
            show_default="4, or the model's",
        ),
    ] = None,
    to: Annotated[
        str | None, typer.Option(help="The size to fit in, such as 3840x2160; the sides keep their ratio.")
    ] = None,
    width: Annotated[int | None, typer.Option(min=1, help="Columns of pixels.")] = None,
    height: Annotated[int | None, typer.Option(min=1, help="Rows of pixels.")] = None,
    max_side: Annotated[int | None, typer.Option(min=1, help="Pixels of the longer side.")] = None,
) -> None:
    """Enlarge images with a model that is inside the package.

    Colour profile, metadata, transparency and bit depth stay. The original is never changed, and an existing file
    is never replaced unless you say so; files of a folder whose output exists are skipped, so a stopped run goes on.

    Twice and four times larger also mean without noise, blur and compression (real-x2, real-x4-sharp);
    `--model lightweight-x2` or `lightweight-x4` keeps all of a picture that is clean. A size between those of the
    models is made by the next larger one, or by two of them, and reduced by antialiased bicubic.

    Examples: `swinir upscale holiday.jpg`, `swinir upscale scans/ -o large/ --scale 2`, `swinir upscale a.png
    --to 3840x2160`.
    """
    from swinir.cli import loading, restoring

    if to is not None:
        if width is not None or height is not None:
            raise UsageError("--to says width and height: leave out --width and --height")
        width, height = choices.parse_size(to, "--to")
    if options.model is None and {scale, width, height, max_side} == {None}:
        scale = DEFAULT_SCALE
    team, label = loading.load_enlarging(options, scale=scale, width=width, height=height, max_side=max_side)
    restoring.restore_all(team, inputs or [], options, label=label)


def build_cleaning(default_model: str, label: str, text: str) -> Callable[..., None]:
    """Build a command that restores with ``default_model`` by default, and adds ``label`` to names."""

    def clean(options: choices.RestoringOptions, inputs: choices.Inputs = None) -> None:
        from swinir.cli import loading, restoring

        team = loading.load(options.model or default_model, options)
        if team[0].scale != 1:
            name, scale = team[0].name, team[0].scale
            raise UsageError(f"the model {name} enlarges ×{scale}: use `swinir upscale` with it")
        restoring.restore_all(team, inputs or [], options, label=label)

    clean.__doc__ = text
    return choices.with_restoring_options(clean)


denoise = build_cleaning("denoise", "denoised", DENOISE_HELP)
dejpeg = build_cleaning("dejpeg", "dejpeg", DEJPEG_HELP)
