"""``swinir evaluate``: models and test sets make figures."""

import difflib
import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from swinir.cli import choices
from swinir.cli.console import err, out, progress_bar
from swinir.cli.report_files import check_places, write_text
from swinir.data import Bicubic, Degradation, GaussianNoise, Jpeg, RealWorld, StoredPairs
from swinir.data.bsrgan import REALISTIC
from swinir.engine import Restorer
from swinir.errors import DataError, UsageError
from swinir.evaluation import (
    METRICS,
    PROTOCOLS,
    EvaluationProtocol,
    EvaluationSet,
    Observation,
    Padding,
    Report,
    choose_protocol,
    make_document,
)
from swinir.evaluation import evaluate as measure_set
from swinir.evaluation.markdown import write_markdown
from swinir.evaluation.niqe import NiqeModel, load_niqe_model
from swinir.evaluation.page import CropCollector, ReportView, write_page
from swinir.evaluation.tables import (
    TextTable,
    group_reports,
    list_notes,
    list_padding_costs,
    tabulate_means,
    tabulate_rivals,
)
from swinir.options import Precision
from swinir.provenance import read_provenance
from swinir.weights import catalog

PAPER, ENGINE = "paper", "engine"


@dataclass(frozen=True, kw_only=True)
class Request:
    """What the command line asks for, checked."""

    sets: Sequence[tuple[str, Path]]
    protocol: str
    degradations: Sequence[Degradation | None]
    niqe_model: NiqeModel | None
    is_each_shown: bool
    is_page_wanted: bool


def evaluate(
    data: Annotated[
        list[str],
        typer.Option("--data", "-d", metavar="NAME=FOLDER", help="A test set; may be given several times."),
    ],
    model: Annotated[
        list[str],
        typer.Option("--model", "-m", help="A model's name or a weights file; may be given several times."),
    ],
    protocol: Annotated[
        str,
        typer.Option(
            metavar="NAME",
            help="paper: as the literature measures the task; engine: as `swinir upscale` restores, and what that "
            "costs; or one by name: classical-sr, lightweight-sr, real-world, degraded-sr, own-pairs, "
            "gray-denoising, color-denoising, gray-jpeg, color-jpeg.",
        ),
    ] = PAPER,
    noise: Annotated[
        list[float] | None,
        typer.Option(
            min=0, help="For denoisers: standard deviation of the noise to add, of 255; may be repeated."
        ),
    ] = None,
    jpeg: Annotated[
        list[int] | None,
        typer.Option(min=1, max=100, help="For JPEG models: quality to compress with; may be repeated."),
    ] = None,
    niqe: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Measure NIQE, too, with the statistics in this .npz file."),
    ] = None,
    device: choices.Device = "auto",
    precision: choices.PrecisionOption = Precision.FP32,
    ensemble: choices.Ensemble = False,
    image_range: choices.ImageRange = None,
    json_file: Annotated[
        Path | None, typer.Option("--json", metavar="FILE", help="Write every figure of every picture.")
    ] = None,
    markdown_file: Annotated[
        Path | None, typer.Option("--markdown", metavar="FILE", help="Write the tables as Markdown.")
    ] = None,
    html_file: Annotated[
        Path | None,
        typer.Option(
            "--html",
            metavar="FILE",
            help="Write a page: figures of every picture, gains, details to compare under a slider.",
        ),
    ] = None,
    no_times: Annotated[
        bool,
        typer.Option("--no-times", help="Leave out date and seconds: two runs then write the same bytes."),
    ] = False,
    per_image: Annotated[bool, typer.Option("--per-image", help="Show each picture's figures.")] = False,
) -> None:
    """Measure models by the protocols of the literature.

    A test set is a folder of pictures, or one laid out as the usual downloads are. Low-resolution files are taken
    where they are, and made as MATLAB makes them where they are not. Benchmarks are known by name: an incomplete or
    changed copy is reported.

    Example: `swinir evaluate --model lightweight-x2 --data Set5=testsets/Set5`.
    """
    check_places(json_file, markdown_file, html_file)
    request = Request(
        sets=[split_name(text) for text in data],
        protocol=check_protocol(protocol),
        degradations=list_degradations(protocol, noise or [], jpeg or []),
        niqe_model=None if niqe is None else load_niqe_model(niqe),
        is_each_shown=per_image,
        is_page_wanted=html_file is not None,
    )
    views: list[ReportView] = []
    num_failed = 0
    # Measuring both ways shows what the engine costs.
    ways = [ENGINE, PAPER] if protocol == ENGINE else [protocol]
    for name in model:
        weights_sha256 = catalog.resolve(name).sha256
        restorer = Restorer.from_pretrained(
            name, image_range=image_range, device=device, precision=precision, ensemble=ensemble
        )
        for way in ways:
            measured, failed = evaluate_model(restorer, replace(request, protocol=way))
            views += [note_weights(view, weights_sha256) for view in measured]
            num_failed += failed
    if not views:
        raise typer.Exit(1)
    if no_times:
        views = [replace(view, report=view.report.without_times()) for view in views]
    reports = [view.report for view in views]
    show_reports(reports)
    provenance = replace(read_provenance(), date="") if no_times else read_provenance()
    if json_file is not None:
        write_text(json_file, json.dumps(make_document(reports, provenance), indent=2) + "\n")
    if markdown_file is not None:
        write_text(markdown_file, write_markdown(reports, provenance))
    if html_file is not None:
        write_text(html_file, write_page(views, provenance))
    if num_failed:
        raise typer.Exit(1)


