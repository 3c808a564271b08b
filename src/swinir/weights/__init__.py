"""Where parameters come from."""

from swinir.weights.architecture import infer_config
from swinir.weights.checkpoint import Checkpoint, load_checkpoint, read_checkpoint, save_checkpoint
from swinir.weights.official import write_official

__all__ = [
    "Checkpoint",
    "infer_config",
    "load_checkpoint",
    "read_checkpoint",
    "save_checkpoint",
    "write_official",
]
