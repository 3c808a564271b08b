"""Published files, fetched once into a folder of the user's: whole and verified, or not at all."""

import hashlib
import http.client
import os
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from swinir.errors import CheckpointError, DownloadError
from swinir.files import written_beside
from swinir.model import VARIANTS
from swinir.weights.checkpoint import read_checkpoint
from swinir.weights.records import Model

# Called with the bytes received and the bytes to come in all, where the server says.
Progress = Callable[[int, int | None], None]

CACHE_VARIABLE = "SWINIR_CACHE"
TIMEOUT_S = 30.0
# Where a file's size is not known: well above the largest published one, 142 MB.
MAX_BYTES = 1_000_000_000

_CHUNK_BYTES = 1 << 18
_REASON_CHARACTERS = 200


def cache_folder() -> Path:
    """Say where downloads are kept: ``$SWINIR_CACHE``, else ``swinir`` in the user's cache folder."""
    if own := os.environ.get(CACHE_VARIABLE):
        return Path(own).expanduser()
    base = os.environ.get("XDG_CACHE_HOME", "")
    # The XDG specification has relative paths ignored.
    return (Path(base) if Path(base).is_absolute() else Path("~/.cache").expanduser()) / "swinir"


def cached_file(model: Model) -> Path:
    """Say where a published model is, or would be, once downloaded."""
    return cache_folder() / model.file


def ignore_progress(received_bytes: int, total_bytes: int | None) -> None:
    """Report to nobody."""


def download_model(
    model: Model, *, progress: Progress = ignore_progress, timeout_s: float = TIMEOUT_S
) -> Path:
    """Fetch a published model, unless it is here and whole, and return its file.

    ``timeout_s`` is how long the server may be silent, not how long the file may take.

    Raises:
        DownloadError: no connection, not the expected file, or no place to keep it; nothing is left behind.
        ValueError: the model has no address: it is bundled.
    """
    if model.url is None:
        raise ValueError(f"{model.name} has no address: it comes with the package")
    path = cached_file(model)
    if path.is_file() and _is_whole(model, path):
        return path
    source = Source(name=model.name, url=model.url, path=path, size_bytes=model.size_bytes)
    fetch(source, lambda file: _verify(model, file), progress=progress, timeout_s=timeout_s)
    return path


@dataclass(frozen=True, kw_only=True)
class Source:
    """What is fetched, from where and to where; its size where that is known."""

    name: str
    url: str
    path: Path
    size_bytes: int | None = None

    def failure(self, reason: str) -> str:
        """Say why it did not come, and what to do."""
        # What a server says can be of any length and have any line breaks.
        line = " ".join(reason.split())[:_REASON_CHARACTERS]
        return f"{self.name} was not downloaded, {line}: try again later, or save {self.url} as {self.path} yourself"


def fetch(
    source: Source,
    verify: Callable[[Path], None],
    *,
    progress: Progress = ignore_progress,
    timeout_s: float = TIMEOUT_S,
) -> None:
    """Fetch a file that ``verify`` does not object to.

    Raises:
        DownloadError: no connection, not the expected file, or no place to keep it; nothing is left behind.
    """
    try:
        source.path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise DownloadError(
            f"{source.path.parent} cannot be created ({error.strerror}): set {CACHE_VARIABLE} to a folder that can"
        ) from error
    with written_beside(source.path, DownloadError) as file:
        for chunk, total_bytes in _receive(source, timeout_s):
            file.write(chunk)
            progress(file.tell(), total_bytes)
        file.flush()
        verify(Path(file.name))


def _receive(source: Source, timeout_s: float) -> Iterator[tuple[bytes, int | None]]:
    """Yield what the server sends, with the size of all where known; less or more than that is an error."""
    request = urllib.request.Request(source.url, headers={"User-Agent": "swinir"})
    received_bytes = 0
    try:
        with urllib.request.urlopen(request, timeout=timeout_s) as response:
            declared = response.headers.get("Content-Length", "")
            total_bytes = int(declared) if declared.isascii() and declared.isdecimal() else source.size_bytes
            limit_bytes = source.size_bytes or MAX_BYTES
            while chunk := response.read(_CHUNK_BYTES):
                received_bytes += len(chunk)
                if received_bytes > limit_bytes:
                    raise DownloadError(source.failure(f"the server sends more than {limit_bytes} bytes"))
                yield chunk, total_bytes
    except urllib.error.HTTPError as error:
        reason = f"the server answers {error.code} {error.reason}"
        error.close()
        raise DownloadError(source.failure(reason)) from error
    except (OSError, http.client.HTTPException, ValueError) as error:
        reason = f"no connection ({getattr(error, 'reason', error)})"
        raise DownloadError(source.failure(reason)) from error
    if total_bytes is not None and received_bytes != total_bytes:
        raise DownloadError(source.failure(f"{received_bytes} of {total_bytes} bytes arrived"))


def _is_whole(model: Model, path: Path) -> bool:
    try:
        _verify(model, path)
    except DownloadError:
        return False
    return True


def _verify(model: Model, path: Path) -> None:
    """Compare a file with what is known: its size and hash, or at least that it holds this network.

    Raises:
        DownloadError: it is another file.
    """
    size_bytes = path.stat().st_size
    if model.size_bytes not in (None, size_bytes):
        raise DownloadError(_failure(model, f"{size_bytes} bytes arrived instead of {model.size_bytes}"))
    if model.sha256 is not None:
        with path.open("rb") as file:
            found = hashlib.file_digest(file, "sha256").hexdigest()
        if found != model.sha256:
            raise DownloadError(_failure(model, f"what arrived has sha256 {found} instead of {model.sha256}"))
        return
    try:
        config = read_checkpoint(path).config
    except CheckpointError as error:
        raise DownloadError(_failure(model, "what arrived is no weights file")) from error
    if model.variant is not None and config != VARIANTS[model.variant]:
        raise DownloadError(_failure(model, f"what arrived is another network than {model.variant}"))


def _failure(model: Model, reason: str) -> str:
    source = Source(name=model.name, url=model.url or "", path=cached_file(model))
    return source.failure(reason)
