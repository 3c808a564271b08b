"""Other programs open files of ours, and files of other networks are named here; spandrel stands for both."""

import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any, get_args

import pytest
import torch
from torch import Tensor, nn

from others import import_spandrel
from swinir import SwinIR, SwinIRConfig
from swinir.cli.main import main
from swinir.errors import CheckpointError
from swinir.model import VARIANTS
from swinir.weights import load_checkpoint, save_checkpoint

pytestmark = pytest.mark.filterwarnings("ignore:torch.meshgrid")
# Every network that spandrel knows beside SwinIR, as it is called here.
NAMES = {
    "ATD": "ATD",
    "AuraSR": "AuraSR",
    "CRAFT": "CRAFT",
    "Compact": "Real-ESRGAN Compact (SRVGGNet)",
    "DAT": "DAT",
    "DCTLSA": "DCTLSA",
    "DITN": "DITN",
    "DRCT": "DRCT",
    "DRUNet": "DRUNet",
    "DnCNN": "DnCNN",
    "ESRGAN": "ESRGAN (RRDB)",
    "FBCNN": "FBCNN",
    "FDAT": "FDAT",
    "FFTformer": "FFTformer",
    "GFPGAN": "GFPGAN",
    "GRL": "GRL",
    "HAT": "HAT",
    "HVICIDNet": "HVI-CIDNet",
    "IPT": "IPT",
    "KBNet": "KBNet",
    "LaMa": "LaMa",
    "MMRealSR": "MM-RealSR",
    "MixDehazeNet": "MixDehazeNet",
    "MoESR": "MoESR",
    "MoSR": "MoSR",
    "NAFNet": "NAFNet",
    "OmniSR": "OmniSR",
    "PLKSR": "PLKSR",
    "RCAN": "RCAN",
    "RGT": "RGT",
    "RealCUGAN": "Real-CUGAN",
    "RestoreFormer": "RestoreFormer",
    "RetinexFormer": "RetinexFormer",
    "SAFMN": "SAFMN",
    "SAFMNBCIE": "SAFMN-BCIE",
    "SCUNet": "SCUNet",
    "SPAN": "SPAN",
    "SeemoRe": "SeemoRe",
    "SwiftSRGAN": "Swift-SRGAN",
    "Swin2SR": "Swin2SR",
    "Uformer": "Uformer",
}
# What they cannot be built without, or what makes them small.
ARGUMENTS: Mapping[str, dict[str, Any]] = {
    "ATD": {"depths": (1,), "num_heads": (2,), "embed_dim": 12},
    "AuraSR": {
        "dim": 16,
        "image_size": 64,
        "input_image_size": 16,
        "style_network": {"dim_in": 8, "dim_out": 8, "depth": 1},
        "unconditional": True,
    },
    "DAT": {"depth": [2], "num_heads": [2], "embed_dim": 60},
    "DRCT": {"depths": (1,), "num_heads": (6,)},
    "ESRGAN": {"num_blocks": 1},
    "GRL": {"depths": [1], "num_heads_window": [2], "num_heads_stripe": [2], "embed_dim": 12},
    "HAT": {"depths": (2,), "num_heads": (2,), "embed_dim": 60},
    "IPT": {"n_feats": 8, "num_layers": 1, "num_heads": 2, "num_queries": 1},
    "MMRealSR": {"num_in_ch": 3, "num_out_ch": 3, "num_block": 1},
    "NAFNet": {"middle_blk_num": 1},
    "RCAN": {"n_resgroups": 1, "n_resblocks": 4},
    "RGT": {"depth": [2], "num_heads": [2], "embed_dim": 60},
    "SAFMN": {"dim": 36},
    "SAFMNBCIE": {"dim": 36},
    "SCUNet": {"config": [1] * 7},
    "SPAN": {"num_in_ch": 3, "num_out_ch": 3},
    "Swin2SR": {"window_size": 8, "depths": (1,), "num_heads": (2,), "embed_dim": 12},
    "Uformer": {"depths": [1] * 9},
}
# Those that look at values while they are built.
NEEDS_VALUES = {"IPT", "RCAN", "Swin2SR"}


@pytest.fixture(scope="module")
def spandrel() -> ModuleType:
    return import_spandrel()


def build_networks(spandrel: ModuleType, architecture: str) -> list[dict[str, Tensor]]:
    """Build every network of an architecture; return their tensors, without values where that is enough."""
    (base,) = type(spandrel.MAIN_REGISTRY[architecture].architecture).__orig_bases__
    (kind,) = get_args(base)
    networks: list[type[nn.Module]] = list(get_args(kind)) or [kind]
    linspace = torch.linspace
    with (
        pytest.MonkeyPatch.context() as patch,
        torch.device("cpu" if architecture in NEEDS_VALUES else "meta"),
    ):
        # Of the rates of stochastic depth, which are read at once.
        patch.setattr(torch, "linspace", lambda *numbers, **_: linspace(*numbers, device="cpu"))
        return [network(**ARGUMENTS.get(architecture, {})).state_dict() for network in networks]


def shrink(config: SwinIRConfig) -> SwinIRConfig:
    """Make a variant small; what tells it from others stays."""
    embed_dim = 2 * config.num_heads[0]
    return replace(config, embed_dim=embed_dim, depths=(2,), num_heads=config.num_heads[:1])


@pytest.mark.parametrize("variant", VARIANTS)
def test_spandrel_opens_every_variant_and_gives_the_same_pixels(
    spandrel: ModuleType, variant: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = shrink(VARIANTS[variant])
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = SwinIR(config).eval()
        for parameter in network.parameters():
            nn.init.normal_(parameter, std=0.1)
        image = torch.rand(1, config.in_channels, 17, 23)
    ours, theirs = tmp_path / "ours.safetensors", tmp_path / "theirs.pth"
    save_checkpoint(ours, config, network.state_dict())
    assert main(["models", "convert", str(ours), str(theirs), "--to", "official"]) == 0
    model = spandrel.ModelLoader(device="cpu").load_from_file(theirs).eval()
    assert model.architecture.id == "SwinIR"
    assert (model.scale, model.input_channels) == (config.scale, config.in_channels)
    assert model.purpose == ("Restoration" if config.scale == 1 else "SR")
    with torch.no_grad():
        expected, found = network(image).clamp(0, 1), model(image)
    assert (expected > 0).any()
    assert (expected < 1).any()
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-4)


def test_every_network_of_spandrel_has_a_name_here(spandrel: ModuleType) -> None:
    assert {known.architecture.id for known in spandrel.MAIN_REGISTRY} == {*NAMES, "SwinIR"}


@pytest.mark.parametrize("architecture", NAMES)
def test_a_file_of_another_network_is_named_as_what_it_is(
    spandrel: ModuleType, architecture: str, tmp_path: Path
) -> None:
    path = tmp_path / "other.pth"
    for tensors in build_networks(spandrel, architecture):
        # A network is told by its names: no value is needed.
        stored = {name: torch.empty(0, dtype=tensor.dtype) for name, tensor in tensors.items()}
        torch.save({"params_ema": stored}, path)
        with pytest.raises(
            CheckpointError, match=f"file: it looks like {re.escape(NAMES[architecture])}, and only"
        ):
            load_checkpoint(path)
