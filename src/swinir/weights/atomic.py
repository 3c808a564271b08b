"""Files that appear whole or not at all."""

import os
import secrets
from collections.abc import Generator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from swinir.errors import SwinIRError

# Leaves room for what is added to a name within the 255 bytes that file systems allow.
_KEPT_OF_NAME = 50


@contextmanager
def written_beside(path: Path, failure: type[SwinIRError]) -> Generator[BinaryIO, None, None]:
    """Yield a new file beside ``path`` that takes its place when the block ends; a failure leaves nothing.

    Raises:
        SwinIRError: of the class ``failure``: no such folder, no permission, full disk.
    """
    beside = path.with_name(f".{path.name[:_KEPT_OF_NAME]}.{secrets.token_hex(4)}.part")
    try:
        with beside.open("xb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        beside.replace(path)
    except BaseException as error:
        with suppress(OSError):
            beside.unlink()
        if isinstance(error, OSError):
            raise failure(f"{path} cannot be written ({error.strerror}): choose another place") from error
        raise
