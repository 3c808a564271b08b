"""The reconstruction that a run starts from is the best linear one."""

import numpy as np
import pytest
import torch
from torch.nn import functional

from swinir import imaging, metrics
from swinir.data import Batch, CropLoader, PixelStore
from swinir.model import SwinIR, SwinIRConfig, Upsampler
from swinir.ops.windows import pad_to_windows
from swinir.training.initialization import bypass_body, fit_reconstruction


def untrained(scale: int = 2, **changes) -> SwinIR:
    config = SwinIRConfig(
        **{
            "scale": scale,
            "in_channels": 1,
            "embed_dim": 20,
            "depths": (2,),
            "num_heads": (2,),
            "window_size": 4,
            "upsampler": Upsampler.PIXEL_SHUFFLE_DIRECT,
            **changes,
        }
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return SwinIR(config).eval()


def linear_upscaler(image: torch.Tensor, scale: int) -> torch.Tensor:
    """Enlarge by fixed 3×3 filters, one for each place in the enlarged pixel."""
    generator = torch.Generator().manual_seed(5)
    filters = 0.1 * torch.randn(scale**2, 1, 3, 3, generator=generator)
    filters[:, :, 1, 1] += 0.5
    return functional.pixel_shuffle(functional.conv2d(image, filters, padding=1), scale)


@pytest.mark.parametrize("scale", [2, 3])
@pytest.mark.parametrize("size_px", [8, 10, 7])
def test_a_known_linear_upscaler_is_found(scale, size_px):
    network = untrained(scale)
    bypass_body(network)
    generator = torch.Generator().manual_seed(1)
    images = [torch.rand(8, 1, size_px, size_px, generator=generator) for _ in range(12)]
    # Beyond its edge the network sees a reflection, so that is where the upscaler must have looked.
    side_px = scale * size_px
    hqs = [linear_upscaler(pad_to_windows(lq, 4), scale)[..., :side_px, :side_px] for lq in images]
    fit_reconstruction(network, (Batch(lq=lq, hq=hq) for lq, hq in zip(images, hqs, strict=True)))
    unseen = torch.rand(1, 1, 16, 16, generator=generator)
    with torch.no_grad():
        restored = network(unseen)
    inside = slice(2 * scale, -2 * scale)
    error = (restored - linear_upscaler(unseen, scale))[..., inside, inside]
    assert error.abs().max() < 5e-3


def test_fitting_minds_the_image_range():
    network = untrained(image_range=255.0)
    bypass_body(network)
    lq = torch.rand(64, 1, 8, 8, generator=torch.Generator().manual_seed(1))
    fit_reconstruction(network, [Batch(lq=lq, hq=linear_upscaler(lq, 2))])
    with torch.no_grad():
        error = (network(lq) - linear_upscaler(lq, 2)).square().mean().sqrt()
    assert error < 0.01


def test_the_fit_beats_bicubic_on_pictures_it_has_not_seen():
    def picture(seed: int) -> np.ndarray:
        waves = np.random.default_rng(seed).uniform(0.2, 1.3, (12, 3))
        rows, columns = np.mgrid[:96, :96]
        total = sum(np.sin(a * rows + b * columns + 6 * c) for a, b, c in waves)
        return (127 + 25 * total[:, :, None]).clip(0, 255).astype(np.uint8)

    network = untrained()
    bypass_body(network)
    loader = CropLoader(
        PixelStore.of([picture(seed) for seed in range(6)]),
        scale=2,
        crop_px=16,
        batch_size=16,
        seed=0,
        device=torch.device("cpu"),
    )
    fit_reconstruction(network, (loader.batch(-1 - n) for n in range(20)))
    hq = picture(99)
    lq = imaging.resize_bicubic(hq, 1 / 2)
    with torch.no_grad():
        restored = network(torch.from_numpy(lq).permute(2, 0, 1)[None] / 255)[0]
    restored = (restored.permute(1, 2, 0).clamp(0, 1) * 255).round().to(torch.uint8).numpy()
    bicubic_db = metrics.psnr(imaging.resize_bicubic(lq, 2), hq, 4)
    assert metrics.psnr(restored, hq, 4) > bicubic_db + 1


def test_a_bypassed_body_adds_nothing_and_still_learns():
    network = untrained()
    bypass_body(network)
    shallow = torch.rand(1, 8, 8, 20)
    assert torch.equal(network.deep_features(shallow), shallow)
    network(torch.rand(1, 1, 8, 8)).sum().backward()
    assert network.conv_after_body.weight.grad.abs().max() > 0


def test_fitting_leaves_the_body_as_it_is_and_asks_for_no_gradient():
    network = untrained()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    lq = torch.rand(8, 1, 8, 8)
    fit_reconstruction(network, [Batch(lq=lq, hq=linear_upscaler(lq, 2))])
    changed = [name for name, value in network.state_dict().items() if not torch.equal(value, before[name])]
    assert changed == ["upsample.0.weight", "upsample.0.bias"]
    assert all(parameter.requires_grad and parameter.grad is None for parameter in network.parameters())


def test_only_a_linear_reconstruction_is_fitted():
    with pytest.raises(ValueError, match="PIXEL_SHUFFLE is no linear"):
        fit_reconstruction(untrained(upsampler=Upsampler.PIXEL_SHUFFLE), [])
