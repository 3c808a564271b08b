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
        if path.is_dir():
            raise DataError(f"{path} cannot be written (it is a folder): choose another place")
        if not path.parent.is_dir():
            raise DataError(f"{path} cannot be written ({path.parent} is no folder): choose another place")
        if not os.access(path if path.exists() else path.parent, os.W_OK):
            raise DataError(f"{path} cannot be written (no permission): choose another place")


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