def show_reports(reports: Sequence[Report]) -> None:
    """Print tables, what the engine's padding costs, and notes on the test sets."""
    for group in group_reports(reports):
        show(tabulate_means(group))
        if (rivals := tabulate_rivals(group)) is not None:
            show(rivals)
    for line in list_padding_costs(reports):
        out.print(line, markup=False)
    for note in list_notes(reports):
        err.print(f"note: {note}", style="yellow", markup=False)


def split_name(text: str) -> tuple[str, Path]:
    """Read NAME=FOLDER, or a folder that lends its own name."""
    name, separator, folder = text.partition("=")
    path = Path(folder if separator else text)
    return (name if separator else path.resolve().name), path


def check_protocol(name: str) -> str:
    """Require that a protocol is known; the message names the nearest."""
    known = (PAPER, ENGINE, *PROTOCOLS)
    if name not in known:
        near = difflib.get_close_matches(name, known, n=1, cutoff=0.4)
        hint = f", but {near[0]}" if near else ""
        raise UsageError(f"there is no protocol '{name}'{hint}: choose from {', '.join(known)}")
    return name


def list_degradations(protocol: str, noise: Sequence[float], jpeg: Sequence[int]) -> list[Degradation | None]:
    """Return what makes the low quality: bicubic shrinking unless something else is asked for."""
    if noise and jpeg:
        raise UsageError("--noise and --jpeg exclude each other: a model undoes one of them")
    degradations: list[Degradation | None] = [GaussianNoise(sigma=(sigma, sigma)) for sigma in noise]
    degradations += [Jpeg(quality=(quality, quality)) for quality in jpeg]
    by_protocol: dict[str, Degradation | None] = {
        "real-world": None,
        "degraded-sr": RealWorld(options=REALISTIC),
        "own-pairs": StoredPairs(),
    }
    if protocol in by_protocol and degradations:
        raise UsageError(
            f"protocol {protocol} adds no noise and no JPEG of its own: leave out --noise and --jpeg"
        )
    return degradations or [by_protocol.get(protocol, Bicubic())]


def evaluate_model(restorer: Restorer, request: Request) -> tuple[list[ReportView], int]:
    """Measure one model on every test set under every degradation; return what was measured, and how often not.

    A test set that cannot be measured is named, and nothing of it is counted.
    """
    views: list[ReportView] = []
    num_failed = 0
    for degradation in request.degradations:
        protocol = choose(restorer, request.protocol, degradation)
        for name, folder in request.sets:
            test_set = EvaluationSet(name=name, folder=folder, degradation=degradation)
            try:
                views.append(evaluate_set(restorer, test_set, protocol, request))
            except DataError as error:
                err.print(f"swinir: {name} is left out: {error}", style="red", markup=False)
                num_failed += 1
    return views, num_failed


def choose(restorer: Restorer, name: str, degradation: Degradation | None) -> EvaluationProtocol:
    """Return the protocol that is asked for, if the model and the degradation are of its task."""
    enlarges = restorer.scale > 1
    if not enlarges and not isinstance(degradation, GaussianNoise | Jpeg | StoredPairs):
        raise UsageError(
            f"{restorer.name} does not enlarge: say what it undoes with --noise SIGMA or --jpeg QUALITY, or name "
            "your own pairs with --protocol own-pairs"
        )
    if enlarges and isinstance(degradation, GaussianNoise | Jpeg):
        raise UsageError(f"{restorer.name} enlarges ×{restorer.scale}: leave out --noise and --jpeg")
    usual = choose_protocol(restorer.config, degradation)
    if name == ENGINE:
        return replace(usual, padding=Padding.ENGINE)
    if name == PAPER:
        return usual
    chosen = PROTOCOLS[name]
    if (chosen.quoted, chosen.cuts_border, chosen.needs_original) != (
        usual.quoted,
        usual.cuts_border,
        usual.needs_original,
    ):
        raise UsageError(
            f"protocol {name} measures {chosen.title}, and {restorer.name} is measured by {usual.name} here: "
            "choose that one"
        )
    return chosen


def evaluate_set(
    restorer: Restorer, test_set: EvaluationSet, protocol: EvaluationProtocol, request: Request
) -> ReportView:
    """Measure on one test set, showing how far the work is."""
    total = test_set.count_pictures()
    done = 0
    collector = CropCollector(protocol, restorer.scale, restorer.name)
    with progress_bar(test_set.name) as bar:

        def follow(observation: Observation) -> None:
            nonlocal done
            done += 1
            if bar is not None:
                bar(done, total)
            if request.is_page_wanted:
                collector(observation)
            if request.is_each_shown:
                figures = observation.figures
                text = ", ".join(
                    f"{METRICS[name].title} {METRICS[name].write(value)}"
                    for name, value in figures.figures.items()
                )
                out.print(f"{test_set.name} {figures.name}: {text}", markup=False)

        report = measure_set(
            restorer, test_set, protocol=protocol, niqe_model=request.niqe_model, observe=follow
        )
    return ReportView(report=report, crops=collector.crops)


def note_weights(view: ReportView, weights_sha256: str) -> ReportView:
    """Note which weights were measured."""
    model = replace(view.report.model, weights_sha256=weights_sha256)
    return replace(view, report=replace(view.report, model=model))


def show(table: TextTable) -> None:
    """Print a table."""
    grid = Table(title=table.title, title_justify="left", box=None)
    for index, heading in enumerate(table.headings):
        grid.add_column(heading, justify="left" if index < table.num_names else "right", no_wrap=True)
    for row in table.rows:
        grid.add_row(*row)
    out.print(grid)
