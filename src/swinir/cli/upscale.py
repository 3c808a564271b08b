"""``swinir upscale``: images in, larger images out."""

from typing import Annotated

import typer

from swinir.cli import choices
from swinir.errors import UsageError
from swinir.options import RestorerOptions

DEFAULT_SCALE = 4
# Pictures are seldom clean: where there is a model for those that are not, it is the one.
MODEL_OF_SCALE = {2: "lightweight-x2", 3: "lightweight-x3", 4: "real-x4"}


def upscale(
    inputs: choices.Inputs,
    output: choices.Output = None,
    model: choices.Model = None,
    scale: Annotated[
        int | None,
        typer.Option(
            "--scale", "-s", help="How many times larger: 2, 3 or 4.", show_default="4, or the model's"
        ),
    ] = None,
    image_range: choices.ImageRange = None,
    device: choices.Devices = "auto",
    precision: choices.Precision = choices.PrecisionChoice.AUTO,
    tile: choices.TileText = "auto",
    ensemble: choices.Ensemble = False,
    backend: choices.Backend = choices.BackendChoice.AUTO,
    quality: choices.Quality = None,
    image_format: choices.ImageFormat = None,
    overwrite: choices.Overwrite = False,
    max_megapixels: choices.MaxMegapixels = None,
    quiet: choices.Quiet = False,
) -> None:
    """Enlarge images with a model that is inside the package.

    Colour profile, metadata, transparency and bit depth stay. The original is never changed, and an existing file
    is never replaced unless you say so; files of a folder whose output exists are skipped, so a stopped run goes on.

    Four times larger also means without noise, blur and compression (real-x4); `--model lightweight-x4` keeps all of
    a picture that is clean.

    Examples: `swinir upscale holiday.jpg`, `swinir upscale scans/ -o large/ --scale 2`.
    """
    from swinir.cli import restoring

    options = RestorerOptions(
        device=device,
        precision=precision,
        tile=choices.parse_tile(tile),
        ensemble=ensemble,
        backend=backend,
    )
    restorers = restoring.load(model or default_model(scale), options, image_range=image_range)
    restorer = restorers[0]
    if scale is not None and scale != restorer.scale:
        raise UsageError(
            f"--scale is {scale}, but the model {restorer.name} makes ×{restorer.scale}: leave one out"
        )
    restoring.restore_all(
        restorers,
        inputs,
        output=output,
        label=f"x{restorer.scale}" if restorer.scale > 1 else "restored",
        quality=quality,
        image_format=image_format,
        overwrite=overwrite,
        max_megapixels=max_megapixels,
        quiet=quiet,
    )


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
