"""Models on the Hugging Face Hub: found by ``hf:owner/name``, and put there with a card.

``huggingface_hub`` does the transport, and keeps what it fetched in its own cache, as its own settings say
(``HF_HOME``, ``HF_TOKEN``, ``HF_HUB_OFFLINE``, ``HF_ENDPOINT``).
"""

import json
import os
import re
import tempfile
from collections.abc import Generator, Iterable
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from swinir.errors import DownloadError, UnknownModelError, UploadError, WeightsError
from swinir.weights.checkpoint import CONFIG_KEY, Checkpoint, read_header, save_checkpoint
from swinir.weights.records import ModelFile

PREFIX = "hf:"
# What everybody calls the weights of a repository, what its own readers count downloads by, and its card.
WEIGHTS_FILE = "model.safetensors"
CONFIG_FILE = "config.json"
CARD_FILE = "README.md"
WEIGHT_SUFFIXES = (".safetensors", ".pth", ".pt", ".ckpt", ".bin")

_ENDPOINT_VARIABLE = "HF_ENDPOINT"
_NAME = re.compile(r"hf:(?P<repo>[^@:/\s]+/[^@:/\s]+)(@(?P<revision>[^@:\s]+))?(:(?P<file>[^:]+))?")
_REASON_CHARACTERS = 200
# What it answers to those that it does not know, or does not let do this.
_WHO = (401, 403)


@dataclass(frozen=True, kw_only=True)
class HubName:
    """What ``hf:owner/name[@revision][:file]`` means: a revision is a branch, a tag or a commit."""

    repo: str
    revision: str | None = None
    file: str | None = None

    def __str__(self) -> str:
        revision = "" if self.revision is None else f"@{self.revision}"
        return f"{PREFIX}{self.repo}{revision}" + ("" if self.file is None else f":{self.file}")


def parse_name(text: str) -> HubName:
    """Read the name of a model on the hub.

    Raises:
        UnknownModelError: it is no such name.
    """
    match = _NAME.fullmatch(text)
    if match is None:
        raise UnknownModelError(
            f"{text!r} names no model of the hub: write hf:owner/name, hf:owner/name@revision or"
            " hf:owner/name:file.pth"
        )
    return HubName(**match.groupdict())


def find_on_hub(text: str) -> ModelFile:
    """Fetch a model from the hub, or find it in the hub's cache.

    Its file is the one that is named, else ``model.safetensors``, else the only weights file there is.

    Raises:
        UnknownModelError: there is no such repository, revision or file, or several files could be meant.
        DownloadError: the hub cannot be reached, and its cache has no such model.
    """
    from huggingface_hub.errors import EntryNotFoundError, LocalEntryNotFoundError  # noqa: PLC0415  slow to import

    name = parse_name(text)
    with _hub_errors(name):
        try:
            path = _fetch(name, name.file or WEIGHTS_FILE)
        except LocalEntryNotFoundError:
            path = None if name.file else _find_in_cache(name)
            if path is None:
                raise
        except EntryNotFoundError:
            if name.file:
                raise
            path = _fetch(name, _only_weights(name, _list_files(name)))
    return ModelFile(name=text, path=path, revision=_commit(path))


def push_model(
    checkpoint: Checkpoint,
    source: Path,
    repo: str,
    *,
    card: str,
    is_private: bool = False,
    branch: str | None = None,
    message: str = "Upload a SwinIR",
    replaces_card: bool = False,
) -> str:
    """Put a model on the hub: weights with their configuration, ``config.json`` and a card, in one commit.

    Args:
        checkpoint: what ``source`` holds.
        source: the file; it is put there as it is if it is ours, else as float32 safetensors.
        repo: owner and name; made if there is none.
        card: the text of the card, with its metadata.
        is_private: whether a repository that is made is seen by its owner alone.
        branch: where to commit; by default the main one.
        message: of the commit.
        replaces_card: whether a card that is there already, and may have been written by hand, is replaced.

    Returns:
        The address of the commit.

    Raises:
        UploadError: the hub cannot be reached, or does not take it.
    """
    from huggingface_hub import CommitOperationAdd, HfApi  # noqa: PLC0415  slow to import

    name = HubName(repo=repo, revision=branch)
    api = HfApi(endpoint=_endpoint(), library_name="swinir")
    with tempfile.TemporaryDirectory() as folder, _hub_errors(name, UploadError):
        weights = _own_file(checkpoint, source, Path(folder))
        api.create_repo(repo, private=is_private, exist_ok=True)
        if branch is not None:
            api.create_branch(repo, branch=branch, exist_ok=True)
        files: dict[str, bytes | Path] = {WEIGHTS_FILE: weights, CONFIG_FILE: _config_json(checkpoint)}
        if replaces_card or not api.file_exists(repo, CARD_FILE, revision=branch):
            files[CARD_FILE] = card.encode()
        operations = [CommitOperationAdd(path, content) for path, content in files.items()]
        commit = api.create_commit(repo, operations, commit_message=message, revision=branch)
        return commit.commit_url


