"""Training curves of one or several runs."""

import json
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from math import isfinite
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from swinir.errors import DataError
from swinir.evaluation.plots.drawing import COLORS, make_panels

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

LOG_NAME = "log.jsonl"
# What is drawn where a log has it, each in a panel of its own: the part of a name before "/", and how it is written.
PANELS: Mapping[str, str] = {
    "loss": "loss",
    "psnr_db": "PSNR, dB",
    "learning_rate": "learning rate",
    "gradient_norm": "gradient norm",
    "crops_per_s": "crops per second",
}
DEFAULT_PANELS = ("loss", "psnr_db", "learning_rate")
_LINE_STYLES = ("-", "--", ":", "-.")
# Of many entries, the mean of about so many stands before the single ones.
_SMOOTH_POINTS = 60


@dataclass(frozen=True, kw_only=True)
class RunLog:
    """Numbers of one run by name, each as steps and values."""

    name: str
    series: Mapping[str, tuple[Sequence[float], Sequence[float]]]


def read_run(path: Path) -> RunLog:
    """Read a run's folder, or its ``log.jsonl``; a line that was cut off and what is no number are passed over.

    Raises:
        DataError: there is no log, or it holds no numbers.
    """
    file = path / LOG_NAME if path.is_dir() else path
    try:
        text = file.read_text(encoding="utf-8", errors="replace")
    except OSError as error:
        raise DataError(f"{file} cannot be read ({error.strerror}): name the folder of a run") from error
    series: dict[str, tuple[list[float], list[float]]] = {}
    for line in text.splitlines():
        entry: Any = None
        with suppress(json.JSONDecodeError):
            entry = json.loads(line)
        if not isinstance(entry, dict) or not isinstance(entry.get("step"), int):
            continue
        for name, value in entry.items():
            if name != "step" and isinstance(value, int | float) and isfinite(value):
                steps, values = series.setdefault(name, ([], []))
                steps.append(entry["step"])
                values.append(value)
    if not series:
        raise DataError(f"{file} holds no numbers of a run: name the folder of one that has begun")
    name = file.parent.name if file.name == LOG_NAME else file.stem
    return RunLog(name=name, series=series)


def draw_curves(runs: Sequence[RunLog], panels: Sequence[str] = DEFAULT_PANELS) -> "Figure":
    """Draw what the logs have of these panels: a colour for each run, a kind of line for each test set.

    Raises:
        DataError: the logs have none of them.
    """
    shown = [panel for panel in panels if any(_belongs(name, panel) for run in runs for name in run.series)]
    if not shown:
        raise DataError(
            f"the logs of {', '.join(run.name for run in runs)} have no {' and no '.join(panels)} to draw"
        )
    figure, axes = make_panels(len(shown))
    for panel, drawing in zip(shown, axes, strict=True):
        drawing.set_title(PANELS.get(panel, panel), fontsize=10, loc="left")
        drawing.set_xlabel("step", fontsize=9)
        for run, color in zip(runs, _repeat(COLORS, len(runs)), strict=True):
            names = [name for name in run.series if _belongs(name, panel)]
            for name, style in zip(names, _repeat(_LINE_STYLES, len(names)), strict=True):
                _, _, part = name.partition("/")
                label = " ".join(word for word in (run.name, part) if word)
                _draw_series(drawing, *run.series[name], color=color, style=style, label=label)
        if panel == "loss":
            drawing.set_yscale("log")
        drawing.legend(fontsize=8, frameon=False)
    return figure


def _belongs(name: str, panel: str) -> bool:
    return name.partition("/")[0] == panel


def _repeat(values: Sequence[str], count: int) -> list[str]:
    return [values[index % len(values)] for index in range(count)]


def _draw_series(
    drawing: "Axes", steps: Sequence[float], values: Sequence[float], *, color: str, style: str, label: str
) -> None:
    """Draw a line; of many values a running mean, the single ones faint behind it."""
    window = len(values) // _SMOOTH_POINTS
    if window < 2:
        marker = "o" if len(values) < 3 else None
        drawing.plot(steps, values, color=color, linestyle=style, linewidth=1.5, marker=marker, label=label)
        return
    drawing.plot(steps, values, color=color, linewidth=0.6, alpha=0.25)
    means = np.convolve(values, np.ones(window) / window, mode="valid")
    middle = np.convolve(steps, np.ones(window) / window, mode="valid")
    drawing.plot(middle, means, color=color, linestyle=style, linewidth=1.5, label=label)
