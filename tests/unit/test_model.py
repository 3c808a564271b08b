"""The network as a module: sizes, names, configuration, copies; what it computes is proven in parity."""

import copy
import json
import pickle
import subprocess
import sys
from dataclasses import replace

import pytest
import torch

from swinir.model import VARIANTS, ResidualConv, SwinIR, SwinIRConfig, Upsampler
from swinir.ops import REFERENCE, Backend

TINY = SwinIRConfig(
    scale=2,
    in_channels=3,
    embed_dim=8,
    depths=(2,),
    num_heads=(2,),
    window_size=4,
    upsampler=Upsampler.PIXEL_SHUFFLE_DIRECT,
)
RECONSTRUCTIONS = {
    "shuffle-x2": (Upsampler.PIXEL_SHUFFLE, 2),
    "shuffle-x3": (Upsampler.PIXEL_SHUFFLE, 3),
    "shuffle-x4": (Upsampler.PIXEL_SHUFFLE, 4),
    "shuffle-x8": (Upsampler.PIXEL_SHUFFLE, 8),
    "direct-x2": (Upsampler.PIXEL_SHUFFLE_DIRECT, 2),
    "direct-x3": (Upsampler.PIXEL_SHUFFLE_DIRECT, 3),
    "direct-x4": (Upsampler.PIXEL_SHUFFLE_DIRECT, 4),
    "direct-x8": (Upsampler.PIXEL_SHUFFLE_DIRECT, 8),
    "nearest-x2": (Upsampler.NEAREST_CONV, 2),
    "nearest-x4": (Upsampler.NEAREST_CONV, 4),
    "none": (Upsampler.NONE, 1),
}


def tiny(seed: int = 0, **changes) -> SwinIR:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return SwinIR(replace(TINY, **changes)).eval()


def picture(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("name", RECONSTRUCTIONS)
@pytest.mark.parametrize("in_channels", [1, 3])
def test_any_size_is_enlarged_by_the_scale(name, in_channels):
    upsampler, scale = RECONSTRUCTIONS[name]
    network = tiny(upsampler=upsampler, scale=scale, in_channels=in_channels)
    for height, width in [(1, 1), (3, 5), (4, 4), (5, 3), (1, 7), (13, 17), (3, 70)]:
        with torch.no_grad():
            restored = network(picture(1, in_channels, height, width))
        assert restored.shape == (1, in_channels, scale * height, scale * width)
        assert restored.isfinite().all()


@pytest.mark.parametrize("name", ["shuffle-x3", "direct-x2", "nearest-x4", "none"])
def test_a_batch_is_its_images_one_by_one(name):
    upsampler, scale = RECONSTRUCTIONS[name]
    network = tiny(upsampler=upsampler, scale=scale)
    images = picture(3, 3, 9, 6)
    with torch.no_grad():
        together = network(images)
        apart = torch.cat([network(image[None]) for image in images])
    assert (together - apart).abs().max() < 1e-6


def test_an_odd_size_is_restored_as_its_reflection_and_cut():
    network = tiny()
    image = picture(1, 3, 6, 11)
    reflected = torch.nn.functional.pad(image, (0, 1, 0, 2), mode="reflect")
    with torch.no_grad():
        assert torch.equal(network(image), network(reflected)[..., :12, :22])


def test_a_network_at_1_does_not_enlarge_and_adds_to_its_input():
    network = tiny(upsampler=Upsampler.NONE, scale=1, image_range=255.0)
    torch.nn.init.zeros_(network.get_submodule("conv_last").weight)
    torch.nn.init.zeros_(network.get_submodule("conv_last").bias)
    image = picture(1, 3, 5, 7)
    with torch.no_grad():
        assert (network(image) - image).abs().max() < 1e-6


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"scale": 9}, "scale 9"),
        ({"scale": 0}, "scale 0"),
        ({"scale": 2.0}, "2.0 is no whole number"),
        ({"scale": True}, "True is no whole number"),
        ({"scale": 3, "upsampler": "nearest+conv"}, "scale 3 .*NEAREST_CONV"),
        ({"upsampler": ""}, "scale 2 .*NONE"),
        ({"upsampler": "pixelshufle"}, "pixelshufle"),
        ({"residual_conv": "2conv"}, "2conv"),
        ({"in_channels": 2}, "in_channels is 2"),
        ({"embed_dim": 9}, "embed_dim 9"),
        ({"embed_dim": 0}, "embed_dim=0"),
        ({"embed_dim": 8.5}, "8.5"),
        ({"depths": ()}, r"depths \(\)"),
        ({"depths": (2, 2)}, r"depths \(2, 2\)"),
        ({"depths": (0,)}, r"depths=\(0,\)"),
        ({"num_heads": (3,)}, r"\(3,\) heads"),
        ({"num_heads": (-2,)}, r"num_heads=\(-2,\)"),
        ({"window_size": 1}, "window_size is 1"),
        ({"mlp_ratio": 0.01}, "mlp_ratio 0.01"),
        ({"mlp_ratio": float("nan")}, "mlp_ratio nan"),
        ({"mlp_ratio": 1e308}, "mlp_ratio 1e.308"),
        ({"image_range": 0.0}, "image_range is 0.0"),
        ({"image_range": float("inf")}, "image_range is inf"),
        ({"embed_dim": 2, "residual_conv": "3conv"}, "embed_dim 2"),
    ],
)
def test_an_impossible_configuration_is_refused_with_its_value(changes, complaint):
    with pytest.raises(ValueError, match=complaint):
        replace(TINY, **changes)


