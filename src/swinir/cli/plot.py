"""``swinir plot``: training runs, quality against cost, and speed as drawings."""

import json
from enum import Enum, auto
from pathlib import Path
from typing import Annotated

import typer

from swinir.cli.console import out
from swinir.errors import UsageError
from swinir.evaluation.plots import (
    FORMATS,
    Cost,
    draw_curves,
    draw_quality,
    draw_speed,
    read_benchmarks,
    read_reports,
    read_run,
    require_matplotlib,
    save,
)
from swinir.evaluation.plots.curves import DEFAULT_PANELS, LOG_NAME


class Kind(Enum):
    """What a file holds."""

    RUN = auto()
    REPORT = auto()
    BENCHMARK = auto()


def plot(
    inputs: Annotated[
        list[Path],
        typer.Argument(
            metavar="INPUT...",
            help="Folders of training runs; or reports of `swinir evaluate --json`; or results of `swinir bench`.",
        ),
    ],
    output: Annotated[
        list[Path] | None,
        typer.Option(
            "--output",
            "-o",
            metavar="FILE",
            help=f"A drawing, {', '.join(FORMATS)}; may be given several times.",
            show_default="plot.svg",
        ),
    ] = None,
    against: Annotated[
        Cost, typer.Option(help="Of reports: what quality is drawn against.")
    ] = Cost.PARAMETERS,
    data: Annotated[
        str | None, typer.Option(metavar="NAME", help="Of reports: this test set only.", show_default="all")
    ] = None,
    panel: Annotated[
        list[str] | None,
        typer.Option(
            help="Of runs: what is drawn, such as loss, psnr_db, gradient_norm; may be given several times.",
            show_default=", ".join(DEFAULT_PANELS),
        ),
    ] = None,
) -> None:
    """Draw training curves, quality against cost beside the paper's, or speed.

    Needs matplotlib: `pip install 'swinir[plot]'`.

    Example: `swinir plot runs/lightweight_x2 runs/fast_x2 -o curves.svg -o curves.png`.
    """
    require_matplotlib()
    outputs = output or [Path("plot.svg")]
    for path in outputs:
        if path.suffix.lower() not in FORMATS:
            raise UsageError(f"{path} names no format of drawings: use one of {', '.join(FORMATS)}")
    kinds = {tell_kind(path) for path in inputs}
    if len(kinds) > 1:
        raise UsageError("runs, reports and benchmarks do not go into one drawing: name files of one kind")
    match kinds.pop():
        case Kind.RUN:
            figure = draw_curves([read_run(path) for path in inputs], panel or DEFAULT_PANELS)
        case Kind.REPORT:
            reports = [report for path in inputs for report in read_reports(path)]
            figure = draw_quality(reports, against=against, data=data)
        case Kind.BENCHMARK:
            figure = draw_speed([found for path in inputs for found in read_benchmarks(path)])
    for path in outputs:
        save(figure, path)
        out.print(f"-> {path}", markup=False)


def tell_kind(path: Path) -> Kind:
    """Tell what an input is: a folder is a run; of a file the first line tells."""
    if path.is_dir() or path.name == LOG_NAME:
        return Kind.RUN
    try:
        with path.open(encoding="utf-8", errors="replace") as file:
            first = json.loads(file.readline())
    except OSError as error:
        raise UsageError(
            f"{path} cannot be read ({error.strerror}): name a run, a report or a benchmark"
        ) from error
    except ValueError:
        # A report is one document on many lines.
        return Kind.REPORT
    is_run = isinstance(first, dict) and "step" in first
    is_benchmark = isinstance(first, dict) and "kind" in first
    return Kind.RUN if is_run else Kind.BENCHMARK if is_benchmark else Kind.REPORT
