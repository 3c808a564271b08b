"""Quality against what it costs: what ``swinir evaluate`` measured beside what the paper reports."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Any

from swinir.errors import DataError
from swinir.evaluation.measures import METRICS
from swinir.evaluation.plots.drawing import OURS, QUIET, RIVALS, make_panels
from swinir.evaluation.published import find_published
from swinir.evaluation.report import COUNTED_HEIGHT_PX, COUNTED_WIDTH_PX
from swinir.evaluation.tables import write_count

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.text import Annotation
    from matplotlib.transforms import Bbox


class Cost(StrEnum):
    """What quality is drawn against."""

    PARAMETERS = "parameters"
    MULTIPLY_ADDS = "multiply-adds"
    SECONDS = "seconds"


_TITLES: Mapping[Cost, str] = {
    Cost.PARAMETERS: "parameters",
    Cost.MULTIPLY_ADDS: f"multiply-adds of {COUNTED_WIDTH_PX}×{COUNTED_HEIGHT_PX}",
    Cost.SECONDS: "seconds a picture here",
}


# Places of a name around its point, in points of type, the best first.
_OFFSETS = ((6, 5), (-6, 5), (6, -5), (-6, -5), (0, 8), (0, -8), (6, 14), (-6, 14), (6, -14), (-6, -14))


@dataclass(frozen=True, kw_only=True)
class Point:
    """One method on one test set."""

    label: str
    cost: float
    figure: float
    is_ours: bool


@dataclass(frozen=True, kw_only=True)
class Measured:
    """What is read back of a report.

    Attributes:
        model: its name.
        data: the test set, by its known name where it has one.
        task: in words.
        protocol: name of the protocol.
        level: see ``Report``.
        metric: the first one that the literature quotes.
        figure: its mean.
        costs: of the model, as far as they are known.
    """

    model: str
    data: str
    task: str
    protocol: str
    level: float
    metric: str
    figure: float
    costs: Mapping[Cost, float]


def read_reports(path: Path) -> list[Measured]:
    """Read a JSON file of ``swinir evaluate --json``.

    Raises:
        DataError: it is something else.
    """
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
        models = {model["name"]: model for model in document["models"]}
        return [_read_report(report, models[report["model"]]) for report in document["reports"]]
    except OSError as error:
        raise DataError(f"{path} cannot be read ({error.strerror}): name a report") from error
    except (ValueError, KeyError, TypeError) as error:
        raise DataError(
            f"{path} is no report: name a file of `swinir evaluate --json`, a benchmark's results or a run"
        ) from error


def _read_report(report: Mapping[str, Any], model: Mapping[str, Any]) -> Measured:
    metric = report["quoted"][0]
    return Measured(
        model=report["model"],
        data=report["copy"]["known"] or report["data"],
        task=report["task"],
        protocol=report["protocol"],
        level=report["level"],
        metric=metric,
        figure=float(report["means"][metric]),
        costs={
            Cost.PARAMETERS: model["parameters"],
            Cost.MULTIPLY_ADDS: model["multiply_adds"],
            **({Cost.SECONDS: report["means"]["seconds"]} if "seconds" in report["means"] else {}),
        },
    )


def draw_quality(reports: Sequence[Measured], *, against: Cost, data: str | None = None) -> "Figure":
    """Draw a panel for each task and test set: published methods and what was measured.

    Args:
        reports: what was measured.
        against: the horizontal axis. Published seconds are of other hardware and are not drawn.
        data: only this test set.

    Raises:
        DataError: there is nothing of that test set, or a report has no seconds.
    """
    groups: dict[tuple[str, float, str], list[Measured]] = {}
    for report in reports:
        if against not in report.costs:
            raise DataError(
                f"the report of {report.model} was written without times: draw it against parameters"
            )
        if data is None or report.data == data:
            groups.setdefault((report.protocol, report.level, report.data), []).append(report)
    if not groups:
        known = ", ".join(dict.fromkeys(report.data for report in reports))
        raise DataError(f"the reports have nothing of '{data}': choose from {known}")
    figure, panels = make_panels(len(groups))
    labels = [
        label
        for group, panel in zip(groups.values(), panels, strict=True)
        for label in _draw_group(panel, group, against)
    ]
    _spread(figure, labels)
    return figure


def _draw_group(panel: "Axes", group: Sequence[Measured], against: Cost) -> list["Annotation"]:
    """Draw published and measured points; return their names."""
    first = group[0]
    points = [
        *_list_rivals(first, against),
        *(
            Point(label=report.model, cost=report.costs[against], figure=report.figure, is_ours=True)
            for report in group
        ),
    ]
    for is_ours, color, label in ((False, RIVALS, "as published"), (True, OURS, "measured here")):
        chosen = [point for point in points if point.is_ours is is_ours]
        if chosen:
            costs, figures = [point.cost for point in chosen], [point.figure for point in chosen]
            panel.scatter(costs, figures, s=36, color=color, marker="D" if is_ours else "o", label=label)
    metric = METRICS[first.metric]
    panel.set_title(f"{first.data}, {first.task}", fontsize=10, loc="left")
    panel.set_xlabel(_TITLES[against], fontsize=9)
    panel.set_ylabel(", ".join(word for word in (metric.title, metric.unit) if word), fontsize=9)
    _mark_costs(panel, [point.cost for point in points], against)
    panel.margins(x=0.2, y=0.15)
    panel.legend(fontsize=8, frameon=False, loc="best")
    return _label(panel, points)


def _list_rivals(report: Measured, against: Cost) -> list[Point]:
    points: list[Point] = []
    for row in find_published(report.protocol, report.level):
        cost = {
            Cost.PARAMETERS: row.parameters,
            Cost.MULTIPLY_ADDS: row.count_multiply_adds(COUNTED_HEIGHT_PX, COUNTED_WIDTH_PX),
            Cost.SECONDS: None,
        }[against]
        if cost is not None and report.data in row.figures:
            points.append(
                Point(label=row.method, cost=cost, figure=row.figures[report.data][0], is_ours=False)
            )
    return points


def _label(panel: "Axes", points: Sequence[Point]) -> list["Annotation"]:
    """Write a name beside each point."""
    return [
        panel.annotate(
            point.label,
            (point.cost, point.figure),
            textcoords="offset points",
            xytext=_OFFSETS[0],
            fontsize=8,
            color=OURS if point.is_ours else QUIET,
        )
        for point in sorted(points, key=lambda point: -point.figure)
    ]


def _spread(figure: "Figure", labels: Sequence["Annotation"]) -> None:
    """Move each name to the first place around its point where it meets no other name and no point."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg  # noqa: PLC0415  optional

    renderer = FigureCanvasAgg(figure).get_renderer()
    figure.draw_without_rendering()
    taken: list[Bbox] = []
    for label in labels:
        x, y = label.axes.transData.transform(label.xy) if label.axes is not None else label.xy
        taken.append(label.get_window_extent(renderer).from_extents(x - 4, y - 4, x + 4, y + 4))
    for label in labels:
        for horizontal, vertical in _OFFSETS:
            label.set_position((horizontal, vertical))
            label.set_horizontalalignment(
                "left" if horizontal > 0 else "right" if horizontal < 0 else "center"
            )
            label.set_verticalalignment("bottom" if vertical > 0 else "top" if vertical < 0 else "center")
            box = label.get_window_extent(renderer)
            if not any(box.overlaps(other) for other in taken):
                break
        taken.append(label.get_window_extent(renderer))


def _mark_costs(panel: "Axes", costs: Sequence[float], against: Cost) -> None:
    """Have the axis show 700 K or 50 G instead of powers of ten."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter, NullLocator  # noqa: PLC0415  optional

    panel.set_xscale("log")
    is_wide = max(costs) > 10 * min(costs)
    panel.xaxis.set_major_locator(LogLocator(subs=(1, 3) if is_wide else (1, 1.5, 2, 3, 5, 7)))
    panel.xaxis.set_minor_locator(NullLocator())
    panel.xaxis.set_minor_formatter(NullFormatter())
    write = (
        (lambda cost, _: f"{cost:.3g}") if against is Cost.SECONDS else (lambda cost, _: write_count(cost))
    )
    panel.xaxis.set_major_formatter(FuncFormatter(write))
