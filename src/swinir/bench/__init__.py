"""How fast this package's network is, and others beside it in the same sitting."""

from swinir.bench.contenders import CONTENDERS, OURS, Contender, Task, check_names
from swinir.bench.sitting import Ready, Report, Row, compare, prepare

__all__ = [
    "CONTENDERS",
    "OURS",
    "Contender",
    "Ready",
    "Report",
    "Row",
    "Task",
    "check_names",
    "compare",
    "prepare",
]
