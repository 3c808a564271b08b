"""Reports as tables of text, for a terminal, Markdown or a page: models in rows, published methods below them."""

from collections.abc import Sequence
from dataclasses import dataclass

from swinir.evaluation.measures import METRICS
from swinir.evaluation.protocols import EvaluationProtocol, Padding
from swinir.evaluation.published import find_published
from swinir.evaluation.report import COUNTED_HEIGHT_PX, COUNTED_WIDTH_PX, Report

NOTHING = "-"
OURS = "measured here"


@dataclass(frozen=True, kw_only=True)
class TextTable:
    """A table of text; all columns but the first ``num_names`` are figures."""

    title: str
    headings: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    num_names: int


def group_reports(reports: Sequence[Report]) -> list[list[Report]]:
    """Put reports together that stand in one table: of one protocol, padding and level, in the order they came."""
    groups: dict[tuple[str, Padding, float], list[Report]] = {}
    for report in reports:
        groups.setdefault((report.protocol.name, report.protocol.padding, report.level), []).append(report)
    return list(groups.values())


def name_group(reports: Sequence[Report]) -> str:
    """Return what a table is about."""
    first = reports[0]
    return f"{first.task}, protocol {first.protocol.name}, {first.protocol.padding} padding"


def tabulate_means(reports: Sequence[Report]) -> TextTable:
    """Lay out the means of a group, one row for each model and test set."""
    metrics = list(dict.fromkeys(name for report in reports for name in report.metrics))
    has_seconds = all("seconds" in report.means for report in reports)
    rows = [
        (
            report.model.name,
            report.data,
            str(len(report.images)),
            *(
                METRICS[name].write(report.means[name]) if name in report.means else NOTHING
                for name in metrics
            ),
            *([f"{report.means['seconds']:.2f}"] if has_seconds else []),
        )
        for report in reports
    ]
    titles = (METRICS[name].title for name in metrics)
    return TextTable(
        title=name_group(reports),
        headings=("model", "data", "pictures", *titles, *(["s/picture"] if has_seconds else [])),
        rows=tuple(rows),
        num_names=2,
    )


def tabulate_rivals(reports: Sequence[Report]) -> TextTable | None:
    """Lay out a group beside what the literature reports of the task; None where it reports nothing of these sets.

    One row for each method, one column for each test set: PSNR, then SSIM and PSNR-B as far as they are published.
    """
    first = reports[0]
    sets = list(dict.fromkeys(report.copy.known or report.data for report in reports))
    published = [
        row
        for row in find_published(first.protocol.name, first.level)
        if any(name in row.figures for name in sets)
    ]
    if not published:
        return None
    rows = [
        (
            row.title,
            *(write_figures(first.protocol, row.figures.get(name, ())) for name in sets),
            write_count(row.parameters),
            write_count(row.count_multiply_adds(COUNTED_HEIGHT_PX, COUNTED_WIDTH_PX)),
        )
        for row in published
    ]
    for model in dict.fromkeys(report.model for report in reports):
        own = {report.copy.known or report.data: report for report in reports if report.model == model}
        rows.append(
            (
                f"{model.name} ({OURS})",
                *(
                    write_figures(first.protocol, [own[name].means[key] for key in first.protocol.quoted])
                    if name in own
                    else NOTHING
                    for name in sets
                ),
                write_count(model.parameters),
                write_count(model.multiply_adds),
            )
        )
    return TextTable(
        title=f"Beside {first.protocol.source}",
        headings=("method", *sets, "parameters", f"multiply-adds, {COUNTED_WIDTH_PX}×{COUNTED_HEIGHT_PX}"),
        rows=tuple(rows),
        num_names=1,
    )


def write_figures(protocol: EvaluationProtocol, values: Sequence[float]) -> str:
    """Write the figures of a task as tables do: PSNR / SSIM / PSNR-B."""
    if not values:
        return NOTHING
    return " / ".join(
        METRICS[name].write(value) for name, value in zip(protocol.quoted, values, strict=False)
    )


def write_count(number: float | None) -> str:
    """Write a large number with three digits: 897 K, 49.6 G."""
    if number is None:
        return NOTHING
    for unit, size in (("T", 1e12), ("G", 1e9), ("M", 1e6), ("K", 1e3)):
        # What three digits would round up to the next unit belongs to it.
        if number >= 0.9995 * size:
            return f"{number / size:.3g} {unit}"
    return f"{number:.3g}"


def list_notes(reports: Sequence[Report]) -> list[str]:
    """Return what a reader must know of the test sets, each once."""
    return list(dict.fromkeys(note for report in reports for note in report.copy.notes))


def list_padding_costs(reports: Sequence[Report]) -> list[str]:
    """Say, where a model was measured both ways, what the engine's padding and tiles cost in the first figure."""
    lines: list[str] = []
    for engine in (report for report in reports if report.protocol.padding is Padding.ENGINE):
        for published in reports:
            if (
                published.protocol.padding is Padding.PUBLISHED
                and published.model.name == engine.model.name
                and (published.data, published.task) == (engine.data, engine.task)
            ):
                name = engine.protocol.quoted[0]
                change = engine.means[name] - published.means[name]
                lines.append(
                    f"{engine.model.name} on {engine.data}: {change:+.3f} {METRICS[name].unit} "
                    "as the engine restores, against published padding"
                )
    return lines
