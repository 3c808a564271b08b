"""Small pictures as files in memory."""

import numpy as np

from swinir import imaging

HOST = "http://127.0.0.1"


def picture(width: int = 24, height: int = 16, *, seed: int = 0, suffix: str = "png") -> bytes:
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return imaging.encode(imaging.Image(pixels=pixels), suffix)[0]
