"""Published files, fetched once into a folder: whole and verified under their name, or not at all.

httpx does the transport (redirects, proxies, certificates). What has arrived stays in a file beside, ``….part``,
and the next attempt goes on from there.
"""

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from filelock import FileLock

from swinir.errors import CheckpointError, DownloadError, UsageError
from swinir.model import VARIANTS
from swinir.weights.checkpoint import read_checkpoint
from swinir.weights.records import Model, hash_file

if TYPE_CHECKING:
    import httpx2

# Called with the bytes received and the bytes to come in all, where the server says.
Progress = Callable[[int, int | None], None]

CACHE_VARIABLE = "SWINIR_CACHE"
MIRROR_VARIABLE = "SWINIR_MIRROR"
# The hub's variable, so that one setting keeps everything offline.
OFFLINE_VARIABLE = "HF_HUB_OFFLINE"
TIMEOUT_S = 30.0
# Where a file's size is not known: well above the largest published one, 142 MB.
MAX_BYTES = 1_000_000_000

_REASON_CHARACTERS = 200
_PARTIAL = 206
_RANGE_NOT_SATISFIABLE = 416


def cache_folder() -> Path:
    """Say where downloads are kept: ``$SWINIR_CACHE``, else ``swinir`` in the user's cache folder.

    Raises:
        DownloadError: the user has no home.
    """
    own, base = os.environ.get(CACHE_VARIABLE, ""), os.environ.get("XDG_CACHE_HOME", "")
    try:
        if own:
            return Path(own).expanduser()
        # The XDG specification has relative paths ignored.
        return (Path(base) if Path(base).is_absolute() else Path("~/.cache").expanduser()) / "swinir"
    except RuntimeError as error:
        raise DownloadError(
            f"this user has no home folder to keep downloads in: set {CACHE_VARIABLE} to a folder"
        ) from error


def cached_file(model: Model) -> Path:
    """Say where a published model is, or would be, once downloaded."""
    return cache_folder() / model.file


def is_offline() -> bool:
    """Tell whether the user wants nothing fetched."""
    return os.environ.get(OFFLINE_VARIABLE, "").upper() in {"1", "ON", "YES", "TRUE"}


def ignore_progress(received_bytes: int, total_bytes: int | None) -> None:
    """Report to nobody."""


def download_model(
    model: Model,
    *,
    folder: Path | None = None,
    mirror: str | None = None,
    progress: Progress = ignore_progress,
    timeout_s: float = TIMEOUT_S,
) -> Path:
    """Fetch a published model, unless it is here and whole, and return its file.

    Args:
        model: which one.
        folder: where to keep it; by default the cache, where models are found by name.
        mirror: another place to fetch it from (see ``mirror_url``); by default ``$SWINIR_MIRROR``, if that is set.
        progress: called as bytes arrive.
        timeout_s: how long the server may be silent, not how long the file may take.

    Raises:
        DownloadError: no connection, not the expected file, or no place to keep it.
        UsageError: the model has no address: it is bundled.
    """
    if model.url is None:
        raise UsageError(f"{model.name} has no address: it comes with the package")
    source = Source(
        name=model.name,
        url=mirror_url(model.url, mirror or os.environ.get(MIRROR_VARIABLE, "")),
        path=cached_file(model) if folder is None else folder / model.file,
        size_bytes=model.size_bytes,
        sha256=model.sha256,
    )
    fetch(source, lambda file: _check(model, file), progress=progress, timeout_s=timeout_s)
    return source.path


def mirror_url(url: str, mirror: str) -> str:
    """Say where a mirror has a file.

    Args:
        url: where the authors have it.
        mirror: empty for none; a folder's address, under which the file has its own name; or any address with
            ``{url}`` or ``{file}`` in it.
    """
    file = url.rpartition("/")[2]
    if not mirror:
        return url
    if "{url}" in mirror or "{file}" in mirror:
        return mirror.replace("{url}", url).replace("{file}", file)
    return f"{mirror.rstrip('/')}/{file}"


@dataclass(frozen=True, kw_only=True)
class Source:
    """What is fetched, from where and to where; its size and hash where they are known."""

    name: str
    url: str
    path: Path
    size_bytes: int | None = None
    sha256: str | None = None

    @property
    def part(self) -> Path:
        """Where it is until it is whole."""
        return self.path.with_name(f"{self.path.name}.part")

    def failure(self, reason: str) -> str:
        """Say why it did not come, and what to do."""
        # What a server says can be of any length and have any line breaks.
        line = " ".join(reason.split())[:_REASON_CHARACTERS]
        known = f" (sha256 {self.sha256})" if self.sha256 else ""
        return (
            f"{self.name} was not downloaded, {line}: try again later, which goes on from what has arrived, or save"
            f" {self.url}{known} as {self.path} yourself"
        )


class _UnfitError(Exception):
    """What arrived is not what was asked for, and is of no use."""


