"""Where parameters come from: files of ours and of others, models in the package and published ones."""

from swinir.weights import catalog
from swinir.weights.architecture import infer_config
from swinir.weights.checkpoint import Checkpoint, load_checkpoint, read_checkpoint, save_checkpoint
from swinir.weights.download import download_model
from swinir.weights.image_range import open_checkpoint
from swinir.weights.layout import write_official
from swinir.weights.records import Figures, Model, ModelFile, Origin, Task

__all__ = [
    "Checkpoint",
    "Figures",
    "Model",
    "ModelFile",
    "Origin",
    "Task",
    "catalog",
    "download_model",
    "infer_config",
    "load_checkpoint",
    "open_checkpoint",
    "read_checkpoint",
    "save_checkpoint",
    "write_official",
]
