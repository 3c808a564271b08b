"""Images are read in another process: one that crashes, hangs or fills its memory harms nothing but its own job."""

import json
import signal
import socket
import subprocess
import sys
import threading
from contextlib import suppress
from dataclasses import asdict, dataclass
from math import ceil
from multiprocessing.connection import Connection
from pathlib import Path
from typing import cast

from swinir import imaging
from swinir.errors import ImageError, ImageReadError, ImageTooLargeError, MissingPackageError

STOP_S = 5.0
# A process imports libraries before it reads; that is not the time of its first image.
START_S = 120.0


@dataclass(frozen=True, kw_only=True)
class DecodeLimits:
    """Bounds of reading one image: pixels, seconds, and the address space of the process."""

    max_pixels: int
    seconds: float
    address_space_bytes: int


class Decoder:
    """A process that reads image files, started when first needed and again after it failed.

    Any number of threads may call it; one file is read at a time.
    """

    def __init__(self, limits: DecodeLimits) -> None:
        self._limits = limits
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._connection: Connection | None = None
        self.num_restarts = 0

    def read(self, path: Path, *, salvage: bool = False) -> imaging.Image:
        """Read an image file.

        Args:
            path: of the file.
            salvage: of a damaged file, read what can be decoded.

        Raises:
            ImageError: it cannot be read, is beyond the limits, or brought the process down.
        """
        with self._lock:
            try:
                connection = self._started()
                connection.send((path, salvage))
                if not connection.poll(self._limits.seconds):
                    raise ImageReadError(f"the image took longer than {self._limits.seconds:g} s to read")
                result = connection.recv()
            except (OSError, EOFError) as error:
                self._stop()
                self.num_restarts += 1
                raise ImageReadError("the image cannot be read: its decoder failed") from error
            except ImageReadError:
                self._stop()
                self.num_restarts += 1
                raise
        if isinstance(result, ImageError):
            raise result
        return cast("imaging.Image", result)

    @property
    def process_id(self) -> int | None:
        """Return the process that reads, if there is one."""
        return None if self._process is None else self._process.pid

    def kill(self) -> None:
        """Kill the process and wait for nothing."""
        if (process := self._process) is not None:
            process.kill()

    def close(self) -> None:
        """End the process."""
        with self._lock:
            self._stop()

    def _started(self) -> Connection:
        if self._connection is not None and self._process is not None and self._process.poll() is None:
            return self._connection
        self._stop()
        own, other = socket.socketpair()
        with other:
            # A process of its own module: it imports neither PyTorch nor the program that this one runs.
            command = [sys.executable, "-m", __name__, str(other.fileno()), json.dumps(asdict(self._limits))]
            self._process = subprocess.Popen(
                command, pass_fds=(other.fileno(),), stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL
            )
        self._connection = Connection(own.detach())
        if not self._connection.poll(START_S):
            raise ImageReadError(f"the image cannot be read: its decoder did not start within {START_S:g} s")
        self._connection.recv()
        return self._connection

    def _stop(self) -> None:
        if self._connection is not None:
            self._connection.close()
        if self._process is not None:
            self._process.kill()
            self._process.wait(STOP_S)
        self._connection = self._process = None


def serve_files(connection: Connection, limits: DecodeLimits) -> None:
    """Read the files whose paths come in, until the other side is gone."""
    _limit_memory(limits.address_space_bytes)
    bounds = imaging.Limits(max_pixels=limits.max_pixels)
    with suppress(EOFError, OSError, KeyboardInterrupt):
        connection.send(None)  # ready
        while True:
            path, salvage = cast("tuple[Path, bool]", connection.recv())
            _limit_time(limits.seconds)
            try:
                result: imaging.Image | ImageError = imaging.read(path, limits=bounds, salvage=salvage)
            except MissingPackageError as error:
                kind = str(error).replace(str(path), "the image").partition(", which takes")[0]
                result = ImageReadError(f"{kind}, which this service has no reader for")
            except ImageError as error:
                result = _for_client(error, path)
            except MemoryError:
                result = ImageReadError("the image takes more memory to read than it is given")
            connection.send(result)
            _limit_time(None)


def _for_client(error: ImageError, path: Path) -> ImageError:
    """Say what is wrong without what a client cannot use: the name of the file, and options of commands."""
    message = str(error).replace(str(path), "the image").replace("--salvage ", "salvage=true ")
    if isinstance(error, ImageTooLargeError):
        message = message.partition("; raise the limit")[0]
    return type(error)(message)


def _limit_time(seconds: float | None) -> None:
    """End this process after some time if whoever would end it is dead; None for no longer."""
    if sys.platform != "win32":
        signal.alarm(0 if seconds is None else ceil(seconds + STOP_S))


def _limit_memory(num_bytes: int) -> None:
    with suppress(ImportError, ValueError, OSError):
        import resource  # noqa: PLC0415  only POSIX systems have it

        resource.setrlimit(resource.RLIMIT_AS, (num_bytes, num_bytes))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


if __name__ == "__main__":
    serve_files(Connection(int(sys.argv[1])), DecodeLimits(**json.loads(sys.argv[2])))
