"""fp16 gives pictures whatever the stream grows to: no NaN, nothing black, the same picture as fp32."""

from dataclasses import replace

import pytest
import torch

from swinir.engine.inference import InferenceNetwork
from swinir.model import VARIANTS, SwinIR
from swinir.ops import REFERENCE, Backend, reference

LARGEST_HALF = 65504


def reference_backend() -> Backend:
    return REFERENCE


def packed_backend() -> Backend:
    pytest.importorskip("triton", reason="the GPU kernels need Triton, which is not installed")
    from swinir.ops import triton_inference

    packer = triton_inference.Packer(torch.float16)
    return Backend(
        name="packed", reason="tested", transformer_layer=reference.transformer_layer, packer=packer
    )


def grown(variant: str) -> SwinIR:
    """Build a short network whose stream is hundreds of thousands."""
    config = replace(VARIANTS[variant], depths=(1, 2), num_heads=VARIANTS[variant].num_heads[:2])
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = SwinIR(config).eval()
    with torch.no_grad():
        network.patch_embed.norm.weight.mul_(2e5)
        for name, parameter in network.named_parameters():
            if "norm2.weight" in name:
                parameter.mul_(1e3)
    return network


@pytest.mark.parametrize("variant", ["lightweight-x2", "lightweight-jpeg"])
@pytest.mark.parametrize("backend", [reference_backend, packed_backend])
def test_a_stream_beyond_fp16_gives_the_picture_of_fp32(variant, backend):
    network = grown(variant)
    size = network.config.window_size
    image = torch.rand(1, 3, 2 * size, size, generator=torch.Generator().manual_seed(0))
    streams = []
    hook = network.layers[1].conv.register_forward_pre_hook(lambda _, inputs: streams.append(inputs[0]))
    with torch.no_grad():
        expected = network(image)
        hook.remove()
        with torch.autocast("cpu", torch.float16):
            computed = InferenceNetwork(network, backend())(image)
    assert streams[0].abs().max() > 4 * LARGEST_HALF
    assert computed.isfinite().all()
    assert expected.std() > 0.05
    assert 20 * torch.log10(1 / (computed - expected).pow(2).mean().sqrt()) > 55


def test_without_care_the_same_stream_is_beyond_fp16():
    network = grown("lightweight-x2")
    image = torch.rand(1, 3, 16, 8, generator=torch.Generator().manual_seed(0))
    streams = []
    network.layers[1].conv.register_forward_pre_hook(lambda _, inputs: streams.append(inputs[0]))
    with torch.no_grad():
        network(image)
    assert not streams[0].half().isfinite().all()
