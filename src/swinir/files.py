"""Files that appear whole or not at all: written beside their place, then renamed."""

import hashlib
import os
import platform
import secrets
from collections.abc import Generator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from swinir.errors import SwinIRError


@contextmanager
def renamed_when_whole(path: Path, folder: Path | None = None) -> Generator[Path]:
    """Offer a new, empty file beside ``path`` that takes its name when the block ends; a failure leaves nothing.

    Args:
        path: of the file.
        folder: where the new file is, on the same disk; None for beside it.

    Raises:
        OSError: no such folder, no permission, a folder of that name.
    """
    # Of its own name nothing is kept: with an addition it might be too long.
    name = f".{_machine()}-{os.getpid()}-{secrets.token_hex(8)}.part"
    beside = (folder or path.parent) / name
    # Created here so that it has the permissions of any new file, and is nobody else's.
    os.close(os.open(beside, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666))
    try:
        yield beside
        # Else a machine that loses its power may keep the name and lose the bytes.
        with beside.open("rb+") as file:
            os.fsync(file.fileno())
        beside.replace(path)
    except BaseException:
        with suppress(OSError):
            beside.unlink()
        raise


@contextmanager
def written_beside(path: Path, failure: type[SwinIRError]) -> Generator[BinaryIO]:
    """Offer such a file open for writing; its bytes are on the disk before it takes the name.

    Raises:
        SwinIRError: of the class ``failure``: no such folder, no permission, full disk.
    """
    try:
        with renamed_when_whole(path) as beside, beside.open("wb") as file:
            yield file
    except OSError as error:
        raise failure(f"{path} cannot be written ({error.strerror}): choose another place") from error


def remove_leftovers(folder: Path) -> None:
    """Remove what processes of this machine had begun to write into a folder when they were killed."""
    import psutil  # noqa: PLC0415  takes time that a single file need not

    with suppress(OSError):
        for path in folder.glob(f".{_machine()}-*.part"):
            pid = path.name.split("-")[1]
            if pid.isdecimal() and not psutil.pid_exists(int(pid)):
                path.unlink(missing_ok=True)


def _machine() -> str:
    """Tell machines apart that share a disk."""
    return hashlib.blake2b(platform.node().encode(), digest_size=4).hexdigest()
