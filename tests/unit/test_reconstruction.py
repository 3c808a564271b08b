"""Reconstructing band by band."""

from dataclasses import replace

import pytest
import torch

from swinir.model import SwinIR, SwinIRConfig, Upsampler
from swinir.model.reconstruction import BAND_ROWS, reconstruct, reconstruct_in_bands

CONFIG = SwinIRConfig(
    scale=4,
    in_channels=3,
    embed_dim=12,
    depths=(1,),
    num_heads=(2,),
    window_size=4,
    upsampler=Upsampler.PIXEL_SHUFFLE,
)


@pytest.mark.parametrize("rows", [1, BAND_ROWS, BAND_ROWS + 1, 2 * BAND_ROWS + 7])
@pytest.mark.parametrize(
    ("upsampler", "scale"),
    [
        (Upsampler.PIXEL_SHUFFLE, 2),
        (Upsampler.PIXEL_SHUFFLE, 3),
        (Upsampler.PIXEL_SHUFFLE, 8),
        (Upsampler.NEAREST_CONV, 2),
        (Upsampler.NEAREST_CONV, 4),
    ],
)
def test_bands_join_to_the_whole(upsampler: Upsampler, scale: int, rows: int) -> None:
    torch.manual_seed(0)
    network = SwinIR(replace(CONFIG, upsampler=upsampler, scale=scale)).double()
    features = torch.randn(2, rows, 5, CONFIG.embed_dim, dtype=torch.float64)
    with torch.no_grad():
        steps = network.config.head_steps
        whole = reconstruct(network.get_submodule, steps, features)
        banded = reconstruct_in_bands(network.get_submodule, steps, features, scale)
    assert banded.shape == whole.shape == (2, 3, scale * rows, scale * 5)
    assert (banded - whole).abs().max() < 1e-12
