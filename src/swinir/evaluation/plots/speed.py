"""How long methods take for the same picture: results of ``swinir bench`` as bars."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from swinir.errors import DataError
from swinir.evaluation.plots.drawing import OURS, QUIET, RIVALS, make_panels

if TYPE_CHECKING:
    from matplotlib.figure import Figure

OWN_METHOD = "swinir"


@dataclass(frozen=True, kw_only=True)
class Benchmark:
    """Methods on one workload.

    Attributes:
        title: model, size and precision.
        place: hardware, threads and date.
        seconds: median, by method.
        times_ours: the median over rounds of its time over ours, by method.
    """

    title: str
    place: str
    seconds: Mapping[str, float]
    times_ours: Mapping[str, float]


def read_benchmarks(path: Path) -> list[Benchmark]:
    """Read results of ``swinir bench``, one JSON document in each line; other kinds of lines are passed over.

    Raises:
        DataError: it holds no such results.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
        documents = [json.loads(line) for line in lines if line.strip()]
        found = [_read_document(document) for document in documents if document.get("kind") == "bench"]
    except OSError as error:
        raise DataError(f"{path} cannot be read ({error.strerror}): name a benchmark's results") from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise DataError(f"{path} holds no results of `swinir bench`: name such a file") from error
    if not found:
        raise DataError(f"{path} holds no results of `swinir bench`: name such a file")
    return found


def _read_document(document: Mapping[str, Any]) -> Benchmark:
    height, width = document["size"]
    date = document["date"][:10]
    return Benchmark(
        title=f"{document['model']}, {height}×{width}, {document['precision']}",
        place=f"{document.get('gpu') or document['cpu']}, {document['threads']} threads, {date}",
        seconds={_name_row(row): row["p50_s"] for row in document["rows"]},
        times_ours={_name_row(row): row["times_ours"] for row in document["rows"]},
    )


def draw_speed(benchmarks: Sequence[Benchmark]) -> "Figure":
    """Draw a panel of bars for each workload."""
    figure, panels = make_panels(len(benchmarks), num_columns=2)
    most = max(len(benchmark.seconds) for benchmark in benchmarks)
    for benchmark, panel in zip(benchmarks, panels, strict=True):
        names = sorted(benchmark.seconds, key=lambda name: -benchmark.seconds[name])
        seconds = [benchmark.seconds[name] for name in names]
        colors = [OURS if _is_own(name) else RIVALS for name in names]
        bars = panel.barh(names, seconds, color=colors, height=0.65)
        labels = [
            f"{value:.3g} s" if _is_own(name) else f"{value:.3g} s, {benchmark.times_ours[name]:.1f} ×"
            for name, value in zip(names, seconds, strict=True)
        ]
        panel.bar_label(bars, labels, padding=4, fontsize=8, color=QUIET)
        panel.set_xlim(0, 1.35 * max(seconds))
        panel.set_ylim(len(names) - most - 0.6, len(names) - 0.4)
        panel.grid(visible=False, axis="y")
        panel.set_title(f"{benchmark.title}\n{benchmark.place}", fontsize=9, loc="left")
        panel.set_xlabel("seconds, median", fontsize=9)
    return figure


def _name_row(row: Mapping[str, Any]) -> str:
    return f"{row['method']}, {row['precision']}"


def _is_own(name: str) -> bool:
    return name.partition(",")[0] == OWN_METHOD
