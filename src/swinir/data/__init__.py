"""Training and test pairs."""

from swinir.data.crop_degradations import Bicubic, Degradation, GaussianNoise, Jpeg, RealWorld, StoredPairs
from swinir.data.layouts import image_files, original_files
from swinir.data.loader import Batch, CropLoader, Sampling, Shard
from swinir.data.pairs import (
    Pair,
    degraded_pairs,
    denoising_pairs,
    describe_degradation,
    jpeg_pairs,
    real_world_pairs,
    super_resolution_pairs,
)
from swinir.data.store import PixelStore
from swinir.data.stored import match_set

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
    "StoredPairs",
    "degraded_pairs",
    "denoising_pairs",
    "describe_degradation",
    "image_files",
    "jpeg_pairs",
    "match_set",
    "original_files",
    "real_world_pairs",
    "super_resolution_pairs",
]
