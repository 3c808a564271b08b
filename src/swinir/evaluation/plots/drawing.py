"""What all drawings have in common: matplotlib where it is installed, colours, the same bytes every time."""

from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from swinir.errors import DataError, MissingPackageError

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

FORMATS = (".svg", ".png", ".pdf")
# Of Okabe and Ito, told apart by most who do not see all colours.
COLORS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000")
OURS, RIVALS, QUIET = "#d55e00", "#0072b2", "#5b6470"
PANEL_INCHES = (5.2, 3.8)
_DPI = 160


def require_matplotlib() -> None:
    """Check that drawings can be made.

    Raises:
        MissingPackageError: matplotlib is not installed.
    """
    if find_spec("matplotlib") is None:
        raise MissingPackageError("plots need matplotlib: run pip install 'swinir[plot]'")


def make_panels(num_panels: int, *, num_columns: int = 3) -> "tuple[Figure, Sequence[Axes]]":
    """Return a figure with so many panels, in rows."""
    from matplotlib.figure import Figure  # noqa: PLC0415  optional

    columns = min(num_panels, num_columns)
    rows = -(-num_panels // columns)
    width, height = PANEL_INCHES
    figure = Figure(figsize=(columns * width, rows * height), layout="constrained")
    panels = [figure.add_subplot(rows, columns, index + 1) for index in range(num_panels)]
    for panel in panels:
        panel.grid(visible=True, color="#d5dae0", linewidth=0.6)
        panel.set_axisbelow(True)
        panel.spines[["top", "right"]].set_visible(False)
        panel.tick_params(which="both", labelsize=8, colors=QUIET)
    return figure, panels


def save(figure: "Figure", path: Path) -> None:
    """Write a figure in the format that the suffix names; the same figure gives the same bytes.

    Raises:
        DataError: the suffix is unknown, or the file cannot be written.
    """
    import matplotlib as mpl  # noqa: PLC0415  optional

    if path.suffix.lower() not in FORMATS:
        raise DataError(f"{path} names no format of drawings: use one of {', '.join(FORMATS)}")
    # What would hold the date of the drawing is left out.
    metadata = {".svg": {"Date": None}, ".png": {"Software": None}, ".pdf": {"CreationDate": None}}
    try:
        # For this file only; nothing global is changed.
        with mpl.rc_context({"svg.hashsalt": "swinir", "svg.fonttype": "path"}):
            figure.savefig(path, dpi=_DPI, metadata=metadata[path.suffix.lower()])
    except OSError as error:
        raise DataError(f"{path} cannot be written ({error.strerror}): choose another place") from error