@pytest.mark.parametrize("name", sorted(VARIANTS))
def test_a_configuration_survives_json(name):
    text = json.dumps(VARIANTS[name].to_dict())
    assert SwinIRConfig.from_dict(json.loads(text)) == VARIANTS[name]


def test_a_configuration_is_a_key():
    assert len({TINY, replace(TINY), replace(TINY, scale=4)}) == 2


def test_unknown_and_missing_keys_are_refused_by_name():
    with pytest.raises(ValueError, match=r"\['embed_dims'\].*'embed_dim'"):
        SwinIRConfig.from_dict({**TINY.to_dict(), "embed_dims": 8})
    values = TINY.to_dict()
    del values["depths"]
    with pytest.raises(ValueError, match="depths"):
        SwinIRConfig.from_dict(values)


def test_a_configuration_cannot_be_changed():
    with pytest.raises(AttributeError):
        TINY.scale = 4  # pyright: ignore[reportAttributeAccessIssue]


# One transformer layer as published checkpoints name it.
LAYER = [
    "norm1.weight",
    "norm1.bias",
    "attn.relative_position_bias_table",
    "attn.qkv.weight",
    "attn.qkv.bias",
    "attn.proj.weight",
    "attn.proj.bias",
    "norm2.weight",
    "norm2.bias",
    "mlp.fc1.weight",
    "mlp.fc1.bias",
    "mlp.fc2.weight",
    "mlp.fc2.bias",
]


def both(*modules: str) -> list[str]:
    return [f"{module}.{kind}" for module in modules for kind in ("weight", "bias")]


def test_parameters_have_the_published_names():
    expected = [
        *both("conv_first", "patch_embed.norm"),
        *(f"layers.0.residual_group.blocks.{block}.{name}" for block in (0, 1) for name in LAYER),
        *both("layers.0.conv", "norm", "conv_after_body", "upsample.0"),
    ]
    assert sorted(tiny().state_dict()) == sorted(expected)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("shuffle-x2", both("conv_before_upsample.0", "upsample.0", "conv_last")),
        ("shuffle-x4", both("conv_before_upsample.0", "upsample.0", "upsample.2", "conv_last")),
        ("shuffle-x8", both("conv_before_upsample.0", *(f"upsample.{n}" for n in (0, 2, 4)), "conv_last")),
        ("direct-x3", both("upsample.0")),
        ("nearest-x2", both("conv_before_upsample.0", "conv_up1", "conv_hr", "conv_last")),
        ("nearest-x4", both("conv_before_upsample.0", "conv_up1", "conv_up2", "conv_hr", "conv_last")),
        ("none", both("conv_last")),
    ],
)
def test_reconstructions_have_the_published_names(name, expected):
    upsampler, scale = RECONSTRUCTIONS[name]
    names = list(tiny(upsampler=upsampler, scale=scale).state_dict())
    assert names[names.index("conv_after_body.bias") + 1 :] == expected


