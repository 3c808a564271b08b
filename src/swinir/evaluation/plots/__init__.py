"""Drawings of training runs, of quality against cost, and of speed; each needs matplotlib, the extra "plot"."""

from swinir.evaluation.plots.curves import RunLog, draw_curves, read_run
from swinir.evaluation.plots.drawing import FORMATS, require_matplotlib, save
from swinir.evaluation.plots.quality import Cost, draw_quality, read_reports
from swinir.evaluation.plots.speed import draw_speed, read_benchmarks

__all__ = [
    "FORMATS",
    "Cost",
    "RunLog",
    "draw_curves",
    "draw_quality",
    "draw_speed",
    "read_benchmarks",
    "read_reports",
    "read_run",
    "require_matplotlib",
    "save",
]