def _own_file(checkpoint: Checkpoint, source: Path, folder: Path) -> Path:
    """Return the file as it is if it is ours, else write it as ours."""
    try:
        read_header(source)
    except WeightsError:
        written = folder / WEIGHTS_FILE
        save_checkpoint(written, checkpoint.config, checkpoint.state_dict, metadata=checkpoint.metadata)
        return written
    return source


def _config_json(checkpoint: Checkpoint) -> bytes:
    content = {"library_name": "swinir", "architecture": "SwinIR", CONFIG_KEY: checkpoint.config.to_dict()}
    return (json.dumps(content, indent=2) + "\n").encode()


def _fetch(name: HubName, file: str) -> Path:
    from huggingface_hub import hf_hub_download  # noqa: PLC0415  slow to import

    return Path(
        hf_hub_download(name.repo, file, revision=name.revision, endpoint=_endpoint(), library_name="swinir")
    )


def _list_files(name: HubName) -> list[str]:
    from huggingface_hub import HfApi  # noqa: PLC0415  slow to import

    return HfApi(endpoint=_endpoint()).list_repo_files(name.repo, revision=name.revision)


def _find_in_cache(name: HubName) -> Path | None:
    """Find the only weights file that the hub's cache has of a revision."""
    from huggingface_hub import snapshot_download  # noqa: PLC0415  slow to import
    from huggingface_hub.errors import LocalEntryNotFoundError  # noqa: PLC0415

    try:
        folder = Path(snapshot_download(name.repo, revision=name.revision, local_files_only=True))
    except LocalEntryNotFoundError:
        return None
    files = [str(path.relative_to(folder)) for path in sorted(folder.rglob("*"))]
    return folder / _only_weights(name, files) if any(map(_is_weights, files)) else None


def _only_weights(name: HubName, files: Iterable[str]) -> str:
    weights = [file for file in files if _is_weights(file)]
    if not weights:
        raise UnknownModelError(f"{name} has no weights file ({', '.join(WEIGHT_SUFFIXES)})")
    if len(weights) > 1:
        choices = ", ".join(f"{name}:{file}" for file in weights)[:_REASON_CHARACTERS]
        raise UnknownModelError(f"{name} has {len(weights)} weights files, name one: {choices}")
    return weights[0]


def _is_weights(file: str) -> bool:
    return file.lower().endswith(WEIGHT_SUFFIXES)


def _commit(path: Path) -> str | None:
    """Read the commit off a path of the hub's cache: ``…/snapshots/COMMIT/FILE``."""
    parts = path.parts
    return parts[parts.index("snapshots") + 1] if "snapshots" in parts else None


def _endpoint() -> str | None:
    """Say which hub is meant now, not when its library was imported."""
    return os.environ.get(_ENDPOINT_VARIABLE) or None


@contextmanager
def _hub_errors(name: HubName, failure: type[WeightsError] = DownloadError) -> Generator[None]:
    """Say in one sentence what the hub's library raises."""
    import httpx2  # noqa: PLC0415  slow to import
    from huggingface_hub import errors  # noqa: PLC0415

    try:
        yield
    except errors.GatedRepoError as error:
        raise failure(
            f"{name} is given to those alone who ask its owner: ask at the hub, then log in (`hf auth login`)"
        ) from error
    except errors.RepositoryNotFoundError as error:
        raise UnknownModelError(
            f"{name}: the hub has no such repository, or shows it to others alone: look at its name, or log in"
            " (`hf auth login`)"
        ) from error
    except errors.RevisionNotFoundError as error:
        raise UnknownModelError(f"{name}: the repository has no such revision") from error
    except errors.LocalEntryNotFoundError as error:
        raise failure(
            f"{name} is not in the hub's cache, and the hub cannot be reached: connect, or fetch it elsewhere and"
            " give the file's path"
        ) from error
    except errors.EntryNotFoundError as error:
        raise UnknownModelError(f"{name}: the repository has no such file") from error
    except errors.HFValidationError as error:
        raise UnknownModelError(f"{name} is no name of the hub: {_line(error)}") from error
    except errors.HfHubHTTPError as error:
        hint = (
            "log in (`hf auth login`) or set HF_TOKEN"
            if error.response.status_code in _WHO
            else "try again later"
        )
        raise failure(f"{name}: the hub refuses ({_line(error)}): {hint}") from error
    except errors.LocalTokenNotFoundError as error:
        raise failure(
            f"{name}: the hub wants to know who you are: log in (`hf auth login`) or set HF_TOKEN"
        ) from error
    # The last is what uploading raises, whatever went wrong.
    except (httpx2.HTTPError, errors.OfflineModeIsEnabled, OSError, RuntimeError) as error:
        raise failure(
            f"{name}: the hub does not answer as it should ({_line(error)}): try again later"
        ) from error


def _line(error: Exception) -> str:
    return " ".join(str(error).split())[:_REASON_CHARACTERS]