def test_the_bottleneck_has_the_published_names():
    names = tiny(residual_conv=ResidualConv.THREE).state_dict()
    closing = [name for name in names if name.startswith(("layers.0.conv.", "conv_after_body."))]
    assert closing == both(
        *(f"{place}.{layer}" for place in ("layers.0.conv", "conv_after_body") for layer in (0, 2, 4))
    )


def test_nothing_but_parameters_is_stored():
    network = tiny()
    assert set(network.state_dict()) == {name for name, _ in network.named_parameters()}


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda network: pickle.loads(pickle.dumps(network))])
def test_a_copy_computes_the_same_and_shares_nothing(copied):
    network = tiny()
    image = picture(1, 3, 6, 6)
    twin = copied(network)
    with torch.no_grad():
        expected = network(image)
        assert torch.equal(twin(image), expected)
        for parameter in network.parameters():
            parameter.zero_()
        assert torch.equal(twin(image), expected)


def test_every_layer_runs_on_the_chosen_backend():
    calls = []

    def counted(x, parameters, geometry, drop_path_scales=None):
        calls.append(geometry.shift_size)
        return REFERENCE.transformer_layer(x, parameters, geometry, drop_path_scales)

    network = tiny(depths=(3, 2), num_heads=(2, 4))
    image = picture(1, 3, 8, 8)
    with torch.no_grad():
        expected = network(image)
        network.use_backend(Backend(name="counted", reason="a test", transformer_layer=counted))
        assert torch.equal(network(image), expected)
    assert calls == [0, 2, 0, 0, 2]
    assert network.backend.name == "counted"


def test_every_parameter_learns():
    network = tiny(depths=(2, 2), num_heads=(2, 2))
    network(picture(2, 3, 8, 12)).square().mean().backward()
    still = [name for name, parameter in network.named_parameters() if not parameter.grad.abs().sum() > 0]
    assert still == []


def test_an_inference_first_does_not_hinder_training_after():
    network = tiny(window_size=5)
    with torch.inference_mode():
        network(picture(1, 3, 10, 10))
    network(picture(1, 3, 10, 10)).sum().backward()


def test_importing_the_package_imports_neither_torch_nor_pyvips():
    code = (
        "import sys, swinir; assert {'torch', 'pyvips', 'numpy'}.isdisjoint(sys.modules), 'heavy'; "
        "assert set(swinir.__all__) <= set(dir(swinir)); swinir.SwinIRConfig; assert 'torch' in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


def test_importing_every_public_name_changes_nothing_global():
    code = """
import os, random
import numpy, torch
before = dict(os.environ), torch.get_num_threads(), torch.get_default_dtype(), torch.random.get_rng_state()
state = numpy.random.get_state()[1].tolist(), random.getstate()
grad = torch.is_grad_enabled()
import swinir
for name in swinir.__all__:
    getattr(swinir, name)
import swinir.training, swinir.evaluation, swinir.data
after = dict(os.environ), torch.get_num_threads(), torch.get_default_dtype(), torch.random.get_rng_state()
assert before[:3] == after[:3] and torch.equal(before[3], after[3])
assert state == (numpy.random.get_state()[1].tolist(), random.getstate()) and grad == torch.is_grad_enabled()
"""
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


def test_a_public_name_that_does_not_exist_is_an_attribute_error():
    import swinir

    with pytest.raises(AttributeError, match="'Restore'"):
        _ = swinir.Restore


def test_every_error_of_the_outside_world_is_a_swinir_error():
    from swinir import errors

    tree = [kind for kind in vars(errors).values() if isinstance(kind, type)]
    assert len(tree) >= 13
    assert all(issubclass(kind, errors.SwinIRError) for kind in tree)
    # A wrong argument is one of Python's own kinds as well, for callers that catch those.
    of_python = {kind for kind in tree if issubclass(kind, ValueError | TypeError)}
    assert of_python == {errors.UsageError}
