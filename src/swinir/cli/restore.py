"""``swinir upscale``, ``denoise`` and ``dejpeg``: images in, restored images out."""

from collections.abc import Callable
from typing import Annotated

import typer

from swinir.cli import choices
from swinir.errors import UsageError

DEFAULT_SCALE = 4
# Pictures are seldom clean: where there is a model for those that are not, it is the one.
MODEL_OF_SCALE = {2: "lightweight-x2", 3: "lightweight-x3", 4: "real-x4"}
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
    inputs: choices.Inputs,
    options: choices.RestoringOptions,
    scale: Annotated[
        int | None,
        typer.Option(
            "--scale", "-s", help="How many times larger: 2, 3 or 4.", show_default="4, or the model's"
        ),
    ] = None,
) -> None:
    """Enlarge images with a model that is inside the package.

    Colour profile, metadata, transparency and bit depth stay. The original is never changed, and an existing file
    is never replaced unless you say so; files of a folder whose output exists are skipped, so a stopped run goes on.

    Four times larger also means without noise, blur and compression (real-x4); `--model lightweight-x4` keeps all of
    a picture that is clean.

    Examples: `swinir upscale holiday.jpg`, `swinir upscale scans/ -o large/ --scale 2`.
    """
    from swinir.cli import restoring

    restorers = restoring.load(options.model or default_model(scale), options)
    restorer = restorers[0]
    if scale is not None and scale != restorer.scale:
        raise UsageError(
            f"--scale is {scale}, but the model {restorer.name} makes ×{restorer.scale}: leave one out"
        )
    label = f"x{restorer.scale}" if restorer.scale > 1 else "restored"
    restoring.restore_all(restorers, inputs, options, label=label)


def default_model(scale: int | None) -> str:
    """Name the bundled model of a scale.

    Raises:
        UsageError: no bundled model makes this scale.
    """
    scale = DEFAULT_SCALE if scale is None else scale
    if scale not in MODEL_OF_SCALE:
        raise UsageError(
            f"--scale is {scale}, but the models in the package make 2, 3 and 4: give --model for others"
        )
    return MODEL_OF_SCALE[scale]


def build_cleaning(default_model: str, label: str, text: str) -> Callable[..., None]:
    """Build a command that restores with ``default_model`` by default, and adds ``label`` to names."""

    def clean(inputs: choices.Inputs, options: choices.RestoringOptions) -> None:
        from swinir.cli import restoring

        restorers = restoring.load(options.model or default_model, options)
        if restorers[0].scale != 1:
            name, scale = restorers[0].name, restorers[0].scale
            raise UsageError(f"the model {name} enlarges ×{scale}: use `swinir upscale` with it")
        restoring.restore_all(restorers, inputs, options, label=label)

    clean.__doc__ = text
    return choices.with_restoring_options(clean)


denoise = build_cleaning("denoise", "denoised", DENOISE_HELP)
dejpeg = build_cleaning("dejpeg", "dejpeg", DEJPEG_HELP)
