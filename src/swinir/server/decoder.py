"""Images are read in another process: one that crashes, hangs or fills its memory harms nothing but its own job."""

import json
import socket
import subprocess
import sys
import threading
from contextlib import suppress
from dataclasses import asdict, dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import cast

from swinir import imaging
from swinir.errors import ImageError, ImageReadError

STOP_S = 5.0


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

    def read(self, path: Path) -> imaging.Image:
        """Read an image file.

        Raises:
            ImageError: it cannot be read, is beyond the limits, or brought the process down.
        """
        with self._lock:
            connection = self._started()
            try:
                connection.send(path)
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
        while True:
            path: Path = connection.recv()
            try:
                result: imaging.Image | ImageError = imaging.read(path, limits=bounds)
            except ImageError as error:
                # The name of the file here is of no use to the client.
                result = type(error)(str(error).replace(str(path), "the image"))
            except MemoryError:
                result = ImageReadError("the image takes more memory to read than it is given")
            connection.send(result)


def _limit_memory(num_bytes: int) -> None:
    with suppress(ImportError, ValueError, OSError):
        import resource  # noqa: PLC0415  only POSIX systems have it

        resource.setrlimit(resource.RLIMIT_AS, (num_bytes, num_bytes))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


if __name__ == "__main__":
    serve_files(Connection(int(sys.argv[1])), DecodeLimits(**json.loads(sys.argv[2])))
