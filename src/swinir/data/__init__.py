"""Training and test pairs."""

from swinir.data.crop_degradations import Bicubic, Degradation, GaussianNoise, Jpeg, RealWorld
from swinir.data.loader import Batch, CropLoader, Sampling, Shard
from swinir.data.pairs import (
    Pair,
    denoising_pairs,
    image_files,
    jpeg_pairs,
    original_files,
    real_world_pairs,
    super_resolution_pairs,
)
from swinir.data.store import PixelStore

__all__ = [
    "Batch",
    "Bicubic",
    "CropLoader",
    "Degradation",
    "GaussianNoise",
    "Jpeg",
    "Pair",
    "PixelStore",
    "RealWorld",
    "Sampling",
    "Shard",
    "denoising_pairs",
    "image_files",
    "jpeg_pairs",
    "original_files",
    "real_world_pairs",
    "super_resolution_pairs",
]
