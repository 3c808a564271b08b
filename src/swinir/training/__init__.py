"""How weights are made."""

from swinir.training.recipe import Recipe, read_recipe
from swinir.training.trainer import fit

__all__ = ["Recipe", "fit", "read_recipe"]
