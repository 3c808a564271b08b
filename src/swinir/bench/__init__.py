"""How fast this package's network is, and others beside it in the same sitting."""

from swinir.bench.contenders import CONTENDERS, OURS, Contender, Task, check_names
from swinir.bench.sitting import Report, Row, hold

__all__ = ["CONTENDERS", "OURS", "Contender", "Report", "Row", "Task", "check_names", "hold"]