def fetch(
    source: Source,
    check: Callable[[Path], str],
    *,
    progress: Progress = ignore_progress,
    timeout_s: float = TIMEOUT_S,
) -> None:
    """Fetch a file, unless it is here and whole.

    Args:
        source: what, from where and to where.
        check: says what is wrong with a file, or nothing.
        progress: called as bytes arrive.
        timeout_s: how long the server may be silent.

    Raises:
        DownloadError: no connection, not the expected file, or no place to keep it.
    """
    if source.path.is_file() and not check(source.path):
        return
    if is_offline():
        raise DownloadError(source.failure(f"{OFFLINE_VARIABLE} is set"))
    try:
        source.path.parent.mkdir(parents=True, exist_ok=True)
        _fetch_once(source, check, progress, timeout_s)
    except OSError as error:
        raise DownloadError(
            f"{source.path} cannot be written ({error.strerror or error}): choose another folder, or set"
            f" {CACHE_VARIABLE} to one"
        ) from error


def _fetch_once(source: Source, check: Callable[[Path], str], progress: Progress, timeout_s: float) -> None:
    """Fetch a file unless another process does so: then wait, and find it."""
    lock = Path(f"{source.path}.lock")
    with FileLock(lock):
        try:
            if not (source.path.is_file() and not check(source.path)):
                _fetch_locked(source, check, progress, timeout_s)
        finally:
            # Whoever waits finds the file; while a part is left, all must wait at the same lock.
            if not source.part.exists():
                lock.unlink(missing_ok=True)


def _fetch_locked(source: Source, check: Callable[[Path], str], progress: Progress, timeout_s: float) -> None:
    while True:
        was_begun = source.part.exists()
        try:
            _receive_all(source, progress, timeout_s)
            if problem := check(source.part):
                raise _UnfitError(problem)
            break
        except _UnfitError as error:
            source.part.unlink(missing_ok=True)
            # What an earlier attempt left may have been of another file.
            if not was_begun:
                raise DownloadError(source.failure(str(error))) from error
    with source.part.open("rb") as file:
        os.fsync(file.fileno())
    source.part.replace(source.path)


def _receive_all(source: Source, progress: Progress, timeout_s: float) -> None:
    """Receive until the file is whole, for as long as each connection brings something."""
    import httpx2  # noqa: PLC0415  slow to import, and seldom needed

    headers = {"User-Agent": "swinir", "Accept-Encoding": "identity"}
    with httpx2.Client(headers=headers, timeout=timeout_s, follow_redirects=True) as client:
        is_whole = False
        while not is_whole:
            begun_bytes = _size(source.part)
            try:
                _receive(client, source, begun_bytes, progress)
                is_whole = True
            except httpx2.HTTPStatusError as error:
                response = error.response
                reason = f"the server answers {response.status_code} {response.reason_phrase}"
                if response.status_code == _RANGE_NOT_SATISFIABLE and begun_bytes:
                    raise _UnfitError(reason) from error
                raise DownloadError(source.failure(reason)) from error
            except (httpx2.HTTPError, httpx2.InvalidURL) as error:
                if isinstance(error, httpx2.TransportError) and _size(source.part) > begun_bytes:
                    continue
                detail = f"({error or type(error).__name__})"
                reason = f"{begun_bytes} bytes arrived, then the connection broke {detail}"
                raise DownloadError(
                    source.failure(reason if begun_bytes else f"no connection {detail}")
                ) from error


def _receive(client: "httpx2.Client", source: Source, begun_bytes: int, progress: Progress) -> None:
    """Receive what is missing of a file.

    Raises:
        _UnfitError: less or more than it should be.
        httpx2.HTTPError: the connection broke, or the server refuses.
    """
    headers = {"Range": f"bytes={begun_bytes}-"} if begun_bytes else {}
    with client.stream("GET", source.url, headers=headers) as response:
        response.raise_for_status()
        # A server that knows no ranges sends the whole again.
        goes_on = response.status_code == _PARTIAL
        received_bytes = begun_bytes if goes_on else 0
        declared = response.headers.get("Content-Length", "")
        total_bytes = received_bytes + int(declared) if declared.isdecimal() else source.size_bytes
        limit_bytes = source.size_bytes or MAX_BYTES
        with source.part.open("ab" if goes_on else "wb") as file:
            for chunk in response.iter_bytes():
                received_bytes += len(chunk)
                if received_bytes > limit_bytes:
                    raise _UnfitError(f"the server sends more than {limit_bytes} bytes")
                file.write(chunk)
                progress(received_bytes, total_bytes)
    if total_bytes is not None and received_bytes != total_bytes:
        raise _UnfitError(f"{received_bytes} of {total_bytes} bytes arrived")


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def _check(model: Model, path: Path) -> str:
    """Compare a file with what is known: its size and hash, or at least that it holds this network."""
    size_bytes = path.stat().st_size
    if model.size_bytes not in (None, size_bytes):
        return f"{size_bytes} bytes arrived instead of {model.size_bytes}"
    if model.sha256 is not None:
        found = hash_file(path)
        return "" if found == model.sha256 else f"what arrived has sha256 {found} instead of {model.sha256}"
    try:
        config = read_checkpoint(path).config
    except CheckpointError:
        return "what arrived is no weights file"
    if model.variant is not None and config != VARIANTS[model.variant]:
        return f"what arrived is another network than {model.variant}"
    return ""
