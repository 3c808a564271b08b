"""``swinir denoise`` and ``swinir dejpeg``: images in, cleaner images of the same size out."""

from collections.abc import Callable

from swinir.cli import choices
from swinir.errors import UsageError
from swinir.options import RestorerOptions

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


def build_command(default_model: str, label: str, text: str) -> Callable[..., None]:
    """Build a command that restores with ``default_model`` by default, and adds ``label`` to names."""

    def clean(
        inputs: choices.Inputs,
        output: choices.Output = None,
        model: choices.Model = None,
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
        from swinir.cli import restoring

        options = RestorerOptions(
            device=device,
            precision=precision,
            tile=choices.parse_tile(tile),
            ensemble=ensemble,
            backend=backend,
        )
        restorers = restoring.load(model or default_model, options, image_range=image_range)
        if restorers[0].scale != 1:
            name, scale = restorers[0].name, restorers[0].scale
            raise UsageError(f"the model {name} enlarges ×{scale}: use `swinir upscale` with it")
        restoring.restore_all(
            restorers,
            inputs,
            output=output,
            label=label,
            quality=quality,
            image_format=image_format,
            overwrite=overwrite,
            max_megapixels=max_megapixels,
            quiet=quiet,
        )

    clean.__doc__ = text
    return clean


denoise = build_command("denoise", "denoised", DENOISE_HELP)
dejpeg = build_command("dejpeg", "dejpeg", DEJPEG_HELP)
