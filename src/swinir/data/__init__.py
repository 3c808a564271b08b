"""Training and test pairs."""

from swinir.data.loader import Batch, CropLoader
from swinir.data.pairs import Pair, image_files, super_resolution_pairs

__all__ = ["Batch", "CropLoader", "Pair", "image_files", "super_resolution_pairs"]
