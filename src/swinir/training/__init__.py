"""How weights are made."""

from swinir.training.dry_run import DryRun, estimate_run
from swinir.training.recipe import Recipe
from swinir.training.recipe_toml import read_recipe
from swinir.training.trainer import fit

__all__ = ["DryRun", "Recipe", "estimate_run", "fit", "read_recipe"]
