"""What the original constructor can build opens, restores as spandrel does, and is written back."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from others import import_spandrel
from swinir import Restorer, SwinIR, SwinIRConfig
from swinir.cli.main import main
from swinir.errors import CheckpointError, UsageError
from swinir.model.build import build
from swinir.model.flops import count_parameters, multiply_adds
from swinir.ops import REFERENCE, select_training_backend
from swinir.weights import infer_config, load_checkpoint, save_checkpoint

pytestmark = pytest.mark.filterwarnings("ignore:torch.meshgrid")
TINY: Mapping[str, Any] = {
    "img_size": 16,
    "window_size": 4,
    "embed_dim": 8,
    "depths": [2, 1],
    "num_heads": [2, 2],
    "mlp_ratio": 2.0,
}
SIDE_PX = 16
# Behind an unshuffle of 8.
LARGE_PX = 96


@dataclass(frozen=True, kw_only=True)
class Case:
    """A variant: how the original is built, and what is found in its file."""

    arguments: Mapping[str, Any]
    found: Mapping[str, Any]
    num_feat: int | None = None
    side_px: int = SIDE_PX
    rename: Mapping[str, str] = field(default_factory=dict[str, str])


def unshuffled(factor: int, upscale: int) -> dict[str, Any]:
    return {"upsampler": "nearest+conv", "upscale": upscale, "start_unshuffle": factor}


# As DiffBIR and DifFace name it: the convolution behind the unshuffle, in a sequence.
IN_SEQUENCE = {"conv_first.": "conv_first.1."}
CASES: Mapping[str, Case] = {
    "position embedding": Case(
        arguments={"ape": True, "upsampler": "pixelshuffle", "upscale": 2},
        found={"position_embedding_px": 16, "scale": 2},
    ),
    "no norm of patches": Case(
        arguments={"patch_norm": False, "upsampler": "", "upscale": 1}, found={"patch_norm": False}
    ),
    "position embedding without norm": Case(
        arguments={"patch_norm": False, "ape": True, "upsampler": "nearest+conv", "upscale": 2},
        found={"patch_norm": False, "position_embedding_px": 16},
    ),
    "no bias of queries, keys and values": Case(
        arguments={"qkv_bias": False, "upsampler": "pixelshuffledirect", "upscale": 2},
        found={"qkv_bias": False},
    ),
    "narrow shuffle": Case(
        arguments={"upsampler": "pixelshuffle", "upscale": 4}, num_feat=24, found={"num_feat": 24}
    ),
    "wide repetition": Case(
        arguments={"upsampler": "nearest+conv", "upscale": 2}, num_feat=72, found={"num_feat": 72}
    ),
    "four channels": Case(
        arguments={"in_chans": 4, "upsampler": "pixelshuffle", "upscale": 2}, found={"in_channels": 4}
    ),
    "four channels, same size": Case(
        arguments={"in_chans": 4, "upsampler": "", "upscale": 1}, found={"in_channels": 4, "scale": 1}
    ),
    "x1 shuffle": Case(arguments={"upsampler": "pixelshuffle", "upscale": 1}, found={"scale": 1}),
    "x1 direct": Case(arguments={"upsampler": "pixelshuffledirect", "upscale": 1}, found={"scale": 1}),
    # The original builds ×2 and cuts the first quarter out; its file is that of ×2.
    "x1 repetition": Case(arguments={"upsampler": "nearest+conv", "upscale": 1}, found={"scale": 2}),
    "x6 direct": Case(arguments={"upsampler": "pixelshuffledirect", "upscale": 6}, found={"scale": 6}),
    "x8 direct": Case(arguments={"upsampler": "pixelshuffledirect", "upscale": 8}, found={"scale": 8}),
    "x8 repetition": Case(arguments={"upsampler": "nearest+conv", "upscale": 8}, found={"scale": 8}),
    "DiffBIR's first stage": Case(
        arguments=unshuffled(8, 8),
        found={"scale": 1, "unshuffle": 8, "in_channels": 3},
        side_px=LARGE_PX,
        rename=IN_SEQUENCE,
    ),
    "unshuffled, not in a sequence": Case(
        arguments=unshuffled(2, 8), found={"scale": 4, "unshuffle": 2}, side_px=2 * SIDE_PX
    ),
    "unshuffled grey": Case(
        arguments=unshuffled(2, 2) | {"in_chans": 1},
        found={"scale": 1, "unshuffle": 2, "in_channels": 1},
        side_px=2 * SIDE_PX,
    ),
    "unshuffled direct": Case(
        arguments=unshuffled(4, 4) | {"upsampler": "pixelshuffledirect"},
        found={"scale": 1, "unshuffle": 4, "in_channels": 3},
        side_px=4 * SIDE_PX,
        rename=IN_SEQUENCE,
    ),
}


@pytest.fixture(scope="module")
def original() -> Callable[..., nn.Module]:
    spandrel = import_spandrel()
    module: ModuleType = spandrel.architectures.SwinIR
    return module.SwinIR


def draw(network: nn.Module) -> nn.Module:
    """Give a network parameters with which a picture comes out of it."""
    generator = torch.Generator().manual_seed(0)
    for name, parameter in network.named_parameters():
        noise = torch.randn(parameter.shape, generator=generator)
        parameter.data = 0.05 * noise + (1.0 if "norm" in name and "weight" in name else 0.0)
    return network.eval().requires_grad_(False)


def build_original(original: Callable[..., nn.Module], case: Case, **changes: Any) -> nn.Module:
    network: Any = original(**TINY | case.arguments | changes)
    if case.num_feat is not None:
        # A constant of the original, which people change in its source.
        of_64 = [name for name, layer in network.named_modules() if isinstance(layer, nn.Conv2d)]
        for name in of_64:
            layer = network.get_submodule(name)
            sizes = [
                case.num_feat * size // 64 if size % 64 == 0 else size for size in layer.weight.shape[:2]
            ]
            network.set_submodule(name, nn.Conv2d(sizes[1], sizes[0], layer.kernel_size, padding=1))
    return draw(network)


def save(network: nn.Module, case: Case, path: Path) -> None:
    stored = network.state_dict()
    for old, new in case.rename.items():
        stored = {name.replace(old, new): tensor for name, tensor in stored.items()}
    torch.save({"params_ema": stored}, path)


def picture(case: Case, height: int, width: int) -> Tensor:
    generator = torch.Generator().manual_seed(1)
    return torch.rand(1, case.arguments.get("in_chans", 3), height, width, generator=generator)


@pytest.mark.parametrize("name", CASES)
def test_a_variant_opens_and_gives_the_pixels_of_the_original(
    original: Callable[..., nn.Module], name: str, tmp_path: Path
) -> None:
    case, path = CASES[name], tmp_path / "theirs.pth"
    theirs = build_original(original, case)
    save(theirs, case, path)
    config, state_dict = load_checkpoint(path)
    assert {key: getattr(config, key) for key in case.found} == case.found
    lq = picture(case, case.side_px, case.side_px)
    expected = theirs(lq)
    height, width = (
        min(config.scale * side, found) for side, found in zip(lq.shape[2:], expected.shape[2:], strict=True)
    )
    expected = expected[..., :height, :width]
    assert float(expected.std()) > 0.05
    found = build(config, state_dict)(lq)[..., :height, :width]
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-4)
    restorer = Restorer.from_pretrained(path, device="cpu", precision="fp32", image_range=1.0)
    torch.testing.assert_close(
        restorer.restore_batch(lq)[..., :height, :width], expected.clamp(0, 1), rtol=0, atol=1e-4
    )


@pytest.mark.parametrize("name", CASES)
def test_a_variant_is_converted_to_ours_and_back(
    original: Callable[..., nn.Module], name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    case = CASES[name]
    theirs, ours, back = (tmp_path / file for file in ("theirs.pth", "ours.safetensors", "back.pth"))
    network = build_original(original, case)
    save(network, case, theirs)
    # What a random network makes of a picture tells no image range.
    assert main(["models", "convert", str(theirs), str(ours), "--image-range", "1"]) == 0
    assert main(["models", "convert", str(ours), str(back), "--to", "official"]) == 0
    config, state_dict = load_checkpoint(ours)
    assert config == load_checkpoint(back)[0] == infer_config(state_dict)
    assert sum(tensor.numel() for tensor in state_dict.values()) == count_parameters(config)
    stored = torch.load(back, weights_only=True)["params"]
    published = {name.replace("conv_first.1.", "conv_first."): value for name, value in stored.items()}
    expected = network.state_dict()
    assert published.keys() == expected.keys()
    assert all(torch.equal(published[key], expected[key]) for key in expected)


def tiny(**changes: Any) -> SwinIRConfig:
    values = {
        "scale": 2,
        "in_channels": 3,
        "embed_dim": 8,
        "depths": (2,),
        "num_heads": (2,),
        "window_size": 4,
    }
    return SwinIRConfig(**values | {"upsampler": "nearest+conv"} | changes)


def network_of(config: SwinIRConfig) -> SwinIR:
    network = draw(SwinIR(config))
    assert isinstance(network, SwinIR)
    return network


def test_a_position_embedding_is_resized_by_bicubic_interpolation(
    original: Callable[..., nn.Module], tmp_path: Path
) -> None:
    case, path = CASES["position embedding"], tmp_path / "theirs.pth"
    theirs = build_original(original, case)
    save(theirs, case, path)
    config, state_dict = load_checkpoint(path)
    # What the original cannot do, its twin for the other size can, with the embedding resized for it.
    learnt = state_dict["absolute_pos_embed"].reshape(1, 16, 16, 8).permute(0, 3, 1, 2)
    resized = functional.interpolate(learnt, (24, 24), mode="bicubic", align_corners=False)
    twin = build_original(original, case, img_size=24)
    own = {name: value for name, value in theirs.state_dict().items() if not name.endswith("attn_mask")}
    own["absolute_pos_embed"] = resized.permute(0, 2, 3, 1).reshape(1, 24 * 24, 8)
    twin.load_state_dict(own, strict=False)
    lq = picture(case, 24, 24)
    torch.testing.assert_close(build(config, state_dict)(lq), twin(lq), rtol=0, atol=1e-5)
    without = {**state_dict, "absolute_pos_embed": torch.zeros(1, 256, 8)}
    assert (build(config, without)(lq) - twin(lq)).abs().max() > 1e-3


def test_an_unshuffled_network_restores_images_that_are_no_whole_windows(
    original: Callable[..., nn.Module], tmp_path: Path
) -> None:
    case, path = CASES["DiffBIR's first stage"], tmp_path / "theirs.pth"
    theirs = build_original(original, case)
    save(theirs, case, path)
    restorer = Restorer.from_pretrained(path, device="cpu", precision="fp32", image_range=1.0)
    assert (restorer.config.window_px, restorer.scale) == (32, 1)
    lq = picture(case, 32, 64)[..., :19, :50]
    # As people pad for it: to multiples of 32 pixels, by reflection.
    expected = theirs(functional.pad(lq, (0, 14, 0, 13), mode="reflect"))[..., :19, :50]
    torch.testing.assert_close(restorer.restore_batch(lq), expected.clamp(0, 1), rtol=0, atol=1e-4)
    image = np.zeros((200, 333, 3), np.uint8)
    assert restorer(image).shape == image.shape


@pytest.mark.parametrize("tile", [None, 128])
def test_an_unshuffled_network_is_cut_into_whole_windows(tile: int | None) -> None:
    config = tiny(scale=1, unshuffle=8)
    restorer = Restorer(
        config,
        network_of(config).state_dict(),
        device="cpu",
        precision="fp32",
        backend="reference",
        tile=tile,
    )
    plan = restorer.budget.choose(300, 200).plan
    assert plan.num_tiles == (1 if tile is None else 12)
    assert all(axis.tile_px % 32 == 0 for axis in (plan.rows, plan.columns))
    assert restorer(np.zeros((300, 200, 3), np.uint8)).shape == (300, 200, 3)
    with pytest.raises(UsageError, match="takes at least 128"):
        Restorer(config, restorer.forward_pass.copy_parameters(), device="cpu", tile=64)


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_a_network_of_four_channels_restores_colours_as_opaque(channels: int) -> None:
    config = tiny(in_channels=4)
    restorer = Restorer(config, network_of(config).state_dict(), device="cpu", precision="fp32", tile=None)
    image = np.random.default_rng(0).random((16, 12, channels), np.float32)
    image[..., -1] = image[..., -1].clip(0.2, 1)
    restored = restorer(image)
    assert restored.shape == (32, 24, channels)
    colours = image[..., :1].repeat(3, axis=2) if channels < 3 else image[..., :3]
    opaque = np.concatenate([colours, np.ones((16, 12, 1), np.float32)], axis=2)
    given = torch.from_numpy(np.pad(opaque, ((2, 2), (2, 2), (0, 0)), mode="reflect")).permute(2, 0, 1)[None]
    expected = network_of(config)(given)[0, :3, 4:-4, 4:-4].permute(1, 2, 0).numpy()
    if channels < 3:
        expected = expected @ np.array([[0.299], [0.587], [0.114]], np.float32)
    np.testing.assert_allclose(restored[..., : expected.shape[2]], expected.clip(0, 1), atol=1e-5)


@pytest.mark.parametrize(
    "changes",
    [
        {"qkv_bias": False},
        {"patch_norm": False, "position_embedding_px": 8},
        {"position_embedding_px": 4},
        {"scale": 1, "unshuffle": 2, "num_feat": 12},
        {"in_channels": 4},
    ],
    ids=str,
)
def test_every_parameter_of_a_variant_learns(changes: Mapping[str, Any]) -> None:
    config = tiny(**changes)
    network = network_of(config).requires_grad_(True)
    backend = select_training_backend(torch.device("cpu"), torch.float32, network.layer_shapes())
    side_px = 8 * config.unshuffle
    lq = torch.rand(1, config.in_channels, side_px, side_px, generator=torch.Generator().manual_seed(0))
    gradients: list[list[Tensor]] = []
    for each in (REFERENCE, backend):
        network.zero_grad()
        network.use_backend(each)
        network(lq).square().mean().backward()
        gradients.append([parameter.grad for parameter in network.parameters() if parameter.grad is not None])
    assert len(gradients[0]) == len(list(network.parameters()))
    assert all(gradient.any() for gradient in gradients[0])
    for expected, found in zip(*gradients, strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        (
            {"num_feat": 32, "upsampler": "pixelshuffledirect"},
            "num_feat is 32, but upsampler PIXEL_SHUFFLE_DIR",
        ),
        ({"scale": 1, "unshuffle": 2, "upsampler": ""}, "scale 1 · unshuffle 2 does not exist"),
        ({"scale": 3, "unshuffle": 2}, "scale 3 · unshuffle 2 does not exist"),
        ({"position_embedding_px": 0}, "above 0"),
        ({"unshuffle": 0}, "above 0"),
        ({"in_channels": 2}, "in_channels is 2"),
        ({"patch_norm": 1}, "true or false"),
    ],
)
def test_an_impossible_variant_is_refused(changes: Mapping[str, Any], complaint: str) -> None:
    with pytest.raises(UsageError, match=complaint):
        tiny(**changes)


@pytest.mark.parametrize(
    ("name", "shape", "complaint"),
    [
        ("absolute_pos_embed", (1, 15, 8), "15 positions, which are no square"),
        ("absolute_pos_embed", (1, 16, 9), r"absolute_pos_embed is \[1, 16, 9\]"),
        ("absolute_pos_embed", (16, 8), "expected"),
        ("conv_first.1.weight", (8, 13, 3, 3), "13 channels, which are no blocks"),
        ("conv_first.1.weight", (8, 27, 3, 3), "blocks of 3 pixels, but enlarges by 2"),
        ("conv_first.1.weight", (8, 0, 3, 3), "no blocks"),
    ],
)
def test_an_impossible_file_is_refused(
    tmp_path: Path, name: str, shape: tuple[int, ...], complaint: str
) -> None:
    stored = network_of(tiny(position_embedding_px=4)).state_dict()
    if name.startswith("conv_first"):
        del stored["conv_first.weight"]
    torch.save({**stored, name: torch.zeros(shape)}, tmp_path / "a.pth")
    with pytest.raises(CheckpointError, match=complaint):
        load_checkpoint(tmp_path / "a.pth")


def test_a_wrong_claim_of_a_variant_is_refused(tmp_path: Path) -> None:
    config = tiny(qkv_bias=False)
    path = tmp_path / "a.safetensors"
    save_checkpoint(path, config, network_of(config).state_dict())
    content = path.read_bytes().replace(b'\\"qkv_bias\\": false', b'\\"qkv_bias\\": true ')
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match="config says qkv_bias True, its tensors False"):
        load_checkpoint(path)


def test_an_unshuffle_makes_the_body_cheaper_by_its_square() -> None:
    plain, unshuffled_config = tiny(scale=8), tiny(scale=1, unshuffle=8)
    # Of the same body, 192 channels go into the first convolution instead of 3.
    difference = 9 * (192 - 3) * 8
    per_feature = multiply_adds(plain, 4, 4) // 16
    assert multiply_adds(unshuffled_config, 64, 96) == (per_feature + difference) * 8 * 12


def test_files_of_earlier_versions_are_read() -> None:
    config = tiny()
    stated = {key: value for key, value in config.to_dict().items() if key in OLD_KEYS}
    assert SwinIRConfig.from_dict(stated) == config


# What files of earlier versions state.
OLD_KEYS = {
    "scale", "in_channels", "embed_dim", "depths", "num_heads", "window_size", "mlp_ratio", "upsampler",
    "residual_conv", "image_range",
}  # fmt: skip
