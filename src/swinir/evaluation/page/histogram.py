"""A histogram, laid out for a drawing."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil, floor, isfinite

# Widths that a bin may have, in dB, the finest first.
_WIDTHS = (0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0)
_MOST_BINS = 20


@dataclass(frozen=True, kw_only=True)
class Bin:
    """How many values lie from ``start`` to, but not at, ``end``."""

    start: float
    end: float
    count: int


def count_bins(values: Sequence[float]) -> list[Bin]:
    """Count values in bins of a round width, at most 20; values that are not finite are left out."""
    finite = [value for value in values if isfinite(value)]
    if not finite:
        return []
    least, greatest = min(finite), max(finite)
    width = next((width for width in _WIDTHS if (greatest - least) / width < _MOST_BINS - 1), _WIDTHS[-1])
    first, last = floor(least / width), floor(greatest / width)
    counts = [0] * (last - first + 1)
    for value in finite:
        counts[floor(value / width) - first] += 1
    return [
        Bin(start=(first + index) * width, end=(first + index + 1) * width, count=count)
        for index, count in enumerate(counts)
    ]


def choose_ticks(bins: Sequence[Bin], most: int = 6) -> list[float]:
    """Choose borders of bins to write below them: at most so many."""
    borders = [bins[0].start, *(bin_.end for bin_ in bins)]
    return borders[:: ceil(len(borders) / most)]
