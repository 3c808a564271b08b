"""The network as it restores computes what the model does."""

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from swinir.engine.inference import InferenceNetwork
from swinir.model import ResidualConv, SwinIR, SwinIRConfig, Upsampler
from swinir.model.heads import HEADS
from swinir.ops import REFERENCE, Backend, LayerGeometry, LayerParameters, PlainPacker

TINY = SwinIRConfig(
    scale=1,
    in_channels=3,
    embed_dim=8,
    depths=(3, 2),
    num_heads=(2, 4),
    window_size=4,
    upsampler=Upsampler.NONE,
)


def model_of(**changes: Any) -> SwinIR:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return SwinIR(replace(TINY, **changes)).double().eval()


def picture(model: SwinIR) -> Tensor:
    generator = torch.Generator().manual_seed(1)
    return torch.rand(2, model.config.in_channels, 9, 7, generator=generator, dtype=torch.float64)


class WritingOver(PlainPacker):
    """Writes over whatever it is allowed to, so that what is needed again would be wrong."""

    def layer(self, parameters: LayerParameters, geometry: LayerGeometry) -> Any:
        plain = super().layer(parameters, geometry)

        def layer(x: Tensor, *, overwrite: bool = False) -> Tensor:
            return x.copy_(plain(x)) if overwrite else plain(x)

        return layer

    def convolution(self, parameters: Any) -> Any:
        plain = super().convolution(parameters)

        def convolution(x: Tensor, residual: Tensor | None = None, *, overwrite: bool = False) -> Tensor:
            computed = plain(x, residual)
            return residual.copy_(computed) if residual is not None and overwrite else computed

        return convolution


@pytest.mark.parametrize("packs", [False, True])
@pytest.mark.parametrize(
    "changes",
    [
        *({"upsampler": kind, "scale": head.scales[-1]} for kind, head in HEADS.items()),
        {"residual_conv": ResidualConv.THREE},
        {"upsampler": Upsampler.NEAREST_CONV, "unshuffle": 4, "scale": 1, "qkv_bias": False},
        {"patch_norm": False},
        {"position_embedding_px": 4},
        {"image_range": 255.0},
        {"in_channels": 1},
    ],
    ids=str,
)
def test_it_gives_what_the_model_does(changes: dict[str, Any], packs: bool) -> None:
    model = model_of(**changes)
    given = picture(model)
    layer = REFERENCE.transformer_layer
    backend = Backend(
        name="tested",
        reason="a test",
        transformer_layer=layer,
        packer=WritingOver(layer) if packs else None,
    )
    expected = model(given)
    found = InferenceNetwork(model, backend)(given.clone())
    assert not found.requires_grad
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-12)


def test_a_caller_can_follow_the_layers() -> None:
    calls: list[int] = []
    done: list[int] = []

    def counted(
        x: Tensor, parameters: LayerParameters, geometry: LayerGeometry, scales: Tensor | None = None
    ) -> Tensor:
        calls.append(len(done))
        return REFERENCE.transformer_layer(x, parameters, geometry, scales)

    model = model_of()
    network = InferenceNetwork(model, Backend(name="counted", reason="a test", transformer_layer=counted))
    network(picture(model), after_layer=lambda: done.append(len(calls)))
    assert network.num_layers == 5
    assert (calls, done) == ([0, 1, 2, 3, 4], [1, 2, 3, 4, 5])
