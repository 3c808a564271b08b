"""An evaluation as a page: figures of every picture, gains, details to compare, and published figures beside."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from math import isfinite
from typing import Any

from swinir.evaluation.measures import METRICS
from swinir.evaluation.page.crops import Crop, Crops
from swinir.evaluation.page.histogram import choose_ticks, count_bins
from swinir.evaluation.page.html import embed_pixels, render
from swinir.evaluation.report import Report
from swinir.evaluation.tables import group_reports, list_padding_costs, tabulate_means, tabulate_rivals
from swinir.provenance import Provenance

# Of the drawing of a histogram, in its own units.
_WIDTH, _HEIGHT, _MARGIN = 480, 190, 24


@dataclass(frozen=True, kw_only=True)
class ReportView:
    """A report and what is shown of its pictures."""

    report: Report
    crops: Crops


def write_page(views: Sequence[ReportView], provenance: Provenance) -> str:
    """Write an evaluation as one self-contained HTML page."""
    reports = [view.report for view in views]
    groups = [
        {
            "means": tabulate_means(group),
            "rivals": tabulate_rivals(group),
            "protocol": group[0].protocol,
        }
        for group in group_reports(reports)
    ]
    return render(
        "report.html",
        title=_name_page(reports),
        groups=groups,
        costs=list_padding_costs(reports),
        views=[_describe_view(view) for view in views],
        provenance=provenance.to_dict(),
        models=[asdict(model) for model in dict.fromkeys(report.model for report in reports)],
    )


def _name_page(reports: Sequence[Report]) -> str:
    models = ", ".join(dict.fromkeys(report.model.name for report in reports))
    sets = ", ".join(dict.fromkeys(report.data for report in reports))
    return f"{models} on {sets}"


def _describe_view(view: ReportView) -> dict[str, Any]:
    report, crops = view.report, view.crops
    first = METRICS[report.protocol.quoted[0]]
    return {
        "title": f"{report.model.name} on {report.data}",
        "subtitle": f"{report.task}, {report.protocol.title}, {report.protocol.padding} padding",
        "notes": report.copy.notes,
        "is_verified": report.copy.is_verified,
        "known": report.copy.known,
        "columns": _list_columns(report, crops),
        "rows": _list_rows(report, crops),
        "histogram": _draw_histogram(list(crops.gains_db.values())),
        "gain_title": f"{first.title} over {_name_baseline(crops.baseline)}",
        "sections": [
            {"title": title, "crops": [_embed_crop(crop) for crop in shown]}
            for title, shown in (
                ("Where most is gained", crops.best),
                ("Where most error is left", crops.worst),
                ("Details", crops.others),
            )
            if shown
        ],
    }


def _name_baseline(baseline: str) -> str:
    return "the picture as given" if baseline == "given" else baseline


def _list_columns(report: Report, crops: Crops) -> list[str]:
    titles = [METRICS[name].title for name in report.metrics]
    gain = ["gain, dB"] if crops.gains_db else []
    seconds = ["seconds"] if "seconds" in report.means else []
    return ["picture", "pixels", *titles, *gain, *seconds]


def _list_rows(report: Report, crops: Crops) -> list[list[Mapping[str, Any]]]:
    """Return cells of text with the value that they are sorted by."""
    rows: list[list[Mapping[str, Any]]] = []
    for image in report.images:
        size = {"text": f"{image.width}×{image.height}", "value": image.width * image.height}
        cells = [
            {"text": METRICS[name].write(value), "value": value} for name, value in image.figures.items()
        ]
        if crops.gains_db:
            gain_db = crops.gains_db[image.name]
            cells.append({"text": f"{gain_db:+.2f}", "value": gain_db})
        if image.seconds is not None:
            cells.append({"text": f"{image.seconds:.2f}", "value": image.seconds})
        rows.append([{"text": image.name, "value": image.name}, size, *cells])
    return rows


def _draw_histogram(values: Sequence[float]) -> dict[str, Any] | None:
    """Lay out bars and ticks; None where there is nothing to count."""
    bins = count_bins(values)
    if not bins:
        return None
    highest = max(bin_.count for bin_ in bins)
    start, end = bins[0].start, bins[-1].end
    inner_width, inner_height = _WIDTH - 2 * _MARGIN, _HEIGHT - 2 * _MARGIN

    def place(value: float) -> float:
        return _MARGIN + inner_width * (value - start) / (end - start)

    finite = [value for value in values if isfinite(value)]
    return {
        "width": _WIDTH,
        "height": _HEIGHT,
        "base": _HEIGHT - _MARGIN,
        "bars": [
            {
                "x": round(place(bin_.start) + 1, 2),
                "width": round(place(bin_.end) - place(bin_.start) - 2, 2),
                "y": round(_HEIGHT - _MARGIN - inner_height * bin_.count / highest, 2),
                "height": round(inner_height * bin_.count / highest, 2),
                "label": f"{bin_.count} from {bin_.start:+.2f} to {bin_.end:+.2f} dB",
                "count": bin_.count,
            }
            for bin_ in bins
        ],
        "ticks": [{"x": round(place(tick), 2), "label": f"{tick:+.2f}"} for tick in choose_ticks(bins)],
        "mean": {
            "x": round(place(sum(finite) / len(finite)), 2),
            "label": f"{sum(finite) / len(finite):+.2f}",
        },
        "zero": round(place(0), 2) if start <= 0 <= end else None,
    }


def _embed_crop(crop: Crop) -> dict[str, Any]:
    height, width = next(iter(crop.layers.values())).shape[:2]
    return {
        "picture": crop.picture,
        "caption": f"{crop.caption}; {width}×{height} pixels from {crop.left}, {crop.top}",
        "width": width,
        "height": height,
        "layers": [{"label": label, "url": embed_pixels(pixels)} for label, pixels in crop.layers.items()],
    }
