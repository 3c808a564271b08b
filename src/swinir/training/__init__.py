"""How weights are made."""

from swinir.training.plan import Plan, planned
from swinir.training.reading import read_recipe
from swinir.training.recipe import Recipe
from swinir.training.trainer import fit

__all__ = ["Plan", "Recipe", "fit", "planned", "read_recipe"]
