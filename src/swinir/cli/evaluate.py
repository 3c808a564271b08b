"""``swinir evaluate``: a model and test sets make figures."""

import json
from dataclasses import replace
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table

from swinir.cli import choices
from swinir.cli.console import out, progress_bar
from swinir.data import Bicubic, Degradation, GaussianNoise, Jpeg, Pair
from swinir.engine import Restorer
from swinir.errors import DataError
from swinir.evaluation import METRICS, EvaluationSet, ImageFigures, Padding, Report, choose_protocol
from swinir.evaluation import evaluate as measure_set


class ProtocolChoice(StrEnum):
    """How pictures reach the network: as published, or as the commands restore them."""

    PAPER = "paper"
    ENGINE = "engine"


def evaluate(
    data: Annotated[
        list[str],
        typer.Option("--data", "-d", metavar="NAME=FOLDER", help="A test set; may be given several times."),
    ],
    model: Annotated[str, typer.Option("--model", "-m", help="A model's name or a weights file.")],
    protocol: Annotated[
        ProtocolChoice,
        typer.Option(help="paper: figures as published; engine: as `swinir upscale` restores."),
    ] = ProtocolChoice.PAPER,
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
    sets = [split_name(text) for text in data]
    tile = None if protocol is ProtocolChoice.PAPER else "auto"
    restorer = Restorer.from_pretrained(
        model, device=device, precision=precision.value, tile=tile, ensemble=ensemble
    )
    degradation = make_degradation(noise, jpeg)
    if restorer.scale == 1 and noise is None and jpeg is None:
        raise ValueError(
            f"{restorer.name} does not enlarge: say what it undoes with --noise SIGMA or --jpeg QUALITY"
        )
    if restorer.scale > 1 and not (noise is None and jpeg is None):
        raise ValueError(f"{restorer.name} enlarges ×{restorer.scale}: leave out --noise and --jpeg")
    reports = [
        evaluate_set(
            restorer, EvaluationSet(name=name, folder=folder, degradation=degradation), protocol, per_image
        )
        for name, folder in sets
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


def make_degradation(noise: float | None, jpeg: int | None) -> Degradation:
    """Return what makes the low quality: bicubic shrinking unless noise or JPEG is asked for."""
    if noise is not None:
        return GaussianNoise(sigma=(noise, noise))
    return Bicubic() if jpeg is None else Jpeg(quality=(jpeg, jpeg))


def evaluate_set(
    restorer: Restorer, test_set: EvaluationSet, protocol: ProtocolChoice, per_image: bool
) -> Report:
    """Measure on one test set, showing how far the work is."""
    chosen = choose_protocol(restorer.config, test_set.degradation)
    if protocol is ProtocolChoice.ENGINE:
        chosen = replace(chosen, padding=Padding.ENGINE)
    total = test_set.count_pictures()
    done = 0
    with progress_bar(test_set.name) as bar:

        def show(_pair: Pair, _restored: object, figures: ImageFigures) -> None:
            nonlocal done
            done += 1
            if bar is not None:
                bar(done, total)
            if per_image:
                text = ", ".join(
                    f"{metric.title} {metric.write(figures[name])}" for name, metric in METRICS.items()
                )
                out.print(f"{test_set.name} {figures.name}: {text}", markup=False)

        return measure_set(restorer, test_set, protocol=chosen, observe=show)


def table(reports: list[Report]) -> Table:
    """Lay out the means, one row for each test set."""
    first = reports[0]
    caption = f"{first.model}, {first.task}, protocol {first.protocol.name}, {first.protocol.padding} padding"
    grid = Table(title=caption, title_justify="left", box=None)
    headings = ("data", "pictures", *(metric.title for metric in METRICS.values()), "s/picture")
    for heading in headings:
        grid.add_column(heading, justify="left" if heading == "data" else "right", no_wrap=True)
    for report in reports:
        means = report.means
        figures = (metric.write(means[name]) for name, metric in METRICS.items())
        grid.add_row(report.data, str(len(report.images)), *figures, f"{means['seconds']:.2f}")
    return grid


def write_json(path: Path, document: Any) -> None:
    """Write a document for machines."""
    try:
        path.write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")
    except OSError as error:
        raise DataError(f"{path} cannot be written ({error.strerror}): choose another place") from error
