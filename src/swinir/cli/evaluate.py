"""``swinir evaluate``: a model and test sets make figures."""

import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table

from swinir.cli import choices
from swinir.cli.console import out, progress_bar
from swinir.data import Pair, denoising_pairs, jpeg_pairs, original_files, super_resolution_pairs
from swinir.engine import Restorer
from swinir.errors import DataError
from swinir.evaluation import ImageFigures, Protocol, Report
from swinir.evaluation import evaluate as evaluate_pairs


@dataclass(frozen=True, kw_only=True)
class Spoiling:
    """What makes the low quality: bicubic shrinking unless noise or JPEG is asked for."""

    noise: float | None
    jpeg: int | None

    def task(self, scale: int) -> str:
        """Name what the model is asked to undo."""
        if self.noise is not None:
            return f"denoising, sigma {self.noise:g} of 255"
        return f"JPEG of quality {self.jpeg}" if self.jpeg is not None else f"bicubic ×{scale}"

    def pairs(self, folder: Path, restorer: Restorer) -> Iterable[Pair]:
        """Yield the pairs of a test set."""
        channels = restorer.config.in_channels
        if self.noise is not None:
            return denoising_pairs(folder, self.noise, channels)
        if self.jpeg is not None:
            return jpeg_pairs(folder, self.jpeg, channels)
        return super_resolution_pairs(folder, restorer.scale, channels)


def evaluate(
    data: Annotated[
        list[str],
        typer.Option("--data", "-d", metavar="NAME=FOLDER", help="A test set; may be given several times."),
    ],
    model: Annotated[str, typer.Option("--model", "-m", help="A model's name or a weights file.")],
    protocol: Annotated[
        Protocol, typer.Option(help="paper: figures as published; engine: as `swinir upscale` restores.")
    ] = Protocol.PAPER,
    noise: Annotated[
        float | None,
        typer.Option(min=0, help="For denoisers: standard deviation of the noise to add, of 255."),
    ] = None,
    jpeg: Annotated[
        int | None, typer.Option(min=1, max=100, help="For JPEG models: quality to compress with.")
    ] = None,
    device: choices.Device = "auto",
    precision: choices.Precision = choices.PrecisionChoice.FP32,
    ensemble: choices.Ensemble = False,
    json_file: Annotated[
        Path | None, typer.Option("--json", metavar="FILE", help="Write every figure of every picture.")
    ] = None,
    per_image: Annotated[bool, typer.Option("--per-image", help="Show each picture's figures.")] = False,
) -> None:
    """Measure a model: PSNR and SSIM by the paper's protocol.

    A test set is a folder of pictures, or one with `HR/` and perhaps `LR_bicubic/X2/`. Low-resolution files are
    taken where they are, and made as MATLAB makes them where they are not.

    Example: `swinir evaluate --model lightweight-x2 --data Set5=testsets/Set5`.
    """
    if noise is not None and jpeg is not None:
        raise ValueError("--noise and --jpeg exclude each other: a model undoes one of them")
    sets = dict(split_name(text) for text in data)
    tile = None if protocol is Protocol.PAPER else "auto"
    restorer = Restorer.from_pretrained(
        model, device=device, precision=precision.value, tile=tile, ensemble=ensemble
    )
    spoiling = Spoiling(noise=noise, jpeg=jpeg)
    if restorer.scale == 1 and noise is None and jpeg is None:
        raise ValueError(
            f"{restorer.name} does not enlarge: say what it undoes with --noise SIGMA or --jpeg QUALITY"
        )
    if restorer.scale > 1 and not (noise is None and jpeg is None):
        raise ValueError(f"{restorer.name} enlarges ×{restorer.scale}: leave out --noise and --jpeg")
    reports = [
        evaluated(restorer, name, folder, spoiling, protocol, per_image) for name, folder in sets.items()
    ]
    out.print(table(reports))
    if json_file is not None:
        write_json(
            json_file, {"model": restorer.describe(), "reports": [report.to_dict() for report in reports]}
        )


def split_name(text: str) -> tuple[str, Path]:
    """Read NAME=FOLDER, or a folder that lends its own name."""
    name, separator, folder = text.partition("=")
    path = Path(folder if separator else text)
    return (name if separator else path.resolve().name), path


def evaluated(
    restorer: Restorer, name: str, folder: Path, spoiling: Spoiling, protocol: Protocol, per_image: bool
) -> Report:
    """Measure on one test set, showing how far the work is."""
    total = len(original_files(folder))
    done = 0
    with progress_bar(name) as bar:

        def progress(figures: ImageFigures) -> None:
            nonlocal done
            done += 1
            if bar is not None:
                bar(done, total)
            if per_image:
                text = f"{name} {figures.name}: {figures.psnr_y_db:.2f} dB / {figures.ssim_y:.4f} on Y"
                out.print(
                    f"{text}, {figures.psnr_rgb_db:.2f} dB / {figures.ssim_rgb:.4f} on RGB", markup=False
                )

        return evaluate_pairs(
            restorer,
            spoiling.pairs(folder, restorer),
            data=name,
            task=spoiling.task(restorer.scale),
            protocol=protocol,
            progress=progress,
        )


def table(reports: list[Report]) -> Table:
    """Lay out the means, one row for each test set."""
    first = reports[0]
    caption = f"{first.model}, {first.task}, protocol {first.protocol}"
    grid = Table(title=caption, title_justify="left", box=None)
    for heading in ("data", "pictures", "PSNR Y", "SSIM Y", "PSNR RGB", "SSIM RGB", "PSNR-B", "s/picture"):
        grid.add_column(heading, justify="left" if heading == "data" else "right", no_wrap=True)
    for report in reports:
        mean = report.means
        grid.add_row(
            report.data,
            str(len(report.images)),
            f"{mean['psnr_y_db']:.2f}",
            f"{mean['ssim_y']:.4f}",
            f"{mean['psnr_rgb_db']:.2f}",
            f"{mean['ssim_rgb']:.4f}",
            f"{mean['psnr_b_db']:.2f}",
            f"{mean['seconds']:.2f}",
        )
    return grid


def write_json(path: Path, document: Any) -> None:
    """Write a document for machines."""
    try:
        path.write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")
    except OSError as error:
        raise DataError(f"{path} cannot be written ({error.strerror}): choose another place") from error
