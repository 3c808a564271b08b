"""PyAV, imported when a film is opened, and its errors as ours."""

import os
from collections.abc import Generator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any

from swinir.errors import ImageReadError, MissingPackageError, SwinIRError
from swinir.imaging import shown_path


def import_av() -> Any:
    """Import PyAV.

    Raises:
        MissingPackageError: it is not installed.
    """
    # SVT-AV1 writes what it does to standard error otherwise; only its errors are of interest.
    os.environ.setdefault("SVT_LOG", "1")
    try:
        return import_module("av")
    except ModuleNotFoundError as error:
        raise MissingPackageError("films need PyAV: run pip install 'swinir[film]'") from error


def open_film(path: Path) -> Any:
    """Open a file for reading, and no other one, whatever its name or its content refer to."""
    return import_av().open(f"file:{path}", options={"protocol_whitelist": "file"})


@contextmanager
def errors_of(path: Path, kind: type[SwinIRError], hint: str = "") -> Generator[None]:
    """Turn an error of FFmpeg about a file into one of ``kind``; ``hint`` says what to do."""
    av = import_av()
    verb = "read" if kind is ImageReadError else "written"
    try:
        yield
    except av.error.FFmpegError as error:
        reason = error.strerror or str(error)
        raise kind(f"film {shown_path(path)} cannot be {verb} ({reason}){hint}") from error
