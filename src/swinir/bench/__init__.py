"""How fast this package's network is, and other methods beside it in the same rounds."""

from swinir.bench.baselines import BASELINES, OURS, BuildMethod, Method, check_names
from swinir.bench.comparison import Comparison, Row, WarmedUp, compare, prepare
from swinir.bench.workload import Workload, find_network

__all__ = [
    "BASELINES",
    "OURS",
    "BuildMethod",
    "Comparison",
    "Method",
    "Row",
    "WarmedUp",
    "Workload",
    "check_names",
    "compare",
    "find_network",
    "prepare",
]
