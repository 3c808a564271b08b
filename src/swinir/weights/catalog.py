"""Every model that has a name: what it is, and where its file is."""

import difflib
import json
import os
from collections.abc import Mapping
from dataclasses import replace
from importlib import resources
from pathlib import Path

from swinir.errors import CheckpointError, DownloadError, UnknownModelError
from swinir.model import SwinIRConfig
from swinir.model.heads import Purpose
from swinir.weights import hub
from swinir.weights.checkpoint import Checkpoint, read_header
from swinir.weights.download import cached_file
from swinir.weights.records import Figures, Model, ModelFile, Origin, Task
from swinir.weights.released import released_models

# What the licence, the task and the measured figures of a bundled model are called in its file's metadata; figures
# are JSON: {"Set5": [psnr_db, ssim], ...}. A task that is not told is read off the network.
LICENCE_KEY = "licence"
TASK_KEY = "task"
FIGURES_KEY = "figures"
BUNDLED_LICENCE = "Apache-2.0"

_WEIGHT_SUFFIXES = (".safetensors", ".pth", ".pt", ".ckpt")
_MOST_SUGGESTIONS = 3


def bundled_models() -> dict[str, Model]:
    """List the models inside the package, by name; what they are is read from their files."""
    return {file.stem: _bundled_model(file) for file in _bundled_files()}


def all_models() -> dict[str, Model]:
    """List every model that has a name: bundled, then published."""
    return {**bundled_models(), **released_models()}


def find_model(name: str) -> Model:
    """Look a model up by name.

    Raises:
        UnknownModelError: there is none; the message names the nearest.
    """
    if _exists(file := _bundled_file(name)):
        return _bundled_model(file)
    if name in released_models():
        return released_models()[name]
    raise UnknownModelError(f"there is no model named {name!r}{_nearest(name)}: see `swinir models list`")


def describe_file(file: ModelFile, checkpoint: Checkpoint) -> Model:
    """Make the record of any weights file: the catalog's if it is known there, else from what the file says."""
    models = all_models()
    if (known := models.get(file.name)) is not None and _file_of(known) == file.path:
        return known
    if (release := find_release(file.sha256)) is not None:
        return release
    return _own_record(file, checkpoint.config, checkpoint.metadata)


def find_release(sha256: str) -> Model | None:
    """Find the released model whose file has this hash; None where no known one has."""
    return next((model for model in released_models().values() if model.sha256 == sha256), None)


def is_available(model: Model) -> bool:
    """Tell whether a model can be used now, without a download."""
    try:
        return _file_of(model).is_file()
    except DownloadError:  # there is no place where it could be
        return False


def resolve(name_or_path: str | os.PathLike[str]) -> ModelFile:
    """Find the weights file that a user means.

    A path as it is (of a folder, its ``model.safetensors``), a name in the package or among downloads, or a model on
    the Hugging Face Hub: ``hf:owner/name[@revision][:file]``, which is fetched unless it is in the hub's cache.

    Raises:
        UnknownModelError: neither a file nor a name, or a published model that has not been downloaded.
        DownloadError: the hub cannot be reached.
    """
    if isinstance(name_or_path, ModelFile):
        return name_or_path
    if isinstance(name_or_path, str) and name_or_path.startswith(hub.PREFIX):
        return hub.find_on_hub(name_or_path)
    path = Path(name_or_path)
    looks_like_path = (
        not isinstance(name_or_path, str) or len(path.parts) != 1 or path.suffix.lower() in _WEIGHT_SUFFIXES
    )
    if looks_like_path or not _has_name(str(name_or_path)):
        if _exists(inside := path / hub.WEIGHTS_FILE):
            return ModelFile(name=path.name, path=inside)
        if _exists(path):
            return ModelFile(name=path.stem, path=path)
        if looks_like_path:
            raise UnknownModelError(f"there is no weights file {path}{_nearest(path.stem)}")
    model = find_model(str(name_or_path))
    file = _file_of(model)
    if not file.is_file():
        raise UnknownModelError(
            f"{model.name} is published but not downloaded yet: run `swinir models download {model.name}`"
        )
    return ModelFile(name=model.name, path=file, licence=model.licence)


def _has_name(text: str) -> bool:
    return _exists(_bundled_file(text)) or text in released_models()


def _exists(path: Path) -> bool:
    try:
        return path.exists()
    except OSError:  # a name too long for the file system
        return False


def _bundled_folder() -> Path:
    # The package is always installed as plain files, for its compiled parts' sake.
    return Path(str(resources.files("swinir.weights"))) / "bundled"


def _bundled_files() -> list[Path]:
    return sorted(_bundled_folder().glob("*.safetensors"))


def _bundled_file(name: str) -> Path:
    return _bundled_folder() / f"{name}.safetensors"


def _file_of(model: Model) -> Path:
    return _bundled_file(model.name) if model.origin is Origin.BUNDLED else cached_file(model)


def _bundled_model(path: Path) -> Model:
    config, metadata = read_header(path)
    file = ModelFile(name=path.stem, path=path, licence=BUNDLED_LICENCE)
    return replace(_own_record(file, config, metadata), origin=Origin.BUNDLED)


def _own_record(file: ModelFile, config: SwinIRConfig, metadata: Mapping[str, str]) -> Model:
    return Model(
        name=file.name,
        task=_stated_task(metadata) or _task(config),
        scale=config.scale,
        variant=None,
        origin=Origin.OTHER,
        file=file.path.name,
        size_bytes=file.path.stat().st_size,
        licence=metadata.get(LICENCE_KEY, file.licence),
        figures=_figures(file.path, metadata),
    )


def _stated_task(metadata: Mapping[str, str]) -> Task | None:
    return next((task for task in Task if task.value == metadata.get(TASK_KEY)), None)


def _task(config: SwinIRConfig) -> Task:
    match config.head.purpose:
        case Purpose.CLASSICAL | Purpose.LIGHTWEIGHT:
            return Task.SUPER_RESOLUTION
        case Purpose.REAL_WORLD:
            return Task.REAL_SUPER_RESOLUTION
        case Purpose.SAME_SIZE:
            return Task.JPEG if config.image_range > 1 else Task.DENOISING


def _figures(file: Path, metadata: Mapping[str, str]) -> dict[str, Figures]:
    try:
        figures = json.loads(metadata.get(FIGURES_KEY, "{}"))
        return {name: Figures(*values) for name, values in figures.items()}
    except (ValueError, TypeError, AttributeError) as error:
        raise CheckpointError(
            f"{file} has unreadable figures ({error}): convert or fetch it again"
        ) from error


def _nearest(name: str) -> str:
    known = [*(file.stem for file in _bundled_files()), *released_models()]
    names = difflib.get_close_matches(name, known, n=_MOST_SUGGESTIONS, cutoff=0.4)
    return f", but {' or '.join(names)}" if names else ""
