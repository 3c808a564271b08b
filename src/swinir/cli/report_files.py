"""Files that commands write what they measured to."""

import os
from pathlib import Path

from swinir.errors import DataError


def check_places(*paths: Path | None) -> None:
    """Say before the work which report cannot be written where it is wanted.

    Raises:
        DataError: one cannot.
    """
    for path in paths:
        if path is None:
            continue
        # Of a name that is too long pathlib raises where os.path answers.
        if os.path.isdir(path):  # noqa: PTH112
            why = "it is a folder"
        elif not os.path.isdir(path.parent):  # noqa: PTH112
            why = f"{path.parent} is no folder"
        elif not os.access(path if os.path.exists(path) else path.parent, os.W_OK):  # noqa: PTH110
            why = "no permission"
        else:
            continue
        raise DataError(f"{path} cannot be written ({why}): choose another place")


def write_text(path: Path, text: str, *, appends: bool = False) -> None:
    """Write a report, or add it to what is there.

    Raises:
        DataError: it cannot be written.
    """
    try:
        with path.open("a" if appends else "w", encoding="utf-8") as file:
            file.write(text)
    except OSError as error:
        raise DataError(f"{path} cannot be written ({error.strerror}): choose another place") from error
