"""Training and test pairs."""

from swinir.data.loader import Batch, CropLoader
from swinir.data.pairs import (
    Pair,
    denoising_pairs,
    image_files,
    jpeg_pairs,
    original_files,
    super_resolution_pairs,
)

__all__ = [
    "Batch",
    "CropLoader",
    "Pair",
    "denoising_pairs",
    "image_files",
    "jpeg_pairs",
    "original_files",
    "super_resolution_pairs",
]
