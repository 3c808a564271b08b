"""Where parameters come from."""

from swinir.weights.architecture import infer_config
from swinir.weights.checkpoint import Checkpoint, load_checkpoint, read_checkpoint, save_checkpoint

__all__ = ["Checkpoint", "infer_config", "load_checkpoint", "read_checkpoint", "save_checkpoint"]
